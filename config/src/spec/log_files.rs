//! Where the output of workers goes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What stands for the number of a worker's slot.
const SLOT: &str = "{slot}";

/// The files that get the output of an app's workers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFiles {
    /// What is written to stdout. `None`: a file in the app's log folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_file: Option<PathBuf>,
    /// What is written to stderr. `None`: a file in the app's log folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_file: Option<PathBuf>,
    /// Whether each line begins with its time. False.
    #[serde(default)]
    pub log_time: bool,
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
}
