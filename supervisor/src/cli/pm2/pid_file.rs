//! The file of PM2's own pid. No process stands above the apps, so it names the keeper of each: to
//! end what it names ends every app, as with PM2.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::saved;
use crate::cli::files::atomic_file::replace;
use crate::cli::output::note;
use crate::cli::targets::probe;
use crate::home::Home;

/// The file in PM2's folder, and the variable that names another one.
const FILE: &str = "pm2.pid";
const FILE_VARIABLE: &str = "PM2_PID_FILE_PATH";
/// How the process title of PM2's daemon begins.
const TITLE: &[u8] = b"PM2 v";

/// Brings the file to what runs now. The apps run whether or not it can be written.
pub(super) fn write(home: &Home) {
    let Some(path) = path(std::env::var_os(FILE_VARIABLE)) else { return };
    if is_of_pm2(&path) {
        return;
    }
    let Ok(apps) = home.apps() else { return };
    let apps = probe::statuses(home, &apps).into_iter().filter_map(|status| status.ok().flatten());
    let pids = apps.filter_map(|app| app.keeper_pid);
    let text: String = pids.map(|pid| format!("{pid}\n")).collect();
    if let Err(error) = put(&path, &text) {
        note(format_args!("cannot write {}: {error}", path.display()));
    }
}

fn path(named: Option<OsString>) -> Option<PathBuf> {
    let named = named.filter(|path| !path.is_empty()).map(PathBuf::from);
    named.or_else(|| Some(saved::folder()?.join(FILE)))
}

/// Whether a PM2 that runs has written the file. Its own unit reads it.
fn is_of_pm2(path: &Path) -> bool {
    let pid = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let title = pid.and_then(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok());
    title.is_some_and(|title| title.starts_with(TITLE))
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    if fs::read(path).is_ok_and(|before| before == text.as_bytes()) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    match DirBuilder::new().mode(0o700).create(folder) {
        // A home that is not there is none of ours to make.
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    replace(path, text.as_bytes(), 0o644, || Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_names_another_file() {
        assert_eq!(path(Some("/run/all.pid".into())), Some("/run/all.pid".into()));
        let usual = path(Some("".into())).unwrap();
        assert!(usual.ends_with(FILE), "{}", usual.display());
    }

    #[test]
    fn the_file_is_made_with_its_folder_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/pm2.pid");
        for text in ["1\n2\n", ""] {
            put(&file, text).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }
}
