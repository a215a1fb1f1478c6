//! What stays of the command line when a file is read again: the flags that were said beside it, at
//! the start and at reloads since, go before its keys until the app is deleted, or started anew, or
//! reloaded `--as-written`.

use config::instances::Cpus;
use config::pool::OWN;
use config::spec::AppSpec;

use super::Session;
use super::args::ReloadArgs;
use super::exit::Failure;
use super::reload;
use super::start_plan;

/// Puts over a file's `spec` what was said of the app as it is `held`, and what `args` says now.
pub(super) fn put(
    args: &ReloadArgs,
    session: &Session,
    held: Option<&AppSpec>,
    spec: &mut AppSpec,
) -> Result<(), Failure> {
    let before = held.and_then(|held| held.said.as_deref()).filter(|_| !args.as_written);
    let mut said = before.cloned().unwrap_or_default();
    match args.pool.pool.as_ref().filter(|pool| *pool != OWN) {
        Some(pool) => {
            said.pool_env.entry(pool.clone()).or_default().extend(args.env.iter().cloned());
            said.pool_env.retain(|_, env| !env.is_empty());
        }
        None => said.env.extend(args.env.iter().cloned()),
    }
    said.over(spec, &Cpus::read());
    // An app of somebody else is weighed by its own primary.
    if spec.said.is_some() && !start_plan::is_for_others(&session.home) {
        start_plan::check(spec)?;
    }
    Ok(())
}

/// The flags that go before the keys of its file, as the primary of `name` holds them.
pub(super) fn flags(session: &Session, name: &str) -> Vec<String> {
    let spec = reload::held_spec(session, name).ok();
    spec.and_then(|spec| spec.said).map(|said| said.flags()).unwrap_or_default()
}

/// For people: what a reload of `spec` kept.
pub(super) fn remark(spec: Option<&AppSpec>) -> String {
    let flags = spec.and_then(|spec| spec.said.as_deref()).map(|said| said.flags());
    match flags {
        Some(flags) if !flags.is_empty() => {
            format!("; kept from the command line: {}", flags.join(", "))
        }
        _ => String::new(),
    }
}
