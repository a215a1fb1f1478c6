//! What is done to which app, for how long, and with which load.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::fault::Fault;
use crate::cli::args::AppOptions;
use crate::cli::args::words::words;
use crate::cli::trial::options::{LONGEST, TrialOptions};
use crate::cli::trial::values::{between, path};

/// The shortest run: less has no time without faults to compare with.
const SHORTEST: Duration = Duration::from_secs(2);
/// The longest time limit of a request, and of a kept connection.
const LONGEST_REQUEST: Duration = Duration::from_secs(600);

/// Which app, which faults, and which load.
#[derive(Debug, Args)]
pub(crate) struct ChaosOptions {
    /// A running app: needs --copy or --live.
    #[arg(value_name = "NAME")]
    pub(crate) target: Option<String>,
    /// After "--": the command to run, as for "start".
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["target", "copy", "live"])]
    pub(crate) rest: Vec<String>,
    /// Run a copy of the app NAME, with the flags given here over its own. It needs another
    /// address: -e PORT=9001, if the program reads that.
    #[arg(long, requires = "target", conflicts_with = "live")]
    pub(crate) copy: bool,
    /// Do it to the running app NAME itself, after a question.
    #[arg(long, requires = "target")]
    pub(crate) live: bool,
    /// With --live: do not ask.
    #[arg(long, requires = "live")]
    pub(crate) yes: bool,
    /// For how long.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = run_time)]
    pub(crate) duration: Duration,
    /// Requests a second of all clients together.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 200,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub(crate) rate: u32,
    #[command(flatten)]
    pub(crate) trial: TrialOptions,
    /// Repeat the faults of the run that printed this number.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// Only this fault. May be repeated, or several with commas.
    #[arg(long, value_name = "FAULT", value_delimiter = ',', value_parser = words::<Fault>())]
    pub(crate) only: Vec<Fault>,
    /// The status of a correct answer. Default: that of the first one.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..=599))]
    pub(crate) status: Option<u16>,
    /// A path whose WebSocket sends back what it gets. Default: PATH, if it does.
    #[arg(long, value_name = "PATH", value_parser = path)]
    pub(crate) websocket: Option<String>,
    /// A request that takes longer counts as hung.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = request_time)]
    pub(crate) limit: Duration,
    /// For how long a client uses a kept connection before it closes it. A reverse proxy never
    /// does: 10m.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = request_time)]
    pub(crate) kept_for: Duration,
    /// Where the clients connect to. Default: the first TCP address of the app.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) address: Option<SocketAddr>,
    /// Also send the load to an address that is not of loopback.
    #[arg(long)]
    pub(crate) anywhere: bool,
    #[command(flatten)]
    pub(crate) app: AppOptions,
}

fn run_time(text: &str) -> Result<Duration, String> {
    between(text, SHORTEST, LONGEST)
}

fn request_time(text: &str) -> Result<Duration, String> {
    between(text, Duration::from_millis(100), LONGEST_REQUEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;

    #[test]
    fn its_arguments() {
        let options: ChaosOptions = parse(&["-i", "3", "--", "node", "x.js"]).unwrap();
        assert_eq!(options.rest, ["node", "x.js"]);
        assert!(options.app.overrides.has("instances"));
        assert_eq!(options.duration, Duration::from_secs(60));
        let options: ChaosOptions =
            parse(&["--only", "reload,kill-worker", "--only", "scale", "--", "x"]).unwrap();
        assert_eq!(options.only, [Fault::Reload, Fault::KillWorker, Fault::Scale]);
        for wrong in [
            &["web", "--copy", "--live"][..],
            &["--copy", "--", "x"],
            &["--live", "--", "x"],
            &["web", "--yes"],
            &["web", "--", "x"],
            &["--rate", "0", "--", "x"],
            &["--connections", "513", "--", "x"],
            &["--duration", "1s", "--", "x"],
            &["--path", "x", "--", "x"],
            &["--path", "/a b", "--", "x"],
            &["--only", "tea", "--", "x"],
            &["--json", "--markdown", "--", "x"],
        ] {
            assert!(parse::<ChaosOptions>(wrong).is_err(), "{wrong:?}");
        }
    }
}
