//! The log files of an app, those that were rotated away included.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};

use crate::cli::exit::Failure;
use crate::home::Home;

/// Removes the folder of an app's logs, if there is one.
pub(crate) fn remove(home: &Home, name: &str) -> Result<(), Failure> {
    let folder = home.log_dir(name);
    gone(fs::remove_dir_all(&folder))
        .map_err(|error| Failure::io(format_args!("cannot remove {}", folder.display()), &error))
}

/// Empties what the workers wrote: the files of an app become empty, and the rotated ones go. The
/// log of the primary stays.
pub(crate) fn empty(home: &Home, name: &str) -> Result<(), Failure> {
    let folder = home.log_dir(name);
    let cannot =
        |error: io::Error| Failure::io(format_args!("cannot empty {}", folder.display()), &error);
    for file in [home.out_log(name), home.err_log(name)] {
        gone(OpenOptions::new().write(true).truncate(true).open(&file).map(drop))
            .map_err(cannot)?;
        let Some(beginning) = file.file_name().and_then(|name| name.to_str()) else { continue };
        let rotated = |name: &str| {
            let number = name.strip_prefix(beginning).and_then(|rest| rest.strip_prefix('.'));
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        };
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_some_and(rotated) {
                gone(fs::remove_file(entry.path())).map_err(cannot)?;
            }
        }
    }
    Ok(())
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
        for name in ["out.log", "err.log", "out.log.1", "out.log.old", "primary.log"] {
            fs::write(home.log_dir("web").join(name), "text").unwrap();
        }
        empty(&home, "web").unwrap();
        let text = |name: &str| fs::read_to_string(home.log_dir("web").join(name)).ok();
        assert_eq!(text("out.log").as_deref(), Some(""));
        assert_eq!(text("err.log").as_deref(), Some(""));
        assert_eq!(text("out.log.1"), None);
        assert!(text("out.log.old").is_some() && text("primary.log").is_some());
        remove(&home, "web").unwrap();
        remove(&home, "web").unwrap();
        assert!(!home.log_dir("web").exists());
    }
}
