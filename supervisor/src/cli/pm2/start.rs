//! `pm2 start`: files, apps that exist, and scripts with PM2's options, which are read as those of
//! an ecosystem file.

use std::io::Read;
use std::path::Path;

use config::Reader;
use config::cpus::Cpus;
use config::spec::AppSpec;
use serde_json::{Value, json};

use super::line::Line;
use super::ours::{each, ours};
use super::processes::Processes;
use super::targets::{self, Target};

use crate::cli::args::WaitOptions;
use crate::cli::exit::{Exit, Failure};
use crate::cli::launch::{is_idle, start_app};
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::specs::{check, default_file, is_config_path, read_file, working_dir};
use crate::cli::targets::Results;

/// The most that is read from stdin, in bytes.
const MOST: u64 = 1024 * 1024;

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
    let path = Path::new(target);
    if target == "-" {
        let mut text = String::new();
        let mut stdin = std::io::stdin().take(MOST);
        stdin
            .read_to_string(&mut text)
            .map_err(|error| Failure::io("cannot read stdin", &error))?;
        let specs = specs(&text, line.value("--env"))?;
        return start(specs, line, &processes, session);
    }
    if is_config_path(path) && path.is_file() {
        return file(target, line, &processes, "restart");
    }
    if !path.is_file()
        && let Ok(found) = targets::resolve(&[target.to_owned()], &processes, session)
    {
        return again(&found, line, &processes);
    }
    let mut app = line.options.clone();
    app.insert("script".to_owned(), json!(target));
    if !line.rest.is_empty() {
        app.insert("args".to_owned(), json!(line.rest));
    }
    let specs = specs(&json!([Value::Object(app)]).to_string(), None)?;
    start(specs, line, &processes, session)
}

/// Starts the apps of a file that do not run; `verb`: what happens to those that do.
pub(super) fn file(
    file: &str,
    line: &Line,
    processes: &Processes,
    verb: &str,
) -> Result<Exit, Failure> {
    let profile = line.value("--env");
    let only: Vec<&str> = line.value("--only").unwrap_or_default().split(',').collect();
    let is_meant = |spec: &AppSpec| only == [""] || only.contains(&spec.name.as_str());
    let specs = read_file(Path::new(file), profile)?;
    let meant: Vec<&AppSpec> = specs.iter().filter(|spec| is_meant(spec)).collect();
    if meant.is_empty() {
        return Err(Failure::usage(format!("{file} has no app {}", only.join(", "))));
    }
    let exists = |spec: &&&AppSpec| processes.app(&spec.name).is_some();
    let mut worst = Exit::Done;
    let choose = profile.map(|name| ["--profile".to_owned(), name.to_owned()]);
    let choose = choose.into_iter().flatten();
    let known: Vec<String> = meant.iter().filter(exists).map(|spec| spec.name.clone()).collect();
    if !known.is_empty() {
        // The whole file is the same for the primary as the app's own file.
        let words = [verb.to_owned()].into_iter().chain(known).chain(choose.clone());
        worst = worst.or_worse(ours(words)?);
    }
    let new: Vec<&str> = meant
        .iter()
        .filter(|spec| !exists(spec) && (spec.autostart || only != [""]))
        .map(|spec| spec.name.as_str())
        .collect();
    if !new.is_empty() {
        let only = new.iter().flat_map(|name| ["--only".to_owned(), (*name).to_owned()]);
        let words = ["start".to_owned(), file.to_owned()].into_iter().chain(only).chain(choose);
        worst = worst.or_worse(ours(words)?);
    }
    Ok(worst)
}

/// Starts apps that exist once more.
fn again(found: &[Target], line: &Line, processes: &Processes) -> Result<Exit, Failure> {
    let is_idle = |target: &&Target| processes.app(target.app()).is_some_and(is_idle);
    let (idle, running): (Vec<&Target>, Vec<&Target>) = found.iter().partition(is_idle);
    let names = |targets: Vec<&Target>| targets.into_iter().cloned().collect::<Vec<_>>();
    let mut worst = Exit::Done;
    if !idle.is_empty() {
        worst = worst.or_worse(each(&["start"], &names(idle))?);
    }
    if !running.is_empty() {
        let words: &[&str] = match line.has("--update-env") {
            true => &["restart", "--hard", "--update-env"],
            false => &["restart", "--hard"],
        };
        worst = worst.or_worse(each(words, &names(running))?);
    }
    Ok(worst)
}

/// The apps that PM2's JSON describes. They belong to no file.
fn specs(text: &str, profile: Option<&str>) -> Result<Vec<AppSpec>, Failure> {
    let label = working_dir()?.join("pm2 start");
    let reader = Reader::new(&Cpus::read()).profile(profile);
    let mut loaded = reader.evaluated(text, &label).map_err(|report| {
        let reasons = report.problems.into_iter().map(|problem| problem.message);
        Failure::usage(reasons.collect::<Vec<_>>().join("\n"))
    })?;
    for note in loaded.notes {
        output::note(note.message);
    }
    for spec in &mut loaded.apps {
        spec.source = None;
        check(spec)?;
    }
    Ok(loaded.apps)
}

fn start(
    specs: Vec<AppSpec>,
    line: &Line,
    processes: &Processes,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let mut results = Results::new(false);
    for mut spec in specs {
        let runs = |name: &str| processes.app(name).is_some_and(|app| !is_idle(app));
        let result = if runs(&spec.name) && !line.has("--force") {
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
            let started = start_app(&session.home, &spec, None, &WaitOptions::default());
            if started.is_ok() && spec.name != base {
                let mut now = Processes::read(session)?;
                now.ids.call(&spec.name, &base);
                now.ids.write(&session.home)?;
            }
            started
        };
        results.take(session, &spec.name, result);
    }
    results.finish(session)
}
