//! `pm2 start`, and `restart` and `reload` with files or options: files, apps that exist, and
//! scripts with PM2's options, which are read as those of an ecosystem file.

use std::path::Path;

use config::spec::AppSpec;
use serde_json::{Map, Value, json};

use super::bring::{bring, method};
use super::described::{self, Described};
use super::line::Line;
use super::ours::each;
use super::processes::{Command, Processes};
use super::saved;
use super::targets::{self, Target};
use crate::cli::exit::{Exit, Failure};
use crate::cli::launch::{is_idle, launch_app};
use crate::cli::session::Session;
use crate::cli::specs::{default_file, working_dir};
use crate::cli::targets::{Outcome, Results};

/// The options that `restart` and `reload` change of an app that runs.
const CHANGEABLE: [&str; 3] = ["name", "node_args", "watch"];

/// The variable that has PM2 stop every app by a message. PM2 reads it when its daemon starts; here
/// it counts for the scripts that are started with it.
const BY_MESSAGE: &str = "PM2_KILL_USE_MESSAGE";

/// Runs the verb. What exists is restarted, as PM2 does it.
pub(super) fn run(line: &Line, session: &mut Session) -> Result<Exit, Failure> {
    if line.has("--no-daemon") {
        return Err(Failure::usage(
            "--no-daemon is not supported: use \"supervisor start --foreground\"",
        ));
    }
    let mut worst = Exit::Done;
    let default = default_file(&working_dir()?).map(|file| file.display().to_string());
    let default: Vec<String> = default.into_iter().collect();
    let targets = if line.targets.is_empty() { &default } else { &line.targets };
    if targets.is_empty() {
        return Err(Failure::usage("nothing to start: name a script or an ecosystem file"));
    }
    for target in targets {
        let exit = one(target, line, session)?;
        worst = worst.or_worse(exit);
    }
    Ok(worst)
}

fn one(target: &str, line: &Line, session: &mut Session) -> Result<Exit, Failure> {
    let processes = Processes::read(session)?;
    if described::is_file(target) {
        return file(target, line, &processes, "restart", session);
    }
    if !Path::new(target).is_file()
        && let Ok(found) = targets::resolve(&[target.to_owned()], line, &processes)
    {
        return replace("restart", line, &found, &processes, session);
    }
    let mut app = line.options.clone();
    app.insert("script".to_owned(), json!(target));
    if !line.rest.is_empty() {
        app.insert("args".to_owned(), json!(line.rest));
    }
    if std::env::var_os(BY_MESSAGE).is_some_and(|value| !value.is_empty()) {
        app.insert("shutdown_with_message".to_owned(), json!(true));
    }
    let is_merged = app.contains_key("merge_logs");
    let Described { mut spec, .. } = described::of_options(app)?;
    if !is_merged {
        log_each(&mut spec, session);
    }
    start(spec, line, &processes, session)
}

/// Gives each worker logs of its own with nothing but its lines, as PM2 does it unless
/// `--merge-logs` or a file is named.
fn log_each(spec: &mut AppSpec, session: &Session) {
    let folder = session.home.log_dir(&spec.name);
    let logs = &mut spec.logs;
    for (file, name) in [(&mut logs.out_file, "out"), (&mut logs.error_file, "err")] {
        file.get_or_insert_with(|| folder.join(format!("{name}-{{slot}}.log")));
    }
}

/// Starts the apps of a file that do not run; `verb`: what happens to those that do. An app without
/// autostart is started if it is there already, or `--only` names it.
pub(super) fn file(
    file: &str,
    line: &Line,
    processes: &Processes,
    verb: &str,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let mut apps = described::read(file, line)?;
    let is_meant = |app: &Described| {
        app.spec.autostart || line.has("--only") || processes.app(&app.spec.name).is_some()
    };
    apps.retain(is_meant);
    bring(apps, &method(verb), line, processes, session)
}

/// Replaces the workers of apps, with the options on the command line if there are any. Stopped
/// apps are started, which is no restart for PM2.
pub(super) fn replace(
    verb: &str,
    line: &Line,
    targets: &[Target],
    processes: &Processes,
    session: &mut Session,
) -> Result<Exit, Failure> {
    if let Some(name) = line.value("--env") {
        return Err(Failure::usage(format!(
            "{verb} keeps the environment: use \"pm2 {verb} FILE --env {name}\""
        )));
    }
    let fixed = |option: &&String| !CHANGEABLE.contains(&option.as_str());
    if let Some(option) = line.options.keys().find(fixed) {
        return Err(Failure::usage(format!(
            "{verb} does not change {option}: start the app from a file and change that, or \
             \"pm2 delete\" and start it anew"
        )));
    }
    if !line.options.is_empty() || !line.rest.is_empty() {
        return with_options(verb, line, targets, session);
    }
    let mut words = if verb == "restart" { vec!["restart", "--hard"] } else { vec!["reload"] };
    if line.has("--update-env") {
        words.push("--update-env");
    }
    let is_idle = |target: &Target| processes.app(target.app()).is_some_and(is_idle);
    let (idle, running): (Vec<Target>, Vec<Target>) = targets.iter().cloned().partition(is_idle);
    let mut worst = Exit::Done;
    for (words, targets) in [(&["start"][..], idle), (&words, running)] {
        if !targets.is_empty() {
            worst = worst.or_worse(each(words, &targets)?);
        }
    }
    Ok(worst)
}

/// Replaces the workers of apps by some with other arguments, and calls an app by another name.
fn with_options(
    verb: &str,
    line: &Line,
    targets: &[Target],
    session: &mut Session,
) -> Result<Exit, Failure> {
    let mut processes = Processes::read(session)?;
    if let Some(name) = line.options.get("name").and_then(Value::as_str) {
        let [target] = targets else {
            return Err(Failure::usage("--name is for one app"));
        };
        config::name::check(name).map_err(Failure::usage)?;
        processes.ids.call(target.app(), name);
        processes.ids.write(&session.home)?;
    }
    if let Some(value) = line.options.get("node_args") {
        for target in targets {
            processes.ids.show_node_args(target.app(), !is_null(value));
        }
        processes.ids.write(&session.home)?;
    }
    let mut apps = Vec::new();
    for target in targets {
        let Some(spec) = processes.spec(target.app()) else {
            return Err(Failure::failed(format!("{} does not tell its options", target.app())));
        };
        apps.push(changed(spec, line)?);
    }
    bring(apps, &method(verb), line, &processes, session)
}

/// Whether a flag removes what it names.
fn is_null(value: &Value) -> bool {
    value.as_str() == Some("null")
}

/// The app with the arguments of the command line.
fn changed(spec: &AppSpec, line: &Line) -> Result<Described, Failure> {
    let mut spec = spec.clone();
    let command = Command::of(&spec.command);
    let node_args = match line.options.get("node_args") {
        Some(value) if is_null(value) => json!([]),
        Some(value) => value.clone(),
        None => json!(command.options),
    };
    let args = if line.rest.is_empty() { json!(command.args) } else { json!(line.rest) };
    let mut options = Map::new();
    options.extend([
        ("script".to_owned(), json!(command.script)),
        ("interpreter".to_owned(), json!(command.interpreter)),
        ("node_args".to_owned(), node_args),
        ("args".to_owned(), args),
        ("cwd".to_owned(), json!(spec.cwd)),
    ]);
    spec.command = described::of_options(options)?.spec.command;
    match line.options.get("watch") {
        None => {}
        Some(Value::String(path)) => spec.watch.paths = Some(vec![path.into()]),
        // PM2 turns it off with the same flag.
        Some(_) => {
            let is_watched = spec.watch.paths.is_some();
            spec.watch.paths = (!is_watched).then(Vec::new);
        }
    }
    Ok(Described { spec, counted: std::iter::empty().collect() })
}

fn start(
    mut spec: AppSpec,
    line: &Line,
    processes: &Processes,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let mut results = Results::new(false);
    let runs = |name: &str| processes.app(name).is_some_and(|app| !is_idle(app));
    let result: Result<Outcome, Failure> = if runs(&spec.name) && !line.has("--force") {
        Err(Failure::failed(format!(
            "{name} is running already: \"pm2 reload {name}\" replaces it, -f starts another one",
            name = spec.name
        )))
    } else {
        let base = spec.name.clone();
        let free = (2..).map(|number| format!("{base}-{number}")).find(|name| !runs(name));
        if let Some(free) = free.filter(|_| runs(&base)) {
            spec.name = free;
        }
        let pids = saved::folder().map(|folder| folder.join("pids"));
        let pids = pids.map(|folder| folder.join(format!("{}-{{slot}}.pid", spec.name)));
        spec.pid_file = spec.pid_file.or(pids);
        let started = launch_app(&session.home, &spec);
        if started.is_ok() && spec.name != base {
            let mut now = Processes::read(session)?;
            now.ids.call(&spec.name, &base);
            now.ids.write(&session.home)?;
        }
        started
    };
    results.take(session, &spec.name, result);
    results.finish(session)
}
