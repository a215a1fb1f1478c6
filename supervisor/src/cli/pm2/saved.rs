//! `save` and `resurrect`: PM2's own file of the apps, beside ours. `save` writes both; PM2 can
//! read its own. `resurrect` takes ours, unless PM2 has written its file since.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ipc::control::Method;
use serde_json::Value;

use super::bring::bring;
use super::described;
use super::line::Line;
use super::ours::words;
use super::processes::Processes;
use crate::cli::exit::{Exit, Failure};
use crate::cli::files::atomic_file::{beside, replace};
use crate::cli::output::note;
use crate::cli::session::Session;

/// The file, and the one before it, in PM2's folder.
const FILES: [&str; 2] = ["dump.pm2", "dump.pm2.bak"];
/// The folder, and the variable that names another one.
const FOLDER: &str = ".pm2";
const FOLDER_VARIABLE: &str = "PM2_HOME";
/// The entry of a process that this program has written, and its value.
const WRITER: &str = "saved_by";
const OURS: &str = "supervisor";

/// Saves which apps run, as `supervisor save` does, and in PM2's file.
pub(super) fn save(line: &Line, session: &Session) -> Result<Exit, Failure> {
    let exit = match line.has("--force") {
        true => words(&["save", "--empty"])?,
        false => words(&["save"])?,
    };
    let Some([file, before]) = files() else { return Ok(exit) };
    let mut processes = Processes::read(session)?.saved();
    for process in &mut processes {
        process.insert(WRITER.to_owned(), Value::from(OURS));
    }
    write(&file, &before, &processes)
        .map_err(|error| Failure::io(format_args!("cannot write {}", file.display()), &error))?;
    Ok(exit)
}

fn files() -> Option<[PathBuf; 2]> {
    let folder = folder()?;
    Some(FILES.map(|name| folder.join(name)))
}

/// PM2's folder, unless nothing says where that is.
pub(super) fn folder() -> Option<PathBuf> {
    let named = std::env::var_os(FOLDER_VARIABLE).filter(|folder| !folder.is_empty());
    let folder = named.map(PathBuf::from);
    folder.or_else(|| Some(std::env::home_dir()?.join(FOLDER)))
}

fn write(file: &Path, before: &Path, processes: &impl serde::Serialize) -> io::Result<()> {
    let folder = file.parent().unwrap_or_else(|| Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // It has the values of variables.
    replace(file, &serde_json::to_vec_pretty(processes)?, 0o600, || {
        match fs::rename(file, before) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    })
}

/// Starts the saved apps that do not run.
pub(super) fn resurrect(line: &Line, session: &mut Session) -> Result<Exit, Failure> {
    for file in files().iter().flatten() {
        match read(file)? {
            Found::Nothing => {}
            Found::Broken => {
                let aside = beside(file, "", ".broken");
                fs::rename(file, &aside).map_err(|error| {
                    Failure::io(format_args!("cannot rename {}", file.display()), &error)
                })?;
                note(format_args!(
                    "{} is no list of PM2, and is now {}",
                    file.display(),
                    aside.display()
                ));
            }
            Found::Ours => break,
            Found::OfPm2 => return start(file, line, session),
        }
    }
    words(&["resurrect"])
}

/// What a file is.
enum Found {
    Nothing,
    Broken,
    Ours,
    OfPm2,
}

fn read(file: &Path) -> Result<Found, Failure> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => {
            return Err(Failure::io(format_args!("cannot read {}", file.display()), &error));
        }
    };
    let Ok(Value::Array(list)) = serde_json::from_slice(&bytes) else { return Ok(Found::Broken) };
    let is_ours = list.iter().all(|process| process[WRITER] == OURS);
    Ok(if is_ours { Found::Ours } else { Found::OfPm2 })
}

fn start(file: &Path, line: &Line, session: &mut Session) -> Result<Exit, Failure> {
    let processes = Processes::read(session)?;
    let mut apps = described::read(&file.display().to_string(), line)?;
    apps.retain(|app| processes.app(&app.spec.name).is_none());
    for app in &mut apps {
        // The file is written anew at each save.
        app.spec.source = None;
    }
    bring(apps, &Method::Hard, line, &processes, session)
}
