//! The flags that were given beside a file, at the start and at later reloads. They go before the
//! keys of the file until the app is deleted, started anew, or reloaded with `--as-written`.

use config::cpus::Cpus;
use config::spec::AppSpec;

use super::options::ReplaceOptions;
use crate::cli::exit::Failure;
use crate::cli::{specs, targets};
use crate::home::Home;

/// Puts the variables of `--env` over the spec of an app that does not run yet.
pub(super) fn put(options: &ReplaceOptions, spec: &mut AppSpec) -> Result<(), Failure> {
    if options.env.is_empty() {
        return Ok(());
    }
    let mut overrides = spec.overrides.take().map(|overrides| *overrides).unwrap_or_default();
    overrides.add_env(options.env_pool(), &options.env);
    overrides.attach(spec, &Cpus::read());
    specs::check(spec)
}

/// The flags that go before the keys of its file, as the primary of `name` holds them.
fn flags(home: &Home, name: &str) -> Vec<String> {
    let spec = targets::running_spec(home, name).ok();
    spec.and_then(|spec| spec.overrides).map(|overrides| overrides.flags()).unwrap_or_default()
}

/// For people: what a reload kept of the command line.
pub(super) fn note(home: &Home, name: &str) -> String {
    match flags(home, name) {
        flags if flags.is_empty() => String::new(),
        flags => format!("; kept from the command line: {}", flags.join(", ")),
    }
}
