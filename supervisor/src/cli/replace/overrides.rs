//! What stays of the command line when a file is read again: the flags that were said beside it, at
//! the start and at reloads since, go before its keys until the app is deleted, or started anew, or
//! reloaded `--as-written`.

use config::instances::Cpus;
use config::pool::OWN;
use config::spec::AppSpec;

use super::options::ReplaceOptions;
use crate::cli::exit::Failure;
use crate::cli::session::Session;
use crate::cli::{specs, targets};

/// Puts over a file's `spec` what was said of the app as it is `held`, and what `args` says now.
pub(crate) fn put(
    args: &ReplaceOptions,
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
    if spec.said.is_some() && !specs::is_checked_by_primary(&session.home) {
        specs::check(spec)?;
    }
    Ok(())
}

/// The flags that go before the keys of its file, as the primary of `name` holds them.
pub(crate) fn flags(session: &Session, name: &str) -> Vec<String> {
    let spec = targets::running_spec(&session.home, name).ok();
    spec.and_then(|spec| spec.said).map(|said| said.flags()).unwrap_or_default()
}

/// For people: what a reload of `spec` kept.
pub(crate) fn note(spec: Option<&AppSpec>) -> String {
    let flags = spec.and_then(|spec| spec.said.as_deref()).map(|said| said.flags());
    match flags {
        Some(flags) if !flags.is_empty() => {
            format!("; kept from the command line: {}", flags.join(", "))
        }
        _ => String::new(),
    }
}
