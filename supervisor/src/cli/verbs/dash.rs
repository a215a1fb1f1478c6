//! `dash`: a dashboard in the browser; without `--listen`, that of the terminal.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::targets::Targets;
use crate::cli::{dash, http, monit};

/// Watch all apps in the browser; without --listen on the terminal, like monit.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which apps. Default: all, with those that are started later.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Serve the page at this address until the command is stopped: PORT (on 127.0.0.1), IP:PORT
    /// or [IPV6]:PORT. It prints the URL with a new token.
    #[arg(long, value_name = "ADDR", value_parser = http::address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Let the page reload, restart, scale, stop and start apps.
    #[arg(long, requires = "listen")]
    pub(crate) allow_actions: bool,
    /// Take the token from this file, which only its owner can read.
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) token_file: Option<PathBuf>,
    /// Let everyone in who reaches the address, which must be of this machine alone.
    #[arg(long, requires = "listen", conflicts_with_all = ["token_file", "allow_actions"])]
    pub(crate) no_token: bool,
    /// A name by which browsers reach the page, besides localhost and IP addresses. Repeatable.
    #[arg(long = "host", value_name = "NAME", requires = "listen")]
    pub(crate) hosts: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let names = Targets::named(session, &args.names)?;
    let Some(address) = args.listen else {
        return monit::run(&session.home, names.unwrap_or_default());
    };
    let options = dash::Options {
        names,
        address,
        token_file: args.token_file.clone(),
        no_token: args.no_token,
        allow_actions: args.allow_actions,
        hosts: args.hosts.clone(),
    };
    dash::serve(session, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;
    use crate::cli::targets::fake_primary as fake;

    fn failure(argv: &[&str]) -> Failure {
        let dir = tempfile::tempdir().unwrap();
        let args: Args = parse(argv).unwrap();
        run(&args, &mut fake::session(dir.path())).unwrap_err()
    }

    #[test]
    fn without_an_address_it_is_monit() {
        let failure = failure(&[]);
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.reason.contains("terminal"), "{}", failure.reason);
    }

    #[test]
    fn beyond_this_machine_it_needs_a_token() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9616"] {
            let failure = failure(&["--listen", address, "--no-token"]);
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.reason.contains("--no-token"), "{}", failure.reason);
        }
    }

    #[test]
    fn flags_that_make_no_sense_are_refused() {
        for argv in [
            &["--allow-actions"][..],
            &["--token-file", "x"],
            &["--listen", "1", "--no-token", "--allow-actions"],
            &["--listen", "here"],
        ] {
            assert!(parse::<Args>(argv).is_err(), "{argv:?}");
        }
    }
}
