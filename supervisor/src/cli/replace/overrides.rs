//! What stays of the command line when a file is read again: the flags that were given beside it,
//! at the start and at later reloads, go before its keys until the app is deleted, started anew,
//! or reloaded with `--as-written`.

use config::cpus::Cpus;
use config::pool::OWN;
use config::spec::AppSpec;

use super::options::ReplaceOptions;
use crate::cli::exit::Failure;
use crate::cli::session::Session;
use crate::cli::{specs, targets};

/// Puts over a file's `spec` the flags that the primary holds with the app, and those of `args`.
pub(crate) fn put(
    args: &ReplaceOptions,
    session: &Session,
    held: Option<&AppSpec>,
    spec: &mut AppSpec,
) -> Result<(), Failure> {
    let before = held.and_then(|held| held.overrides.as_deref()).filter(|_| !args.as_written);
    let mut overrides = before.cloned().unwrap_or_default();
    overrides.add_env(args.pool.pool.as_deref().filter(|pool| *pool != OWN), &args.env);
    overrides.attach(spec, &Cpus::read());
    // The primary of another user's app validates it itself.
    if spec.overrides.is_some() && !specs::is_checked_by_primary(&session.home) {
        specs::check(spec)?;
    }
    Ok(())
}

/// The flags that go before the keys of its file, as the primary of `name` holds them.
pub(crate) fn flags(session: &Session, name: &str) -> Vec<String> {
    let spec = targets::running_spec(&session.home, name).ok();
    spec.and_then(|spec| spec.overrides).map(|overrides| overrides.flags()).unwrap_or_default()
}

/// For people: what a reload of `spec` kept.
pub(crate) fn note(spec: Option<&AppSpec>) -> String {
    let overrides = spec.and_then(|spec| spec.overrides.as_deref());
    let flags = overrides.map(config::spec::Overrides::flags);
    match flags {
        Some(flags) if !flags.is_empty() => {
            format!("; kept from the command line: {}", flags.join(", "))
        }
        _ => String::new(),
    }
}
