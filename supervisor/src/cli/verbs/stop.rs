//! `stop`: stops the workers of an app. The primary stays, and `start` starts them again.

use ipc::control::Request;

use crate::cli::args::StopOptions;
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::targets::{ask, resolve_with_files};

/// Stop the workers of an app; "start NAME" starts them again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) options: StopOptions,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let StopOptions { names, fast, wait } = &args.options;
    let request = Request::Stop { fast: *fast };
    resolve_with_files(session, names)?.each(session, wait.json, Work::Waits, |home, name| {
        ask(home, name, &request, "stopping", wait)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;
    use crate::cli::targets::fake_primary;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_timeout_is_exit_code_five() {
        let dir = tempfile::tempdir().unwrap();
        let mut session = fake_primary::session(dir.path());
        let _lock = session.home.files("web").take_lock().unwrap();
        let _listener = UnixListener::bind(session.home.files("web").socket().unwrap()).unwrap();
        let args: Args = parse(&["web", "--timeout", "20ms"]).unwrap();
        assert_eq!(run(&args, &mut session).unwrap(), Exit::TimedOut);
    }
}
