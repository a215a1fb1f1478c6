//! `health`: tells by its exit code whether apps serve, for the probes of containers and load
//! balancers. A primary that does not answer within two seconds is not healthy.

use std::sync::atomic::{AtomicUsize, Ordering};

use ipc::control::{AppStatus, Status};

use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::targets::{Outcome, Targets, probe};

/// Tell by the exit code whether apps serve: for the probes of containers and balancers.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which apps. Default: all; at least one must exist.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Require every wanted worker to be ready. Default: one worker of the app's own pool.
    #[arg(long)]
    pub(crate) ready: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let targets = match args.names.is_empty() {
        true => Targets::all(session)?,
        false => Targets::resolve(session, &args.names)?,
    };
    let count = AtomicUsize::new(0);
    let exit = targets.each(session, false, Work::Waits, |home, name| {
        let status = probe::existing(home, name)?;
        count.fetch_add(1, Ordering::Relaxed);
        judge(&status, args.ready)
    })?;
    match (exit, count.into_inner()) {
        (Exit::Done, 0) => Err(Failure::new(Exit::NoSuchApp, "there is no app to be healthy")),
        _ => Ok(exit),
    }
}

/// The health of one app. `all` requires every wanted worker to be ready.
fn judge(app: &AppStatus, all: bool) -> Result<Outcome, Failure> {
    let AppStatus { name, ready, wanted, .. } = app;
    let serves = match app.status {
        // The workers of another pool do not serve what those of the app's own pool serve.
        Status::Ready | Status::Degraded | Status::Reloading | Status::Starting => {
            app.pools.first().map_or(*ready, |own| own.ready) > 0
        }
        Status::Stopping
        | Status::Stopped
        | Status::Errored
        | Status::Unresponsive
        | Status::Lost
        | Status::Unknown => false,
    };
    if serves && (!all || ready >= wanted) {
        return Ok(Outcome::new(format!("{ready} of {wanted} workers ready")));
    }
    let status = app.status.word();
    let why = app.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    Err(Failure::failed(format!(
        "{name} is not healthy: {ready} of {wanted} workers ready, {status}{why}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::targets::fake_primary as fake;

    #[test]
    fn an_app_is_healthy_if_it_serves() {
        let app = |status, ready| {
            let mut app = fake::status("web", status);
            (app.ready, app.wanted) = (ready, 2);
            app
        };
        for status in [Status::Ready, Status::Degraded, Status::Reloading, Status::Starting] {
            assert!(judge(&app(status, 1), false).is_ok(), "{status:?}");
            assert!(judge(&app(status, 2), true).is_ok(), "{status:?}");
            assert!(judge(&app(status, 1), true).is_err(), "{status:?}");
            assert!(judge(&app(status, 0), false).is_err(), "{status:?}");
        }
        let unwell = [Status::Stopped, Status::Errored, Status::Unresponsive, Status::Lost];
        for status in unwell.into_iter().chain([Status::Stopping]) {
            assert!(judge(&app(status, 2), false).is_err(), "{status:?}");
        }
        let mut sick = app(Status::Errored, 0);
        sick.reason = Some("gave up".into());
        let reason = judge(&sick, false).unwrap_err().reason;
        assert_eq!(reason, "web is not healthy: 0 of 2 workers ready, errored: gave up");
    }
}
