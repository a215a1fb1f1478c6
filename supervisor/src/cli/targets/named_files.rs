//! Configuration files among the names on a command line.

use std::path::Path;

use config::Format;
use config::spec::AppSpec;

use super::Targets;
use crate::cli::exit::Failure;
use crate::cli::session::Session;
use crate::cli::specs::{is_config_path, read_file};
use crate::home::Home;

/// Separates configuration files from names of apps: the specs of the files, and the names.
pub(crate) fn split_files_and_names(
    given: &[String],
    profile: Option<&str>,
    session: &Session,
) -> Result<(Vec<AppSpec>, Vec<String>), Failure> {
    let known = session.home.apps()?;
    let is_file = |given: &String| {
        let path = Path::new(given);
        !known.contains(given) && is_config_path(path) && (path.is_file() || given.contains('/'))
    };
    let (files, names): (Vec<String>, Vec<String>) = given.iter().cloned().partition(is_file);
    let mut specs = Vec::new();
    for file in files {
        specs.extend(read_file(Path::new(&file), profile)?);
    }
    for spec in &specs {
        refuse_other_procfile(&session.home, spec)?;
    }
    Ok((specs, names))
}

/// Refuses an app of a Procfile whose name is that of an app from elsewhere: every Procfile has a
/// "web".
pub(crate) fn refuse_other_procfile(home: &Home, spec: &AppSpec) -> Result<(), Failure> {
    let Some(file) = spec.source.as_deref() else { return Ok(()) };
    let Some(record) = home.read_record(&spec.name) else { return Ok(()) };
    let other = record.spec.source;
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let is_same = other.as_deref().is_some_and(|other| real(other) == real(file));
    if Format::of(file) != Some(Format::Procfile) || is_same {
        return Ok(());
    }
    let name = &spec.name;
    let from = match other {
        Some(other) => format!("from {}", other.display()),
        None => "without a file".to_owned(),
    };
    Err(Failure::usage(format!(
        "the app {name} that is there was started {from}, not from {}: name the app itself, or give \
         one of them another name",
        file.display()
    )))
}

/// The named apps, and those of the named files.
pub(crate) fn resolve_with_files(session: &Session, given: &[String]) -> Result<Targets, Failure> {
    let (specs, mut names) = split_files_and_names(given, None, session)?;
    names.extend(specs.into_iter().map(|spec| spec.name));
    Targets::resolve(session, &names)
}
