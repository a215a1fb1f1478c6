//! Apps that a file, stdin or a command line describes in PM2's words.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use config::cpus::Cpus;
use config::spec::AppSpec;
use config::{Format, Loaded, Reader, Report};
use serde_json::Value;

use super::line::Line;
use crate::cli::dependencies::Dependent;
use crate::cli::ecosystem;
use crate::cli::exit::Failure;
use crate::cli::output;
use crate::cli::specs::{absolute, check, is_config_path, load_file, working_dir};

/// The word that stands for stdin.
const STDIN: &str = "-";
/// The most that is read from stdin, in bytes.
const MOST: u64 = 1024 * 1024;

/// An app as it is described.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) spec: AppSpec,
    /// The pools whose number of workers the description says.
    pub(super) counted: BTreeSet<String>,
}

impl Dependent for Described {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn spec(&self) -> Option<&AppSpec> {
        Some(&self.spec)
    }
}

/// Whether the word names a description and no app.
pub(super) fn is_file(word: &str) -> bool {
    word == STDIN || (is_config_path(Path::new(word)) && Path::new(word).is_file())
}

/// The apps of a file or of stdin, as far as `--only` means them, in the environment of `--env`.
pub(super) fn read(word: &str, line: &Line) -> Result<Vec<Described>, Failure> {
    let profile = line.value("--env");
    let mut apps = match word {
        STDIN => of_text(&stdin()?, profile)?,
        _ => of_file(Path::new(word), profile)?,
    };
    if let Some(only) = line.value("--only") {
        let names: Vec<&str> = only.split(',').map(str::trim).collect();
        apps.retain(|app| names.contains(&app.spec.name.as_str()));
        if apps.is_empty() {
            return Err(Failure::usage(format!("{word} has no app {}", names.join(", "))));
        }
    }
    Ok(apps)
}

/// The app that is described by these options of PM2's files. It belongs to no file.
pub(super) fn of_options(options: serde_json::Map<String, Value>) -> Result<Described, Failure> {
    let apps = of_text(&Value::Array(vec![Value::Object(options)]).to_string(), None)?;
    apps.into_iter().next().ok_or_else(|| Failure::usage("nothing says what to run"))
}

fn stdin() -> Result<String, Failure> {
    let mut text = String::new();
    let mut stdin = std::io::stdin().take(MOST);
    stdin.read_to_string(&mut text).map_err(|error| Failure::io("cannot read stdin", &error))?;
    Ok(text)
}

/// A file that PM2 calls JSON may be an expression of JavaScript. Only this command can evaluate
/// it, so its apps belong to no file.
fn of_file(path: &Path, profile: Option<&str>) -> Result<Vec<Described>, Failure> {
    let failure = match load_file(path, profile) {
        Ok(loaded) => return Ok(described(loaded)),
        Err(failure) => failure,
    };
    if Format::of(path) != Some(Format::Json) {
        return Err(failure);
    }
    let path = absolute(path)?;
    let Ok(value) = ecosystem::evaluate_expression(&path) else { return Err(failure) };
    let loaded = reader(profile).evaluated(&value, &path).map_err(|report| refused(&report))?;
    without_file(loaded)
}

fn of_text(text: &str, profile: Option<&str>) -> Result<Vec<Described>, Failure> {
    let label = working_dir()?.join("pm2 start");
    let loaded = reader(profile).evaluated(text, &label).map_err(|report| refused(&report))?;
    without_file(loaded)
}

fn reader(profile: Option<&str>) -> Reader {
    Reader::new(&Cpus::read()).profile(profile)
}

fn refused(report: &Report) -> Failure {
    let reasons = report.problems.iter().map(|problem| problem.message.as_str());
    Failure::usage(reasons.collect::<Vec<_>>().join("\n"))
}

fn without_file(mut loaded: Loaded) -> Result<Vec<Described>, Failure> {
    for note in loaded.notes.drain(..) {
        output::note(note.message);
    }
    for spec in &mut loaded.apps {
        spec.source = None;
        check(spec)?;
    }
    Ok(described(loaded))
}

fn described(loaded: Loaded) -> Vec<Described> {
    let all = loaded.apps.into_iter().zip(loaded.definitions);
    all.map(|(spec, definition)| Described { spec, counted: definition.counted }).collect()
}
