//! `unit`: prints the systemd unit of an app, and changes nothing.

use crate::cli::exit::{Exit, Failure};
use crate::cli::launch::own_program;
use crate::cli::service::Service;
use crate::cli::session::Session;

/// Print the systemd unit of an app.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A running app, or a configuration file with one app.
    #[arg(value_name = "NAME|FILE", required_unless_present = "template")]
    pub(crate) app: Option<String>,
    /// For your own session's systemd (systemctl --user).
    #[arg(long)]
    pub(crate) user: bool,
    /// Hide the homes of users from the app, and give it temporary files of its own.
    #[arg(long, conflicts_with = "user")]
    pub(crate) private: bool,
    /// Print supervisor@.service, which runs the app of /etc/supervisor/NAME.toml.
    #[arg(long, conflicts_with_all = ["app", "user", "private"])]
    pub(crate) template: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    if args.template {
        let program = own_program()?;
        session.out.bytes(systemd::unit::template(&program.display().to_string()).as_bytes());
        return Ok(Exit::Done);
    }
    let service = Service::of(args.app.as_deref().unwrap_or_default(), args.user, session)?
        .private(args.private);
    session.out.bytes(service.text(session)?.as_bytes());
    Ok(Exit::Done)
}
