//! The command lines of ours that PM2's become.

use clap::Parser;

use super::targets::Target;
use crate::cli::exit::{Exit, Failure};
use crate::cli::usage;
use crate::cli::verbs::Cli;

/// Runs our command with these words and the apps of the targets; workers get a command each.
pub(super) fn each(words: &[&str], targets: &[Target]) -> Result<Exit, Failure> {
    let begin = || words.iter().map(ToString::to_string).collect::<Vec<String>>();
    let names: Vec<String> = targets
        .iter()
        .filter(|target| matches!(target, Target::App(_)))
        .map(|target| target.app().to_owned())
        .collect();
    let mut worst = Exit::Done;
    if !names.is_empty() && words[0] == "env" {
        for name in names {
            worst = worst.or_worse(ours(begin().into_iter().chain([name]))?);
        }
    } else if !names.is_empty() {
        worst = ours(begin().into_iter().chain(names))?;
    }
    for target in targets {
        let Target::Worker { app, slot } = target else { continue };
        // One worker gets what the others run.
        let line = match words[0] {
            "restart" | "reload" => {
                ["restart", app, "--slot", &slot.to_string()].map(str::to_owned).to_vec()
            }
            _ => begin().into_iter().chain([app.clone()]).collect(),
        };
        worst = worst.or_worse(ours(line)?);
    }
    Ok(worst)
}

/// Runs a command line of ours that has no other words.
pub(super) fn words(words: &[&str]) -> Result<Exit, Failure> {
    ours(words.iter().map(ToString::to_string))
}

/// Runs a command line of ours.
pub(super) fn ours(words: impl IntoIterator<Item = String>) -> Result<Exit, Failure> {
    let line = std::iter::once("supervisor".to_owned()).chain(words);
    Cli::try_parse_from(line).map_err(|error| usage::failure(&error))?.run()
}
