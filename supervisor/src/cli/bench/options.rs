//! What is measured, how often, and for how long.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::setup::Setup;
use crate::cli::args::AppOptions;
use crate::cli::trial::options::{LONGEST, TrialOptions};
use crate::cli::trial::values::between;

/// The shortest run.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest and the shortest measurement.
const LONGEST_SPAN: Duration = Duration::from_secs(600);
const SHORTEST_SPAN: Duration = Duration::from_millis(50);

/// Which app, which setups, and which load.
#[derive(Debug, Args)]
pub(crate) struct BenchOptions {
    /// After "--": the command to run, as for "start".
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) rest: Vec<String>,
    /// Begin no further measurement after this time.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = run_time)]
    pub(crate) duration: Duration,
    /// How often each setup is measured, in turn with the others.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub(crate) rounds: u32,
    /// How long each measurement takes.
    #[arg(long, value_name = "DURATION", default_value = "400ms", value_parser = span)]
    pub(crate) span: Duration,
    #[command(flatten)]
    pub(crate) trial: TrialOptions,
    /// Only this setup, or all of this engine: single, bare, kernel, kernel/hash, primary,
    /// node-cluster, pm2, gunicorn and so on. May be repeated, or several with commas.
    #[arg(long, value_name = "SETUP", value_delimiter = ',', value_parser = setup)]
    pub(crate) only: Vec<String>,
    /// Where another supervisor is: pm2=/path/of/pm2. Default: on PATH.
    #[arg(long, value_name = "NAME=PATH", value_parser = peer)]
    pub(crate) peer: Option<PathBuf>,
    /// The status of a correct answer.
    #[arg(
        long,
        value_name = "STATUS",
        default_value_t = 200,
        value_parser = clap::value_parser!(u16).range(200..=599)
    )]
    pub(crate) status: u16,
    /// Where the clients connect to, of loopback. Default: the first TCP address of the command.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) address: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) app: AppOptions,
}

impl BenchOptions {
    /// Whether the user wants this setup. The single process is always measured: its address is
    /// that of the others.
    pub(super) fn wants(&self, setup: Setup) -> bool {
        let is_meant = |word: &String| setup.is_meant_by(word);
        setup == Setup::Single || self.only.is_empty() || self.only.iter().any(is_meant)
    }
}

fn run_time(text: &str) -> Result<Duration, String> {
    between(text, SHORTEST, LONGEST)
}

fn span(text: &str) -> Result<Duration, String> {
    between(text, SHORTEST_SPAN, LONGEST_SPAN)
}

fn setup(text: &str) -> Result<String, String> {
    match Setup::all().iter().any(|setup| setup.is_meant_by(text)) {
        true => Ok(text.to_owned()),
        false => {
            let words: Vec<String> = Setup::all().into_iter().map(Setup::word).collect();
            Err(format!("expected one of kernel, primary, {}", words.join(", ")))
        }
    }
}

fn peer(text: &str) -> Result<PathBuf, String> {
    match text.split_once('=') {
        Some(("pm2", path)) if !path.is_empty() => Ok(path.into()),
        _ => Err("expected pm2=PATH".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;

    #[test]
    fn its_arguments() {
        let options: BenchOptions =
            parse(&["-i", "3", "--only", "kernel,pm2", "--peer", "pm2=/x", "--", "a", "b"])
                .unwrap();
        assert_eq!(options.rest, ["a", "b"]);
        assert_eq!(options.duration, Duration::from_secs(60));
        let wanted = Setup::all().into_iter().filter(|setup| options.wants(*setup)).count();
        assert_eq!(wanted, 6, "single, four balances of the kernel engine, pm2");
        for wrong in [
            &["--"][..],
            &["x"],
            &["--only", "tea", "--", "x"],
            &["--peer", "nginx=/x", "--", "x"],
            &["--peer", "pm2=", "--", "x"],
            &["--rounds", "0", "--", "x"],
            &["--span", "1ms", "--", "x"],
            &["--json", "--markdown", "--", "x"],
        ] {
            assert!(parse::<BenchOptions>(wrong).is_err(), "{wrong:?}");
        }
    }
}
