//! The log files of an app, those that were rotated away included.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use config::spec::log_files;

use crate::cli::exit::Failure;
use crate::cli::logs::paths::logs_of;
use crate::home::Home;
use crate::log_index;

/// The files that an app names itself (`out_file`, `error_file`), which lie outside the folder of
/// its logs. They are known until the app is deleted.
pub(crate) fn own(home: &Home, name: &str) -> Vec<PathBuf> {
    let folder = home.log_dir(name);
    let all = logs_of(home, name).into_iter().map(|log| log.path);
    all.filter(|path| path.parent() != Some(&*folder)).collect()
}

/// Removes the folder of an app's logs, if there is one, and these files of its own.
pub(crate) fn remove(home: &Home, name: &str, own: &[PathBuf]) -> Result<(), Failure> {
    let folder = home.log_dir(name);
    gone(fs::remove_dir_all(&folder)).map_err(|error| cannot("remove", &folder, &error))?;
    for file in own.iter().filter(|file| is_regular(file)) {
        let index = log_index::path(file);
        for path in [&[file.clone(), index][..], &rotated(file)].concat() {
            gone(fs::remove_file(&path)).map_err(|error| cannot("remove", &path, &error))?;
        }
    }
    Ok(())
}

/// Empties what the workers wrote: the files of an app become empty, and the rotated ones go. The
/// log of the primary stays.
pub(crate) fn empty(home: &Home, name: &str) -> Result<(), Failure> {
    let logs = logs_of(home, name).into_iter().map(|log| log.path);
    for file in logs.filter(|file| is_regular(file)) {
        gone(OpenOptions::new().write(true).truncate(true).open(&file).map(drop))
            .map_err(|error| cannot("empty", &file, &error))?;
        for path in rotated(&file) {
            gone(fs::remove_file(&path)).map_err(|error| cannot("remove", &path, &error))?;
        }
    }
    Ok(())
}

/// Not a device such as /dev/null, a fifo, or a link.
fn is_regular(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|data| data.is_file())
}

/// The files that a log was rotated to, and the indexes of their times.
fn rotated(file: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(beginning)) =
        (file.parent(), file.file_name().and_then(|name| name.to_str()))
    else {
        return Vec::new();
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.filter_map(|entry| {
        let number = log_files::rotated_number(beginning, entry.file_name().to_str()?)?;
        Some([log_index::path(&log_files::rotated(file, number)), entry.path()])
    });
    let half = log_files::being_compressed(file);
    paths.flatten().chain(half.exists().then_some(half)).collect()
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::io(format_args!("cannot {what} {}", path.display()), error)
}

/// What is not there needs no work.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_files_go_and_the_log_of_the_primary_stays() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        empty(&home, "web").unwrap();
        home.prepare_logs("web").unwrap();
        for name in
            ["out.log", "err.log", "out.log.1", "out.log.2.gz", "out.log.old", "primary.log"]
        {
            fs::write(home.log_dir("web").join(name), "text").unwrap();
        }
        empty(&home, "web").unwrap();
        let text = |name: &str| fs::read_to_string(home.log_dir("web").join(name)).ok();
        assert_eq!(text("out.log").as_deref(), Some(""));
        assert_eq!(text("err.log").as_deref(), Some(""));
        assert_eq!((text("out.log.1"), text("out.log.2.gz")), (None, None));
        assert!(text("out.log.old").is_some() && text("primary.log").is_some());
        remove(&home, "web", &[]).unwrap();
        remove(&home, "web", &[]).unwrap();
        assert!(!home.log_dir("web").exists());
    }

    #[test]
    fn files_of_the_app_go_and_what_is_no_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["own.log", "own.log.1", ".own.log.times", "own.log.old", "target"] {
            fs::write(at(name), "text").unwrap();
        }
        std::os::unix::fs::symlink(at("target"), at("link")).unwrap();
        let own = [at("own.log"), at("link"), at("missing"), "/dev/null".into()];
        remove(&Home::under(dir.path()), "web", &own).unwrap();
        let left = |name: &str| fs::symlink_metadata(at(name)).is_ok();
        assert!(!left("own.log") && !left("own.log.1") && !left(".own.log.times"));
        assert!(left("own.log.old") && left("target") && left("link"));
        assert!(Path::new("/dev/null").exists());
    }
}
