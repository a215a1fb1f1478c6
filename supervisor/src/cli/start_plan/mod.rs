//! What "start" is to do: the arguments become checked specs, or the names of stopped apps.
//!
//! Everything that can be known to be wrong before anything is started is refused here.

use std::path::{Path, PathBuf};

use config::cpus::Cpus;
use config::spec::{AppSpec, Overrides};
use config::{command, name};

use super::args::{AppOptions, StartArgs};
use super::exit::{Exit, Failure};
use crate::cli::{CONFIG_FILE, Session};
use crate::home::Home;

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    /// Start primaries for these.
    Launch(Vec<AppSpec>),
    /// Start the workers of these stopped apps.
    Revive(Vec<String>),
}

/// Makes the plan. `here`: the folder the command was typed in; `known`: the apps there are.
pub(crate) fn plan(args: &StartArgs, here: &Path, known: &[String]) -> Result<Plan, Failure> {
    let launch = |command, name_after: &[String]| {
        Ok(Plan::Launch(vec![from_options(&args.app, command, name_after, here)?]))
    };
    let Some(first) = args.target.first() else {
        if !args.rest.is_empty() {
            return launch(args.rest.clone(), &args.rest);
        }
        if here.join(CONFIG_FILE).is_file() {
            return from_file(args, &here.join(CONFIG_FILE), here);
        }
        return Err(Failure::usage(format!(
            "nothing to start: name a FILE, or a command after \"--\"; there is no {CONFIG_FILE} in \
             {} either",
            here.display()
        )));
    };
    let path = here.join(first);
    if path.is_file() {
        if path.extension().is_some_and(|ending| ending == "toml") {
            return from_file(args, &path, here);
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
    if args.app != AppOptions::default() || !args.only.is_empty() || args.foreground {
        return Err(Failure::usage(format!(
            "{first} is an app already and is started as it was: only --no-wait, --timeout and \
             --json go with it"
        )));
    }
    Ok(Plan::Revive(args.target.clone()))
}

/// Reads the apps of a configuration file, all of it or those named by `--only`.
fn from_file(args: &StartArgs, path: &Path, here: &Path) -> Result<Plan, Failure> {
    let shown = path.display();
    if args.target.len() > 1 || !args.rest.is_empty() {
        return Err(Failure::usage(format!("the apps of {shown} take no further arguments")));
    }
    let overrides = overrides(&args.app, here);
    let mut specs = read_file(path)?;
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
    refuse_beside(&args.app, &specs, path)?;
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

/// A file names its apps, and an address belongs to one of them.
fn refuse_beside(options: &AppOptions, specs: &[AppSpec], path: &Path) -> Result<(), Failure> {
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

/// What the flags set; their paths start here.
fn overrides(options: &AppOptions, here: &Path) -> Overrides {
    let mut overrides = options.overrides.clone();
    overrides.start_at(here);
    overrides
}

/// Reads every app of a configuration file.
pub(crate) fn read_file(path: &Path) -> Result<Vec<AppSpec>, Failure> {
    let path = std::path::absolute(path)
        .map_err(|error| Failure::io(format_args!("cannot find {}", path.display()), &error))?;
    config::load(&path, &Cpus::read())
        .map_err(|report| Failure::usage(report.to_string().trim_end()))
}

/// Whether the apps of this home are weighed by their own primaries: what they may, and have, is
/// not what this user may and has.
pub(crate) fn is_for_others(home: &Home) -> bool {
    home.is_others() && !nix::unistd::geteuid().is_root()
}

/// The same for an app that runs. One of somebody else is weighed by its own primary, which reads the
/// file itself.
pub(super) fn read_again(session: &Session, path: &Path) -> Result<Vec<AppSpec>, Failure> {
    if !is_for_others(&session.home) {
        return read_file(path);
    }
    config::written(path, &Cpus::read())
        .map_err(|report| Failure::usage(report.to_string().trim_end()))
}

/// A spec from the command line alone.
pub(crate) fn from_options(
    options: &AppOptions,
    command: Vec<String>,
    name_after: &[String],
    here: &Path,
) -> Result<AppSpec, Failure> {
    if command.first().is_none_or(String::is_empty) {
        return Err(Failure::usage("the command is empty: name a program after \"--\""));
    }
    let given = options.overrides.name();
    let app = given.map_or_else(|| name::from_command(name_after), str::to_owned);
    name::check(&app).map_err(|reason| match given {
        Some(_) => Failure::usage(reason),
        None => Failure::usage(format!("{reason}; say --name")),
    })?;
    let mut spec = AppSpec::new(app, command, here.to_owned());
    spec.resolve(&Cpus::read());
    overrides(options, here).apply(&mut spec, &Cpus::read());
    check(&spec)?;
    Ok(spec)
}

/// Refuses what contradicts itself, and what only this machine can tell to be wrong.
pub(crate) fn check(spec: &AppSpec) -> Result<(), Failure> {
    let name = &spec.name;
    if let Some((_, reason)) = config::address::duplicate(&spec.listen) {
        return Err(Failure::usage(format!("{name}: {reason}")));
    }
    let mut chosen = spec.user.iter().chain(&spec.group).chain(&spec.privileges.groups);
    if let Some(chosen) = chosen.next().filter(|_| !nix::unistd::geteuid().is_root()) {
        return Err(Failure::new(
            Exit::NotPermitted,
            format!("{name}: only root may run workers as \"{chosen}\""),
        ));
    }
    if let Some(fault) = config::validate::contradictions(spec).first() {
        return Err(Failure::usage(format!("{name}: {}", fault.message)));
    }
    match config::validate::missing_here(spec).first() {
        // A program that is not there may be built in a moment: nothing is wrong with the words.
        Some(fault) if fault.key == "command" => {
            Err(Failure::failed(format!("{name}: {}", fault.message)))
        }
        Some(fault) => Err(Failure::usage(format!("{name}: {}", fault.message))),
        None => Ok(()),
    }
}

/// The folder the command was typed in.
pub(crate) fn here() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| Failure::io("cannot tell the working folder", &error))
}

#[cfg(test)]
mod tests;
