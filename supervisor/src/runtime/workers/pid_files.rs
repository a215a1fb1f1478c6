//! The files in which other programs find the pids of the workers (`pid_file`).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use config::spec::{AppSpec, log_files};

use super::Child;
use crate::base::ids::WorkerId;

/// A longer file is none of pids.
const LONGEST: u64 = 64 * 1024;

/// The pid files as they were last written, with their texts.
#[derive(Debug, Default)]
pub(crate) struct PidFiles {
    written: BTreeMap<PathBuf, String>,
    /// What a predecessor wrote is in `written`.
    is_begun: bool,
}

impl PidFiles {
    /// Brings the files up to date. What could not be done, for people; it is tried again when the
    /// workers change.
    pub(crate) fn update(
        &mut self,
        spec: &AppSpec,
        children: &BTreeMap<WorkerId, Child>,
    ) -> Vec<String> {
        if !self.is_begun {
            self.is_begun = true;
            self.written = spec.pid_file.as_deref().map(left_over).unwrap_or_default();
        }
        let running = children.values().filter(|child| child.ended.is_none());
        let wanted = texts(running.filter_map(|child| {
            let path = child.spec.pid_file.as_deref()?;
            Some(Running { path, slot: child.slot.0, id: child.id.0, pid: child.pid.0 })
        }));
        if wanted == self.written {
            return Vec::new();
        }
        let mut complaints = Vec::new();
        for (path, text) in &self.written {
            if !wanted.contains_key(path) && read(path).as_ref() == Some(text) {
                let removed = fs::remove_file(path);
                complaints.extend(removed.err().map(|error| {
                    format!("cannot remove the pid file {}: {error}", path.display())
                }));
            }
        }
        for (path, text) in &wanted {
            if self.written.get(path) != Some(text) {
                complaints.extend(
                    write(path, text).err().map(|error| {
                        format!("cannot write the pid file {}: {error}", path.display())
                    }),
                );
            }
        }
        self.written = wanted;
        complaints
    }
}

/// A worker that runs.
#[derive(Debug, Clone, Copy)]
struct Running<'a> {
    /// Its pid file; `{slot}` stands for the slot.
    path: &'a Path,
    slot: u16,
    id: u64,
    pid: u32,
}

/// The text of each file: the pid of the newest worker of each slot, the lowest slot first.
fn texts<'a>(workers: impl Iterator<Item = Running<'a>>) -> BTreeMap<PathBuf, String> {
    let mut files: BTreeMap<PathBuf, BTreeMap<u16, (u64, u32)>> = BTreeMap::new();
    for Running { path, slot, id, pid } in workers {
        let path = match log_files::is_per_slot(path) {
            true => log_files::for_slot(path, slot),
            false => path.to_owned(),
        };
        let newest = files.entry(path).or_default().entry(slot).or_insert((id, pid));
        *newest = (*newest).max((id, pid));
    }
    let text = |slots: BTreeMap<u16, (u64, u32)>| {
        slots.into_values().map(|(_, pid)| format!("{pid}\n")).collect()
    };
    files.into_iter().map(|(path, slots)| (path, text(slots))).collect()
}

/// The files that exist of those that `path` stands for.
fn left_over(path: &Path) -> BTreeMap<PathBuf, String> {
    let found: Vec<PathBuf> = match log_files::is_per_slot(path) {
        false => vec![path.to_owned()],
        true => {
            let entries = path.parent().and_then(|folder| fs::read_dir(folder).ok());
            let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name());
            names
                .filter_map(|name| log_files::slot_of(path, name.to_str()?))
                .map(|slot| log_files::for_slot(path, slot))
                .collect()
        }
    };
    found.into_iter().filter_map(|path| Some((path.clone(), read(&path)?))).collect()
}

/// The text of a file that holds pids and nothing else.
fn read(path: &Path) -> Option<String> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let data = file.metadata().ok()?;
    let mut text = String::new();
    if !data.is_file() || file.take(LONGEST + 1).read_to_string(&mut text).is_err() {
        return None;
    }
    let is_pids = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'\n');
    (text.len() as u64 <= LONGEST && is_pids(&text)).then_some(text)
}

/// Replaces the file at once, whole. A file that holds anything but pids stays: the path may be
/// wrong.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() && read(path).is_none() {
        return Err(io::Error::other("it holds something else than pids: name another file"));
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    let beside = path.with_file_name(name);
    let mut file = create(&beside)?;
    file.write_all(text.as_bytes())?;
    fs::rename(beside, path)
}

/// Makes a file anew. A link that another user has put there is not followed.
fn create(path: &Path) -> io::Result<File> {
    let _ = fs::remove_file(path);
    OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_worker_of_each_slot_is_named() {
        let each = Path::new("/run/web-{slot}.pid");
        let one = Path::new("/run/all.pid");
        let worker = |path, slot, id, pid| Running { path, slot, id, pid };
        let found = texts(
            [
                worker(each, 0, 7, 30),
                worker(each, 0, 3, 90),
                worker(each, 2, 4, 40),
                worker(one, 10, 5, 50),
                worker(one, 9, 6, 60),
            ]
            .into_iter(),
        );
        let expected =
            [("/run/all.pid", "60\n50\n"), ("/run/web-0.pid", "30\n"), ("/run/web-2.pid", "40\n")];
        let expected = expected.map(|(path, text)| (PathBuf::from(path), text.to_owned()));
        assert_eq!(found, expected.into());
    }

    #[test]
    fn a_file_of_pids_is_replaced_and_another_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(&at("run/a-0.pid"), "1\n").unwrap();
        write(&at("run/a-0.pid"), "2\n").unwrap();
        write(&at("run/a-3.pid"), "3\n").unwrap();
        fs::write(at("run/a-4.pid"), "text").unwrap();
        let left = left_over(&at("run/a-{slot}.pid"));
        let expected = [("run/a-0.pid", "2\n"), ("run/a-3.pid", "3\n")];
        assert_eq!(left, expected.map(|(name, text)| (at(name), text.to_owned())).into());
        let why = write(&at("run/a-4.pid"), "4\n").unwrap_err().to_string();
        assert!(why.contains("something else than pids"), "{why}");
        assert_eq!(fs::read_to_string(at("run/a-4.pid")).unwrap(), "text");
        std::os::unix::fs::symlink(at("run/a-0.pid"), at("link")).unwrap();
        assert!(write(&at("link"), "5\n").is_err(), "a link is not followed");
        assert_eq!(fs::read_to_string(at("run/a-0.pid")).unwrap(), "2\n");
    }
}
