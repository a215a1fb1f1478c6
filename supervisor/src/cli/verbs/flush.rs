//! `flush`: empties the log files of apps.

use ipc::control::Request;

use crate::cli::args::WaitOptions;
use crate::cli::exit::{Exit, Failure};
use crate::cli::files::logs;
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::targets::{Outcome, Targets, ask};

/// Empty the log files of apps, and remove the rotated ones.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which apps. Default: all.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    Targets::named_or_all(session, &args.names)?.each(
        session,
        args.json,
        Work::Waits,
        |home, name| {
            // A wrong name is refused before a folder is touched. The primary then knows the new
            // size of its files.
            ask(home, name, &Request::ReopenLogs, "emptying", &WaitOptions::default())?;
            logs::empty(home, name)?;
            ask(home, name, &Request::ReopenLogs, "emptying", &WaitOptions::default())?;
            Ok(Outcome::new("the logs are empty"))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;
    use crate::cli::targets::fake_primary::{self as fake, FakePrimary, done};
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn the_primary_opens_the_empty_files_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut session = fake::session(dir.path());
        session.home.prepare_logs("web").unwrap();
        std::fs::write(session.home.out_log("web"), "line\n").unwrap();
        let asked = AtomicU32::new(0);
        let is_last = move |_: &Request| asked.fetch_add(1, Ordering::Relaxed) == 1;
        let primary = FakePrimary::start(&session.home, "web", is_last, |_| done("reopened"));
        let args: Args = parse(&["web"]).unwrap();
        assert_eq!(run(&args, &mut session).unwrap(), Exit::Done);
        assert_eq!(std::fs::read(session.home.out_log("web")).unwrap(), b"");
        assert_eq!(primary.end(), [Request::ReopenLogs, Request::ReopenLogs]);
        assert_eq!(run(&args, &mut session).unwrap(), Exit::NoSuchApp);
    }
}
