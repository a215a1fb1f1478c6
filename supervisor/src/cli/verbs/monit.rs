//! `monit`: a dashboard on the terminal.

use crate::cli::exit::{Exit, Failure};
use crate::cli::monit;
use crate::cli::session::Session;
use crate::cli::targets::Targets;

/// Watch all apps on the terminal, read their logs, and act on them.
#[derive(Debug, clap::Args)]
#[command(visible_alias = "ui")]
pub(crate) struct Args {
    /// Which apps. Default: all, with those that are started later.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Runs the verb. Returns when the user ends it. Fails where there is no terminal.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let names = Targets::named(session, &args.names)?.unwrap_or_default();
    monit::run(&session.home, names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;
    use crate::cli::targets::fake_primary as fake;

    #[test]
    fn without_a_terminal_it_names_what_works_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut session = fake::session(dir.path());
        let args: Args = parse(&[]).unwrap();
        let failure = run(&args, &mut session).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.reason.contains("supervisor list"), "{}", failure.reason);
    }
}
