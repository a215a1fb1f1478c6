//! Configuration files among the names on a command line.

use std::path::Path;

use config::spec::AppSpec;

use super::Targets;
use crate::cli::exit::Failure;
use crate::cli::session::Session;
use crate::cli::specs::{is_config_path, read_file};

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
    Ok((specs, names))
}

/// The named apps, and those of the named files.
pub(crate) fn resolve_with_files(session: &Session, given: &[String]) -> Result<Targets, Failure> {
    let (specs, mut names) = split_files_and_names(given, None, session)?;
    names.extend(specs.into_iter().map(|spec| spec.name));
    Targets::resolve(session, &names)
}
