//! `delete`: stops the workers and the primary of an app, and removes its files. It also stops the
//! workers of a primary that is dead.

use crate::cli::args::StopOptions;
use crate::cli::deletion::delete;
use crate::cli::exit::{Exit, Failure};
use crate::cli::files::logs;
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::targets::{Outcome, resolve_with_files};

/// Stop an app and forget it. Its logs stay, unless --logs is set, now or in a later "delete".
#[derive(Debug, clap::Args)]
#[command(aliases = ["del", "rm"])]
pub(crate) struct Args {
    /// Remove the app's log files as well.
    #[arg(long, conflicts_with = "no_wait")]
    pub(crate) logs: bool,
    #[command(flatten)]
    pub(crate) options: StopOptions,
}

/// Runs the verb. Unless told not to wait, it returns when the name is free.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let options = &args.options;
    let targets = resolve_with_files(session, &options.names)?;
    targets.each(session, options.wait.json, Work::Waits, |home, name| {
        // Only the record says where they are, and it goes with the app.
        let own = args.logs.then(|| logs::own(home, name));
        let mut outcome = match delete(home, name, options.fast, &options.wait) {
            Err(failure)
                if failure.exit == Exit::NoSuchApp && args.logs && home.log_dir(name).is_dir() =>
            {
                Outcome::new("it was deleted before")
            }
            deleted => deleted?,
        };
        if let Some(own) = own {
            logs::remove(home, name, &own)?;
            outcome.message.push_str(", with its logs");
        }
        Ok(outcome)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;
    use crate::cli::targets::fake_primary::{self as fake, FakePrimary, done};
    use ipc::control::{Reply, Request, Status};

    #[test]
    fn it_waits_until_the_name_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let mut session = fake::session(dir.path());
        let primary = FakePrimary::start(
            &session.home,
            "web",
            |request| matches!(request, Request::Delete { .. }),
            |request| match request {
                Request::Status => {
                    vec![Reply::Status(Box::new(fake::status("web", Status::Ready)))]
                }
                _ => done("deleted"),
            },
        );
        let args: Args = parse(&["web", "--timeout", "1m"]).unwrap();
        assert_eq!(run(&args, &mut session).unwrap(), Exit::Done);
        assert!(!session.home.files("web").lock().exists());
        primary.end();
        assert_eq!(run(&args, &mut session).unwrap(), Exit::NoSuchApp);
        let logs = session.home.log_dir("web");
        session.home.prepare_logs("web").unwrap();
        assert_eq!(run(&args, &mut session).unwrap(), Exit::NoSuchApp);
        assert!(logs.is_dir());
        let args: Args = parse(&["web", "--logs"]).unwrap();
        assert_eq!(run(&args, &mut session).unwrap(), Exit::Done);
        assert!(!logs.exists());
        assert_eq!(run(&args, &mut session).unwrap(), Exit::NoSuchApp);
    }

    #[test]
    fn its_arguments() {
        assert!(parse::<Args>(&["all", "--fast"]).unwrap().options.fast);
        assert!(parse::<Args>(&["all", "--logs"]).unwrap().logs);
        assert!(parse::<Args>(&["all", "--logs", "--no-wait"]).is_err(), "the app still writes");
        assert!(parse::<Args>(&[]).is_err());
    }
}
