//! Words a person types. Each verb has a file; most are clients of an app's control socket.
//!
//! Results go to stdout, reasons to stderr as `supervisor: reason`. Nothing here ends the process:
//! a verb returns its exit code.

mod args;
mod ask;
mod atomic_file;
mod check;
mod completions;
mod delete;
mod demo;
mod demo_server;
mod describe;
mod dump;
mod env;
mod events;
mod exit;
mod follow;
mod health;
mod init;
mod launch;
mod list;
mod logs;
mod man;
mod metric_help;
mod metrics;
mod output;
mod overrides;
mod pool;
mod primary;
mod probe;
mod reload;
mod restart;
mod save;
mod scale;
mod send;
mod share;
mod signal;
mod start;
mod start_plan;
mod stop;
mod stranded;
mod table;
mod targets;
mod times;
mod trigger;
mod unit;
mod upgrade;
mod values;

#[cfg(test)]
mod fake;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::home::Home;
use args::{Cli, Verb};
use exit::{Exit, Failure};
use output::Out;

/// The configuration file that is meant when none is named.
const CONFIG_FILE: &str = "supervisor.toml";

/// What every verb that deals with apps needs.
#[derive(Debug)]
struct Session {
    home: Home,
    out: Out,
}

pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error).into(),
    };
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::complain(&failure);
            failure.exit.into()
        }
    }
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let mut out = Out::stdout();
    let exit = match cli.verb {
        Verb::Check(args) => check::run(&args, &mut out),
        Verb::Init(args) => init::run(&args, &mut out),
        Verb::Completions(args) => completions::run(&args, &mut out),
        Verb::Man(args) => man::run(&args),
        Verb::DemoServer(args) => demo_server::run(&args),
        Verb::ThawCheck => upgrade::thaw_check(&mut out),
        about_apps => {
            let mut session =
                Session { home: if cli.system { Home::system() } else { Home::find()? }, out };
            let exit = run_on_apps(about_apps, &mut session);
            out = session.out;
            exit
        }
    }?;
    out.end().map(|()| exit)
}

fn run_on_apps(verb: Verb, session: &mut Session) -> Result<Exit, Failure> {
    match verb {
        Verb::Start(args) => start::run(*args, session),
        Verb::Stop(args) => stop::run(&args, session),
        Verb::Restart(args) => restart::run(&args, session),
        Verb::Reload(args) => reload::run(&args, session),
        Verb::Scale(args) => scale::run(&args, session),
        Verb::Delete(args) => delete::run(&args, session),
        Verb::List(args) => list::run(&args, session),
        Verb::Describe(args) => describe::run(&args, session),
        Verb::Health(args) => health::run(&args, session),
        Verb::Env(args) => env::run(&args, session),
        Verb::Send(args) => send::run(&args, session),
        Verb::Trigger(args) => trigger::run(&args, session),
        Verb::Metrics(args) => metrics::run(&args, session),
        Verb::Signal(args) => signal::run(&args, session),
        Verb::Logs(args) => logs::run(&args, session),
        Verb::Events(args) => events::run(&args, session),
        Verb::Save(args) => save::save(&args, session),
        Verb::Resurrect(args) => save::resurrect(&args, session),
        Verb::Demo(args) => demo::run(&args, session),
        Verb::Unit(args) => unit::print(&args, session),
        Verb::Upgrade(args) => upgrade::run(&args, session),
        Verb::Startup(args) => unit::startup(&args, session),
        Verb::Unstartup(args) => unit::unstartup(&args, session),
        Verb::Primary(args) => primary::run(&args, session),
        Verb::Check(_)
        | Verb::Init(_)
        | Verb::Completions(_)
        | Verb::Man(_)
        | Verb::ThawCheck
        | Verb::DemoServer(_) => Ok(Exit::Done),
    }
}

/// Says what clap found: help and version on stdout, mistakes in our own form.
fn not_understood(error: &clap::Error) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Nobody is left to tell if this cannot be written.
        let _ = error.print();
        return Exit::Done;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return Exit::Usage;
    }
    output::complain(&Failure::usage(one_complaint(&error.render().to_string())));
    Exit::Usage
}

/// clap's text without its opening word and its closing advice.
fn one_complaint(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let text = text.split("\n\nFor more information").next().unwrap_or(text);
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_said_in_our_own_form() {
        let mistake = |argv: &[&str]| {
            let error = Cli::try_parse_from(argv).unwrap_err();
            assert_eq!(not_understood(&error), Exit::Usage);
            one_complaint(&error.render().to_string())
        };
        let text = mistake(&["supervisor", "start", "-i", "banana", "x.js"]);
        assert!(text.starts_with("invalid value 'banana' for '--instances <N>'"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        let text = mistake(&["supervisor", "stop"]);
        assert!(text.starts_with("the following required arguments"), "{text}");
        let text = mistake(&["supervisor", "relaod"]);
        assert!(text.contains("'reload'"), "{text}");
    }

    #[test]
    fn help_and_version_are_no_mistakes() {
        for flag in ["--help", "--version"] {
            let error = Cli::try_parse_from(["supervisor", flag]).unwrap_err();
            assert_eq!(not_understood(&error), Exit::Done);
        }
    }
}
