//! `startup`: writes and enables a systemd unit for each app.

use systemd::unit::Unit;

use crate::cli::exit::{Exit, Failure};
use crate::cli::service::{Service, StartupOptions, systemctl};
use crate::cli::session::Session;
use crate::cli::targets::probe::{AppState, probe};
use crate::cli::targets::{Outcome, Results};

/// Make apps systemd services that start with the machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) options: StartupOptions,
    /// Hide the homes of users from the apps, and give each temporary files of its own.
    #[arg(long, conflicts_with = "user")]
    pub(crate) private: bool,
}

/// Runs the verb. Refuses `--now` for an app that runs outside systemd. If one app cannot be made a
/// service, the others become services all the same.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let (private, args) = (args.private, &args.options);
    let of_user = args.of_user();
    let apps = if args.apps.is_empty() { session.home.apps()? } else { args.apps.clone() };
    if apps.is_empty() {
        return Err(Failure::usage("no app runs: name one, or a configuration file"));
    }
    let service = |app: &String| Ok(Service::of(app, of_user, session)?.private(private));
    let services = apps.iter().map(service).collect::<Result<Vec<_>, Failure>>()?;
    for service in &services {
        if args.now && matches!(probe(&session.home, &service.spec.name)?, AppState::Answers(_)) {
            let name = &service.spec.name;
            return Err(Failure::failed(format!(
                "{name} runs already, outside systemd: delete it first (supervisor delete {name}), \
                 or leave out --now"
            )));
        }
    }
    let mut results = Results::new(false);
    for service in &services {
        let name = &service.spec.name;
        let result = enable(service, args, session).map_err(|failure| Failure {
            reason: format!("{name}: not made a service: {}", failure.reason),
            ..failure
        });
        results.take(session, name, result);
    }
    results.finish(session)
}

/// Makes one app a service. If a step fails, systemd has the unit that it had before, or none.
fn enable(service: &Service, args: &StartupOptions, session: &Session) -> Result<Outcome, Failure> {
    let of_user = args.of_user();
    let unit = Unit::file_name(&service.spec.name);
    let verb: &[&str] = if args.now { &["enable", "--now"] } else { &["enable"] };
    let files = service.install(session)?;
    let enabled = systemctl(of_user, &["daemon-reload"])
        .and_then(|()| systemctl(of_user, &[verb, &[unit.as_str()]].concat()));
    let Err(failure) = enabled else {
        return Ok(Outcome::new(format!("enabled as {unit}")));
    };
    if !files.replaced() {
        // The first failure is the one to report. A unit that is not enabled is the purpose.
        let _ = systemctl(of_user, &["disable", "--now", &unit]);
    }
    files.undo()?;
    let _ = systemctl(of_user, &["daemon-reload"]);
    Err(failure)
}
