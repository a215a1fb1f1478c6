//! What `start` does with its arguments: start new apps, or apps that are stopped.

use std::path::{Path, PathBuf};

use config::command::{self, CommandError};
use config::cpus::Cpus;
use config::spec::AppSpec;

use super::args::Args;
use crate::cli::args::AppOptions;
use crate::cli::exit::Failure;
use crate::cli::file_set::{FileSet, pattern};
use crate::cli::output::note;
use crate::cli::specs::{CONFIG_FILE, check, default_file, from_options, in_path, is_config_path};

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
        if let Some(name) = &args.app.named_env {
            return Err(Failure::usage(format!(
                "--env {name}: expected KEY=VALUE; only the apps of a configuration file have \
                 environments with names"
            )));
        }
        Ok(Plan::Launch(vec![from_options(&args.app, command, name_after, working_dir)?]))
    };
    let Some(first) = args.target.first() else {
        if !args.rest.is_empty() {
            return launch(args.rest.clone(), &args.rest);
        }
        if let Some(file) = default_file(working_dir) {
            return from_files(args, &[file], working_dir);
        }
        return Err(Failure::usage(format!(
            "nothing to start: name a FILE, or a command after \"--\"; there is no {CONFIG_FILE} in \
             {} either",
            working_dir.display()
        )));
    };
    let path = working_dir.join(first);
    if pattern(&path).is_some() || (path.is_file() && is_config_path(&path)) {
        let files: Vec<PathBuf> = args.target.iter().map(|file| working_dir.join(file)).collect();
        return from_files(args, &files, working_dir);
    }
    if path.is_file() {
        let mut command =
            command::for_file(&path).map_err(|error| Failure::usage(error.to_string()))?;
        command.extend(args.target[1..].iter().chain(&args.rest).cloned());
        return launch(command, std::slice::from_ref(first));
    }
    let is_app = |name: &String| name == "all" || name.ends_with(':') || known.contains(name);
    let are_apps = args.target.iter().all(is_app);
    if !is_app(first)
        && let Some(mut command) = as_command(first)?
    {
        command.extend(args.target[1..].iter().chain(&args.rest).cloned());
        return launch(command.clone(), &command);
    }
    if !are_apps || !args.rest.is_empty() {
        return Err(Failure::usage(format!(
            "there is no file {first}, no app of that name, and no such program in a folder of PATH"
        )));
    }
    if args.app != AppOptions::default()
        || !args.only.is_empty()
        || args.foreground
        || args.profile.is_some()
    {
        return Err(Failure::usage(format!(
            "{first} is an app already and is started as it was: only --no-wait, --timeout and \
             --json go with it"
        )));
    }
    Ok(Plan::StartStopped(args.target.clone()))
}

/// `npm` and `"npm start"`: the command that `first` is, if it begins with a program in a folder of
/// PATH. A line with spaces that needs a shell gets one.
fn as_command(first: &str) -> Result<Option<Vec<String>>, Failure> {
    let program = first.split_whitespace().next().unwrap_or_default();
    if program.contains('/') || in_path(program).is_none() {
        return Ok(None);
    }
    match command::split(first) {
        Ok(words) => Ok(Some(words)),
        Err(CommandError::NeedsShell(_)) => Ok(Some(["sh", "-c", first].map(str::to_owned).into())),
        Err(error) => Err(Failure::usage(format!("{first:?}: {error}"))),
    }
}

/// Reads the apps of configuration files: all of them, or those named by `--only`.
fn from_files(args: &Args, files: &[PathBuf], working_dir: &Path) -> Result<Plan, Failure> {
    let shown: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let is_other = |file: &&PathBuf| !is_config_path(file) && pattern(file).is_none();
    if files.iter().any(|file| is_other(&file)) || !args.rest.is_empty() {
        return Err(Failure::usage(format!("the apps of {} take no further arguments", shown[0])));
    }
    let shown = shown.join(", ");
    let overrides = args.app.overrides(working_dir);
    let profile = args.profile.as_deref().or(args.app.named_env.as_deref());
    let apps = FileSet::read(files, profile)?.apps;
    let mut specs: Vec<AppSpec> = apps.into_iter().map(|app| app.spec).collect();
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
    if args.only.is_empty() {
        leave_out(&mut specs)?;
    }
    refuse_flags(&args.app, &specs, &shown)?;
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

/// Leaves out the apps that are not to be started with their file.
fn leave_out(specs: &mut Vec<AppSpec>) -> Result<(), Failure> {
    let (started, left): (Vec<_>, Vec<_>) =
        std::mem::take(specs).into_iter().partition(|spec| spec.autostart);
    let names: Vec<String> = left.into_iter().map(|spec| spec.name).collect();
    let names = names.join(", ");
    if started.is_empty() {
        return Err(Failure::usage(format!(
            "nothing to start: autostart is false for {names}: choose with --only"
        )));
    }
    if !names.is_empty() {
        note(format_args!("not started, because autostart is false: {names}"));
    }
    *specs = started;
    Ok(())
}

/// Refuses flags that mean nothing beside a file, which names its apps and may have several.
fn refuse_flags(options: &AppOptions, specs: &[AppSpec], shown: &str) -> Result<(), Failure> {
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
