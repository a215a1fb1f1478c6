//! The log files of an app: those in its log folder, and those that it names itself.

use std::fs;
use std::path::{Path, PathBuf};

use config::spec::log_files;

use super::line::Form;
use crate::base::stream::Stream;
use crate::home::Home;

/// A log of an app.
#[derive(Debug)]
pub(crate) struct LogPath {
    pub(crate) stream: Stream,
    pub(crate) path: PathBuf,
    pub(crate) form: Form,
}

/// All logs of an app. Those that it names itself are known as long as it is not deleted.
pub(crate) fn logs_of(home: &Home, app: &str) -> Vec<LogPath> {
    let usual = [(Stream::Out, home.out_log(app)), (Stream::Err, home.err_log(app))];
    let usual = usual.map(|(stream, path)| LogPath { stream, path, form: Form::Prefixed });
    let mut all: Vec<LogPath> = usual.into();
    let Some(files) = home.read_record(app).map(|record| record.spec.logs) else { return all };
    for (stream, path) in [(Stream::Out, &files.out_file), (Stream::Err, &files.error_file)] {
        let Some(path) = path else { continue };
        // One file may get both.
        if all.iter().any(|log| log.path == *path) {
            continue;
        }
        let of = |slot, path| {
            let form =
                Form::Own { slot, has_time: files.log_time && files.log_time_format.is_none() };
            LogPath { stream, path, form }
        };
        match log_files::is_per_slot(path) {
            true => all.extend(each_slot(path).map(|(slot, path)| of(Some(slot), path))),
            false => all.push(of(None, path.clone())),
        }
    }
    all
}

/// The files that exist of those that `path` stands for, by slot.
pub(crate) fn each_slot(path: &Path) -> impl Iterator<Item = (u16, PathBuf)> {
    let entries = path.parent().and_then(|folder| fs::read_dir(folder).ok());
    let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut slots: Vec<u16> =
        names.filter_map(|name| log_files::slot_of(path, name.to_str()?)).collect();
    slots.sort_unstable();
    slots.into_iter().map(|slot| (slot, log_files::for_slot(path, slot)))
}
