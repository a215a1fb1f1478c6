//! `health`: does it serve? For the probes of containers and balancers, which look at the exit code
//! and nothing else. A primary that does not answer is not healthy: it has two seconds.

use clap::Args;
use ipc::control::{AppStatus, Status};

use super::Session;
use super::exit::{Exit, Failure};
use super::probe;
use super::targets::{Said, Targets};

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Which apps. Default: all, and there must be one.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Only healthy when every wanted worker is ready. Default: when one of the app's own is.
    #[arg(long)]
    pub(crate) ready: bool,
}

pub(super) fn run(args: &HealthArgs, session: &mut Session) -> Result<Exit, Failure> {
    let targets = match args.names.is_empty() {
        true => Targets { names: session.home.apps()?, all: true },
        false => Targets::resolve(session, &args.names)?,
    };
    let mut looked = 0;
    let exit = targets.each(session, false, |session, name| {
        let status = probe::status(&session.home, name)?;
        let status = status.ok_or_else(|| probe::no_such_app(name))?;
        looked += 1;
        judge(&status, args.ready)
    })?;
    match (exit, looked) {
        (Exit::Done, 0) => Err(Failure::new(Exit::NoSuchApp, "there is no app to be healthy")),
        _ => Ok(exit),
    }
}

fn judge(app: &AppStatus, all: bool) -> Result<Said, Failure> {
    let AppStatus { name, ready, wanted, .. } = app;
    let serves = match app.status {
        // Another pool's workers do not serve what the app's own do.
        Status::Ready | Status::Degraded | Status::Reloading | Status::Starting => {
            app.pools.first().map_or(*ready, |own| own.ready) > 0
        }
        Status::Stopping | Status::Stopped | Status::Errored | Status::Lost => false,
    };
    if serves && (!all || ready >= wanted) {
        return Ok(Said::new(format!("{ready} of {wanted} workers ready")));
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
    use crate::cli::fake;

    #[test]
    fn health_is_to_serve() {
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
        for status in [Status::Stopping, Status::Stopped, Status::Errored, Status::Lost] {
            assert!(judge(&app(status, 2), false).is_err(), "{status:?}");
        }
        let mut sick = app(Status::Errored, 0);
        sick.reason = Some("gave up".into());
        let reason = judge(&sick, false).unwrap_err().reason;
        assert_eq!(reason, "web is not healthy: 0 of 2 workers ready, errored: gave up");
    }
}
