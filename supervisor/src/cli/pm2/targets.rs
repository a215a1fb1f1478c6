//! What PM2 calls an app: its name, the number of a worker, a namespace, `/regex/`, `all`, its
//! script, or the file that it came from ("-": stdin).

use std::path::Path;

use ipc::control::AppStatus;
use regex::Regex;

use super::described;
use super::line::Line;
use super::processes::{Command, Processes};
use crate::cli::exit::{Exit, Failure};
use crate::cli::specs::absolute;

/// Apps, or one worker of an app that has several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    App(String),
    Worker { app: String, slot: u16 },
}

impl Target {
    /// The app.
    pub(super) fn app(&self) -> &str {
        match self {
            Self::App(app) | Self::Worker { app, .. } => app,
        }
    }
}

/// What the words name, each once. All workers of an app are the app. Fails if a word names
/// nothing.
pub(super) fn resolve(
    words: &[String],
    line: &Line,
    processes: &Processes,
) -> Result<Vec<Target>, Failure> {
    if words.is_empty() {
        return Err(Failure::usage("name an app, the number of a worker, or \"all\""));
    }
    let mut found = Vec::new();
    for word in words {
        found.extend(named(word, line, processes)?);
    }
    let mut targets: Vec<Target> = Vec::new();
    for target in &found {
        let whole = Target::App(target.app().to_owned());
        let workers = processes.app(target.app()).map_or(1, |app| app.workers.len());
        let of_app = found.iter().filter(|other| other.app() == target.app());
        let mut slots: Vec<&Target> = of_app.collect();
        slots.dedup();
        let target = match slots.contains(&&whole) || slots.len() >= workers {
            true => whole,
            false => target.clone(),
        };
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    Ok(targets)
}

fn named(word: &str, line: &Line, processes: &Processes) -> Result<Vec<Target>, Failure> {
    let with = |is_meant: &dyn Fn(&str) -> bool| -> Vec<Target> {
        let names = processes.apps.iter().map(|app| app.name.as_str());
        names.filter(|name| is_meant(name)).map(|name| Target::App(name.to_owned())).collect()
    };
    let found = if word == "all" {
        // An empty list is a failure for PM2 as well.
        with(&|_| true)
    } else if let Some((app, slot)) = word.parse().ok().and_then(|id| processes.ids.with_id(id)) {
        vec![Target::Worker { app: app.to_owned(), slot }]
    } else if let Some(text) = word.strip_prefix('/').and_then(|word| word.strip_suffix('/')) {
        let regex = Regex::new(text)
            .map_err(|error| Failure::usage(format!("{word} is no regular expression: {error}")))?;
        with(&|name| regex.is_match(processes.ids.name(name)))
    } else if described::is_file(word) {
        let apps = described::read(word, line)?;
        let found = with(&|name| apps.iter().any(|app| app.spec.name == name));
        // It is a list of apps, and none of them is there.
        return match found.is_empty() {
            true => Err(Failure::new(Exit::NoSuchApp, format!("no app of {word} is there"))),
            false => Ok(found),
        };
    } else {
        let script = absolute(Path::new(word))?;
        let runs = |name: &str| {
            let app = processes.app(name);
            app.is_some_and(|app| {
                Path::new(&app.cwd).join(Command::of(&app.command).script) == script
            })
        };
        let mut found = with(&|name| processes.ids.name(name) == word);
        if found.is_empty() {
            let is_of = |app: &AppStatus| Processes::namespace(app) == word;
            found = with(&|name| processes.app(name).is_some_and(is_of));
        }
        if found.is_empty() {
            found = with(&runs);
        }
        found
    };
    match found.is_empty() {
        false => Ok(found),
        true if word == "all" => Err(Failure::new(Exit::NoSuchApp, "there are no apps")),
        true => Err(Failure::new(
            Exit::NoSuchApp,
            format!("no app, number or namespace is called {word}: see \"pm2 list\""),
        )),
    }
}
