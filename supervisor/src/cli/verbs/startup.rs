//! `startup`: writes and enables a systemd unit for each app.

use systemd::unit::Unit;

use crate::cli::exit::{Exit, Failure};
use crate::cli::service::{Service, StartupOptions, systemctl};
use crate::cli::session::Session;
use crate::cli::targets::probe::{AppState, probe};

/// Make apps systemd services that start with the machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) options: StartupOptions,
}

/// Runs the verb. Refuses `--now` for an app that runs outside systemd.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let args = &args.options;
    let of_user = args.of_user();
    let apps = if args.apps.is_empty() { session.home.apps()? } else { args.apps.clone() };
    if apps.is_empty() {
        return Err(Failure::usage("no app runs: name one, or a configuration file"));
    }
    let services =
        apps.iter().map(|app| Service::of(app, of_user, session)).collect::<Result<Vec<_>, _>>()?;
    for service in &services {
        if args.now && matches!(probe(&session.home, &service.spec.name)?, AppState::Answers(_)) {
            let name = &service.spec.name;
            return Err(Failure::failed(format!(
                "{name} runs already, outside systemd: delete it first (supervisor delete {name}), \
                 or leave out --now"
            )));
        }
    }
    for service in &services {
        service.install(session)?;
    }
    systemctl(of_user, &["daemon-reload"])?;
    for service in &services {
        let unit = Unit::file_name(&service.spec.name);
        let verb: &[&str] = if args.now { &["enable", "--now"] } else { &["enable"] };
        systemctl(of_user, &[verb, &[unit.as_str()]].concat())?;
        session.out.line(format_args!("{}: enabled as {unit}", service.spec.name));
    }
    Ok(Exit::Done)
}
