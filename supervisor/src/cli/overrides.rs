//! What stays of the command line when a file is read again: the flags that were given beside it, at
//! the start and at later reloads, go before its keys until the app is deleted, started anew, or
//! reloaded with `--as-written`.

use config::cpus::Cpus;
use config::pool::OWN;
use config::spec::AppSpec;

use super::Session;
use super::args::ReloadArgs;
use super::exit::Failure;
use super::reload;
use super::start_plan;

/// Puts over a file's `spec` the flags that the primary holds with the app, and those of `args`.
pub(super) fn put(
    args: &ReloadArgs,
    session: &Session,
    held: Option<&AppSpec>,
    spec: &mut AppSpec,
) -> Result<(), Failure> {
    let before = held.and_then(|held| held.overrides.as_deref()).filter(|_| !args.as_written);
    let mut overrides = before.cloned().unwrap_or_default();
    overrides.add_env(args.pool.pool.as_deref().filter(|pool| *pool != OWN), &args.env);
    overrides.attach(spec, &Cpus::read());
    // The primary of another user's app validates it itself.
    if spec.overrides.is_some() && !start_plan::is_for_others(&session.home) {
        start_plan::check(spec)?;
    }
    Ok(())
}

/// The flags that go before the keys of its file, as the primary of `name` holds them.
pub(super) fn flags(session: &Session, name: &str) -> Vec<String> {
    let spec = reload::held_spec(session, name).ok();
    spec.and_then(|spec| spec.overrides).map(|overrides| overrides.flags()).unwrap_or_default()
}

/// For people: what a reload of `spec` kept.
pub(super) fn remark(spec: Option<&AppSpec>) -> String {
    let overrides = spec.and_then(|spec| spec.overrides.as_deref());
    let flags = overrides.map(config::spec::Overrides::flags);
    match flags {
        Some(flags) if !flags.is_empty() => {
            format!("; kept from the command line: {}", flags.join(", "))
        }
        _ => String::new(),
    }
}
