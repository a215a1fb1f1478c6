//! Where the output of workers goes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What stands for the number of a worker's slot.
const SLOT: &str = "{slot}";

/// What gets the output of an app's workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum LogTo {
    /// Log files, which the primary writes.
    #[default]
    Files,
    /// The journal of systemd.
    Journald,
    /// The stdout and stderr of a primary in the foreground; in the background, log files.
    Stdout,
    /// Log files, which the workers write themselves.
    Direct,
    /// Nothing.
    None,
}

/// The files that get the output of an app's workers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct LogFiles {
    /// Whether it is files at all.
    #[serde(default)]
    pub to: LogTo,
    /// What is written to stdout. `None`: a file in the app's log folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_file: Option<PathBuf>,
    /// What is written to stderr. `None`: a file in the app's log folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_file: Option<PathBuf>,
    /// Whether each line begins with its time. False.
    #[serde(default)]
    pub log_time: bool,
    /// How that time is written, as for `strftime`, in the time zone of the machine. `None`: as RFC
    /// 3339 in UTC. A format stands for `log_time`, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_time_format: Option<String>,
    /// How many lines are kept.
    #[serde(default)]
    pub rate: LogRate,
    /// How much is kept.
    #[serde(default)]
    pub rotation: Rotation,
}

/// How many lines of each worker are kept. By default, all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct LogRate {
    /// Lines a second; 0: no limit.
    pub lines: u32,
    /// Lines at once; 0: those of ten seconds.
    pub burst: u32,
}

impl LogRate {
    /// How many lines may come at once.
    pub fn most(&self) -> u32 {
        match self.burst {
            0 => self.lines.saturating_mul(10),
            burst => burst,
        }
    }
}

/// When a log file is rotated, and what of the rotated files is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct Rotation {
    /// A larger file is rotated. 50 MiB.
    pub max_size: u64,
    /// A file that was begun longer ago is rotated; zero: none is. 30 days.
    pub every: Duration,
    /// Rotated files of each log. 10.
    pub keep: u16,
    /// Bytes of all files together; 0: no limit. 400 MiB.
    pub total_max: u64,
    /// Whether rotated files are compressed. True.
    pub compress: bool,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            max_size: 50 << 20,
            every: Duration::from_secs(30 * 24 * 60 * 60),
            keep: 10,
            total_max: 400 << 20,
            compress: true,
        }
    }
}

/// Whether each worker has a file of its own: the name of the file has `{slot}` in it.
pub fn is_per_slot(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(SLOT))
}

/// The file of the worker in this slot.
pub fn for_slot(path: &Path, slot: u16) -> PathBuf {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) => path.with_file_name(name.replace(SLOT, &slot.to_string())),
        None => path.to_owned(),
    }
}

/// The slot whose file has this name, if it is one of those that `path` stands for.
pub fn slot_of(path: &Path, name: &str) -> Option<u16> {
    let (before, after) = path.file_name()?.to_str()?.split_once(SLOT)?;
    let slot = name.strip_prefix(before)?.strip_suffix(after)?;
    // `+1` and `01` are numbers, too, but no slot is written like that.
    let number: u16 = slot.parse().ok()?;
    (number.to_string() == slot).then_some(number)
}

/// The file that a log has become after this many rotations: `out.log.2`.
pub fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The name of a rotated file when it is compressed: `out.log.2.gz`.
pub fn compressed(path: &Path, number: u32) -> PathBuf {
    let mut name = rotated(path, number).into_os_string();
    name.push(".gz");
    name.into()
}

/// The file that a rotated file of the log is compressed into before that takes its place.
pub fn being_compressed(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".gz.tmp");
    path.with_file_name(name)
}

/// The number of the rotated file with this name, compressed or not, if it is one of the log with
/// the name `log`.
pub fn rotated_number(log: &str, name: &str) -> Option<u32> {
    let number = name.strip_prefix(log)?.strip_prefix('.')?;
    let number = number.strip_suffix(".gz").unwrap_or(number);
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| is_number)
}

/// The same path with a place for the slot before its extension.
pub(crate) fn with_slot(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    match path.extension() {
        Some(extension) => {
            path.with_file_name(format!("{stem}-{SLOT}.{}", extension.to_string_lossy()))
        }
        None => path.with_file_name(format!("{stem}-{SLOT}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_slots() {
        let path = with_slot(Path::new("/log/web.out.log"));
        assert_eq!(path, Path::new("/log/web.out-{slot}.log"));
        assert!(is_per_slot(&path) && !is_per_slot(Path::new("/log/{slot}/out.log")));
        assert_eq!(for_slot(&path, 12), Path::new("/log/web.out-12.log"));
        for (name, slot) in [
            ("web.out-12.log", Some(12)),
            ("web.out-012.log", None),
            ("web.out-.log", None),
            ("web.out-12.log.1", None),
            ("other-12.log", None),
        ] {
            assert_eq!(slot_of(&path, name), slot, "{name}");
        }
        assert_eq!(slot_of(Path::new("/log/out.log"), "out.log"), None);
        assert_eq!(with_slot(Path::new("out")), Path::new("out-{slot}"));
    }

    #[test]
    fn names_of_rotated_files() {
        let log = Path::new("/log/out.log");
        assert_eq!(compressed(log, 2), Path::new("/log/out.log.2.gz"));
        for (name, number) in [
            ("out.log.2.gz", Some(2)),
            ("out.log.12", Some(12)),
            ("out.log", None),
            ("out.log.+1", None),
            ("out.log.1.bz2", None),
            ("err.log.1", None),
        ] {
            assert_eq!(rotated_number("out.log", name), number, "{name}");
        }
    }
}
