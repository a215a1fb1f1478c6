//! What `start` does with its arguments: start new apps, or apps that are stopped.

use std::path::Path;

use config::command;
use config::cpus::Cpus;
use config::spec::AppSpec;

use super::args::Args;
use crate::cli::args::AppOptions;
use crate::cli::exit::Failure;
use crate::cli::specs::{CONFIG_FILE, check, from_options, is_config_path, read_file};

/// What `start` does.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// It starts a primary for each spec.
    Launch(Vec<AppSpec>),
    /// It starts the workers of these stopped apps.
    StartStopped(Vec<String>),
}

/// Makes the plan. `working_dir` is the folder of the command, `known` are the apps that exist.
pub(super) fn plan(args: &Args, working_dir: &Path, known: &[String]) -> Result<Plan, Failure> {
    let launch = |command, name_after: &[String]| {
        Ok(Plan::Launch(vec![from_options(&args.app, command, name_after, working_dir)?]))
    };
    let Some(first) = args.target.first() else {
        if !args.rest.is_empty() {
            return launch(args.rest.clone(), &args.rest);
        }
        if working_dir.join(CONFIG_FILE).is_file() {
            return from_file(args, &working_dir.join(CONFIG_FILE), working_dir);
        }
        return Err(Failure::usage(format!(
            "nothing to start: name a FILE, or a command after \"--\"; there is no {CONFIG_FILE} in \
             {} either",
            working_dir.display()
        )));
    };
    let path = working_dir.join(first);
    if path.is_file() {
        if is_config_path(&path) {
            return from_file(args, &path, working_dir);
        }
        let mut command =
            command::for_file(&path).map_err(|error| Failure::usage(error.to_string()))?;
        command.extend(args.target[1..].iter().chain(&args.rest).cloned());
        return launch(command, std::slice::from_ref(first));
    }
    let are_apps = args.target.iter().all(|name| name == "all" || known.contains(name));
    if !are_apps || !args.rest.is_empty() {
        return Err(Failure::usage(format!(
            "there is no file {first} and no app of that name: to run a command put it after \"--\", \
             as in: supervisor start -- {first}"
        )));
    }
    if args.app != AppOptions::default() || !args.only.is_empty() || args.foreground || args.profile.is_some() {
        return Err(Failure::usage(format!(
            "{first} is an app already and is started as it was: only --no-wait, --timeout and \
             --json go with it"
        )));
    }
    Ok(Plan::StartStopped(args.target.clone()))
}

/// Reads the apps of a configuration file: all of them, or those named by `--only`.
fn from_file(args: &Args, path: &Path, working_dir: &Path) -> Result<Plan, Failure> {
    let shown = path.display();
    if args.target.len() > 1 || !args.rest.is_empty() {
        return Err(Failure::usage(format!("the apps of {shown} take no further arguments")));
    }
    let overrides = args.app.overrides(working_dir);
    let mut specs = read_file(path, args.profile.as_deref())?;
    for only in &args.only {
        if !specs.iter().any(|spec| spec.name == *only) {
            let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
            return Err(Failure::usage(format!(
                "{shown} has no app \"{only}\": it has {}",
                names.join(", ")
            )));
        }
    }
    if !args.only.is_empty() {
        specs.retain(|spec| args.only.contains(&spec.name));
    }
    refuse_flags(&args.app, &specs, path)?;
    for spec in &mut specs {
        overrides.clone().attach(spec, &Cpus::read());
        if spec.overrides.is_some() {
            check(spec)?;
        }
    }
    if args.foreground && specs.len() != 1 {
        return Err(Failure::usage(format!(
            "--foreground runs one app and {shown} has {}: choose one with --only",
            specs.len()
        )));
    }
    Ok(Plan::Launch(specs))
}

/// Refuses flags that mean nothing beside a file, which names its apps and may have several.
fn refuse_flags(options: &AppOptions, specs: &[AppSpec], path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    if options.overrides.has("name") {
        return Err(Failure::usage(format!(
            "--name does not go with a configuration file: {shown} names its apps"
        )));
    }
    if options.overrides.has("listen") && specs.len() > 1 {
        return Err(Failure::usage(format!(
            "--listen means one app and {shown} has {}: choose one with --only",
            specs.len()
        )));
    }
    Ok(())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
