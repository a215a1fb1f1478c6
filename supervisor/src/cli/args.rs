//! Every verb, every flag and every help text. Help, man pages and completions come from here.
//!
//! Values are read by the same functions as those of a configuration file. What is well-formed but
//! makes no sense is refused later, by the verb.

mod app_options;
mod few;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use config::signal;

pub(crate) use app_options::AppOptions;
pub(crate) use few::{CompletionsArgs, DemoArgs, ManArgs};

use super::health::HealthArgs;
use super::metrics::MetricsArgs;
use super::pool::PoolArg;
use super::save::{ResurrectArgs, SaveArgs};
use super::scale::ScaleArgs;
use super::send::SendArgs;
use super::trigger::TriggerArgs;
use super::unit::{StartupArgs, UnitArgs};
use super::upgrade::UpgradeArgs;
use crate::runtime::LogFormat;
use words::words;

const AFTER: &str = "Exit codes: 0 done, 1 failed, 2 usage or configuration wrong, 3 no such app, \
    4 rolled back, 5 timed out, 6 not permitted.\n\
    Where a NAME is asked for, several names or \"all\" will do.\n\
    First steps: supervisor demo, or supervisor start -i max -- YOUR-SERVER";

/// Runs any server once per core behind one address, restarts what dies, and replaces code without
/// losing a request.
#[derive(Debug, Parser)]
#[command(name = "supervisor", version, after_help = AFTER, max_term_width = 100)]
pub(crate) struct Cli {
    /// Mean the apps of root, of which this user is an operator or observer.
    #[arg(long, global = true)]
    pub(crate) system: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start an app and return when it is ready, or has failed.
    Start(Box<StartArgs>),
    /// Stop the workers of an app; it stays known and "start NAME" brings it back.
    Stop(StopArgs),
    /// Replace the workers of an app like reload, or --hard: stop all, then start all.
    Restart(RestartArgs),
    /// Replace the workers one by one without losing a connection; on failure all is as before.
    Reload(ReloadArgs),
    /// Change the number of workers.
    Scale(ScaleArgs),
    /// Stop an app and forget it. Its logs stay.
    Delete(StopArgs),
    /// Show all apps.
    #[command(visible_aliases = ["ls", "status"])]
    List(ListArgs),
    /// Show everything about an app: listeners, workers, contracts, reasons.
    #[command(visible_alias = "show")]
    Describe(DescribeArgs),
    /// Say by the exit code whether apps serve: for the probes of containers and balancers.
    Health(HealthArgs),
    /// Show the environment that was given to an app; values only with --show.
    Env(EnvArgs),
    /// Send a signal to the main process of each worker, or of one.
    Signal(SignalArgs),
    /// Give a message to an app's workers: on a topic of the bus, or as Node programs get one.
    Send(SendArgs),
    /// Have an app's workers do an action that they registered, and show their answers.
    Trigger(TriggerArgs),
    /// Show what an app's workers and its primary measure.
    Metrics(MetricsArgs),
    /// Show what the workers wrote.
    Logs(LogsArgs),
    /// Show what happens to an app, or to all, as it happens.
    Events(EventsArgs),
    /// Look for mistakes in a configuration file, and touch nothing.
    Check(CheckArgs),
    /// Write a commented configuration file to begin with.
    Init(InitArgs),
    /// Print the JSON Schema of configuration files, for editors.
    Schema,
    /// Write down which apps run, for "resurrect".
    Save(SaveArgs),
    /// Start the apps that ran when "save" was last used, as after a reboot.
    Resurrect(ResurrectArgs),
    /// Run a small built-in server on all cores, to try things on.
    Demo(DemoArgs),
    /// Print the systemd unit of an app.
    Unit(UnitArgs),
    /// Have another build of this program take over, while the workers serve on.
    Upgrade(UpgradeArgs),
    /// Make apps systemd services that start with the machine.
    Startup(StartupArgs),
    /// Take that back.
    Unstartup(StartupArgs),
    /// Print the completions for a shell.
    Completions(CompletionsArgs),
    /// Write the man pages into a folder.
    #[command(hide = true)]
    Man(ManArgs),
    /// Be the primary of an app; its spec comes on stdin. Started by "start".
    #[command(hide = true)]
    Primary(PrimaryArgs),
    /// Say whether this build could go on from the state on stdin.
    #[command(hide = true)]
    ThawCheck,
    /// Be a worker of the demo. Started by "demo".
    #[command(hide = true)]
    DemoServer(DemoServerArgs),
}

/// Whether, and how long, to wait for the end of what was asked.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Waiting {
    /// Return as soon as it is under way.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Give up waiting after so long, with exit code 5; what was begun goes on.
    #[arg(long, value_name = "DURATION", value_parser = config::units::duration)]
    pub(crate) timeout: Option<Duration>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(override_usage = "supervisor start [OPTIONS] FILE [-- ARG...]\n       \
                      supervisor start [OPTIONS] -- COMMAND [ARG...]\n       \
                      supervisor start [OPTIONS] CONFIG.toml\n       \
                      supervisor start NAME...")]
pub(crate) struct StartArgs {
    /// A script (.js .mjs .cjs .ts .py .rb .php .sh), an executable, a configuration file (.toml:
    /// flags go before its keys), or the name of a stopped app. Default: supervisor.toml.
    #[arg(value_name = "FILE")]
    pub(crate) target: Vec<String>,
    /// After "--": the command to run with its arguments, or the arguments of FILE. Passed on as
    /// they are; ${fd:NAME} becomes the number of the socket of that --listen.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) rest: Vec<String>,
    /// Of a configuration file, start only this app. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Stay in the foreground and print what the workers write.
    #[arg(long, conflicts_with_all = ["no_wait", "timeout", "json"])]
    pub(crate) foreground: bool,
    /// What the foreground prints.
    #[arg(long, value_name = "FORMAT", requires = "foreground", default_value = "lines", value_parser = words::<LogFormat>())]
    pub(crate) log_format: LogFormat,
    /// Run, in the foreground, what "startup" wrote down.
    #[arg(
        long,
        value_name = "FILE",
        hide = true,
        requires = "foreground",
        conflicts_with = "target"
    )]
    pub(crate) spec: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    #[command(flatten)]
    pub(crate) app: AppOptions,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Which apps.
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// Do not wait for connections to end.
    #[arg(long)]
    pub(crate) fast: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// Stop all workers first, then start them: connections are lost, listeners are not.
    #[arg(long)]
    pub(crate) hard: bool,
    #[command(flatten)]
    pub(crate) reload: ReloadArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ReloadArgs {
    /// Which apps (NAME:POOL: one pool of it); or a configuration file (.toml), whose apps are reloaded if they run and
    /// started if not. An app that came from a file is read from it again.
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// Set a variable in the environment of the new workers. May be repeated.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = config::environment::pair)]
    pub(crate) env: Vec<(String, String)>,
    /// Forget the flags that "start" was given beside the file: only the file counts from now on.
    #[arg(long)]
    pub(crate) as_written: bool,
    /// Replace nobody: give the workers on the bus the file's "shared" values.
    #[arg(long, conflicts_with_all = ["env", "pool", "as_written"])]
    pub(crate) config: bool,
    #[command(flatten)]
    pub(crate) pool: PoolArg,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print an array of apps as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// Which apps.
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// Print an array of apps as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EnvArgs {
    /// Which app.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Show the values.
    #[arg(long)]
    pub(crate) show: bool,
    /// Print an object as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SignalArgs {
    /// Which app, or "all".
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Which signal: HUP, SIGUSR1, 10.
    #[arg(value_name = "SIGNAL", value_parser = signal::parse)]
    pub(crate) signal: i32,
    /// Only the worker of this slot.
    #[arg(long, value_name = "N")]
    pub(crate) slot: Option<u16>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Which apps. Default: all.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Go on with what is written from now on.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many of the last lines of each file.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 15)]
    pub(crate) lines: usize,
    /// Only what was written to stderr.
    #[arg(long, conflicts_with = "out")]
    pub(crate) err: bool,
    /// Only what was written to stdout.
    #[arg(long)]
    pub(crate) out: bool,
    /// Have the primary close and open the log files again, after a rotation; print nothing.
    #[arg(long, conflicts_with_all = ["follow", "err", "out"])]
    pub(crate) reopen: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Which apps. Default: all that run now.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration file.
    #[arg(value_name = "FILE", default_value = super::CONFIG_FILE)]
    pub(crate) file: PathBuf,
    /// Print an array of the apps as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Where to write it; "-" prints it. A file that exists is not overwritten.
    #[arg(value_name = "FILE", default_value = super::CONFIG_FILE)]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct PrimaryArgs {
    /// The app's name.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Where another build left its state.
    #[arg(long, value_delimiter = ',')]
    pub(crate) memory: Vec<i32>,
    /// The limit of open files that workers get.
    #[arg(long)]
    pub(crate) nofile: Option<u64>,
    /// The OOM adjustment that workers get.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) oom: Option<i32>,
    /// The build before this one.
    #[arg(long)]
    pub(crate) previous: Option<i32>,
    /// The build after this one could not go on.
    #[arg(long)]
    pub(crate) fell_back: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoServerArgs {
    /// The port to listen on.
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: std::net::IpAddr,
}

#[cfg(test)]
mod tests;
