//! The commands. Each verb has a file; most are clients of the control socket of an app.
//!
//! Results go to stdout, and reasons to stderr as `supervisor: reason`. A verb returns its exit
//! code and does not end the process.
//!
//! The folders, each of which uses only those above it:
//!
//! - `elsewhere`, `usage`: what is wrong with a command line, also in words of other tools;
//! - `exit`, `output`, `session`, `side_by_side`: how a command ends, what it prints, what it works
//!   with, and how it works on several apps at once;
//! - `args`, `ecosystem`, `specs`: options that verbs share, and the specs of apps from files and
//!   flags;
//! - `targets`: which apps a command is for, their state, and requests to their primaries;
//! - `primary_channel`: how a helper process speaks with the primary that runs it;
//! - `files`, `http`: files that commands write and read, and serving HTTP;
//! - `exporter`: metrics for Prometheus and OpenTelemetry;
//! - `logs`: the log files of apps;
//! - `launch`, `replace`, `service`: starting apps, replacing workers, and systemd units;
//! - `watch`: what apps, their logs and commands report to a dashboard;
//! - `sheet`: how sections with labels and values are laid out;
//! - `trial`: what verbs share that try the user's own app;
//! - `monit`, `dash`: the dashboards on the terminal and in the browser;
//! - `verbs`: one file for each verb, and the table of all verbs;
//! - `pm2`: the command line of PM2, translated into ours.

mod apply;
mod args;
mod bench;
mod chaos;
mod completion;
mod dash;
mod deletion;
mod dependencies;
mod ecosystem;
mod elsewhere;
mod exit;
mod exporter;
mod file_set;
mod files;
mod http;
mod launch;
mod logs;
mod monit;
mod output;
mod pm2;
mod primary_channel;
mod replace;
mod service;
mod session;
mod sheet;
mod side_by_side;
mod specs;
mod targets;
mod trial;
mod usage;
mod verbs;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use exit::Exit;
use verbs::Cli;

/// Runs the command that the arguments of this process name.
pub(crate) fn main() -> ExitCode {
    let result = match verbs::primary_alone(std::env::args_os().skip(1)) {
        Some(result) => Some(result),
        None => {
            let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
            pm2::arguments(words).map(pm2::run)
        }
    };
    let result = match result {
        Some(result) => result,
        None => match Cli::try_parse() {
            Ok(cli) => cli.run(),
            Err(error) => return not_parsed(&error).into(),
        },
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::report(&failure);
            failure.exit.into()
        }
    }
}

/// Prints what clap returned instead of a command: help and version on stdout, mistakes on stderr
/// in the form of all failures.
fn not_parsed(error: &clap::Error) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // If stdout is closed, there is nobody to tell.
        let _ = error.print();
        return Exit::Done;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return Exit::Usage;
    }
    output::report(&usage::failure(error));
    Exit::Usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_have_the_form_of_failures() {
        let mistake = |argv: &[&str]| {
            let error = Cli::try_parse_from(argv).unwrap_err();
            assert_eq!(not_parsed(&error), Exit::Usage);
            usage::failure(&error).reason
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
            assert_eq!(not_parsed(&error), Exit::Done);
        }
    }
}
