//! The file that `save` writes and `resurrect` reads: a header line, then the apps as JSON. It
//! holds the values of environment variables, so only its owner can read it.
//!
//! The file is replaced atomically, and its predecessor is kept. A file that is truncated, changed
//! or of a later version is refused.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::hash::Hasher;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use config::spec::AppSpec;
use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::atomic_file::{beside, remove, replace};

/// The version of the format that this build writes. It reads all versions up to this one.
const VERSION: u32 = 1;
/// The value of `format` in the header line.
const FORMAT: &str = "supervisor-save";
/// Bytes of a file that are read. A set of apps is far smaller.
const MAX_FILE: u64 = 256 * 1024 * 1024;
/// Bytes in which the header line must end. A header has about 150.
const MAX_HEADER: usize = 1024;

/// One app, as it ran when it was saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedApp {
    pub(crate) spec: AppSpec,
    /// Whether `scale` set the number of workers, rather than the spec.
    #[serde(default)]
    pub(crate) scaled: bool,
    /// The environment of the primary, as far as it is UTF-8.
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    /// The variables that are not, each as the bytes of `NAME=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) raw_environment: Vec<Vec<u8>>,
}

impl SavedApp {
    /// Every variable of the environment.
    pub(crate) fn variables(&self) -> Vec<(OsString, OsString)> {
        let text = self.environment.iter().map(|(name, value)| (name.into(), value.into()));
        let raw = self.raw_environment.iter().filter_map(|variable| {
            let at = variable.iter().position(|byte| *byte == b'=')?;
            let part = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
            Some((part(&variable[..at]), part(&variable[at + 1..])))
        });
        text.chain(raw).collect()
    }
}

/// The content of a valid file.
#[derive(Debug, PartialEq)]
pub(crate) struct Dump {
    /// When the file was written, in RFC 3339.
    pub(crate) time: String,
    pub(crate) apps: Vec<SavedApp>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    time: String,
    bytes: usize,
    checksum: String,
}

fn checksum(bytes: &[u8]) -> String {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    let hash = hasher.finish128();
    format!("{:016x}{:016x}", hash.h1, hash.h2)
}

/// The bytes of a file with these apps.
fn encode(time: &str, apps: &[SavedApp]) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(apps)?;
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        time: time.to_owned(),
        bytes: body.len(),
        // It covers the time as well, so that a change of any byte is noticed.
        checksum: checksum(&[time.as_bytes(), b"\n", &body].concat()),
    };
    let mut file = serde_json::to_vec(&header)?;
    file.push(b'\n');
    file.extend(body);
    Ok(file)
}

/// The content of a file, or why the file is refused.
fn decode(file: &[u8]) -> Result<Dump, String> {
    let truncated = || "it is truncated: it ends in its first line".to_owned();
    let end = file.iter().take(MAX_HEADER).position(|byte| *byte == b'\n');
    let Some(end) = end else {
        return Err(match file.len() {
            0 => "it is empty".to_owned(),
            length if length < MAX_HEADER => truncated(),
            _ => "it is not a file of \"supervisor save\": its first line is another".to_owned(),
        });
    };
    let header: Header = serde_json::from_slice(&file[..end])
        .map_err(|error| format!("its first line is broken ({error})"))?;
    if header.format != FORMAT {
        return Err("it is not a file of \"supervisor save\": its first line is another".to_owned());
    }
    if header.version > VERSION {
        return Err(format!(
            "it was written by a later supervisor (format {}, this one reads up to {VERSION}): \
             use that one",
            header.version
        ));
    }
    let body = &file[end + 1..];
    if body.len() != header.bytes {
        let (has, needs) = (body.len(), header.bytes);
        return Err(format!("it is truncated: it has {has} of {needs} bytes"));
    }
    if checksum(&[header.time.as_bytes(), b"\n", body].concat()) != header.checksum {
        return Err("it was changed or damaged: its checksum does not match".to_owned());
    }
    let apps: Vec<SavedApp> = serde_json::from_slice(body)
        .map_err(|error| format!("its list of apps cannot be read ({error})"))?;
    Ok(Dump { time: header.time, apps })
}

/// Reads the file at `path`; `None` if there is no file.
pub(crate) fn read(path: &Path) -> Result<Option<Dump>, String> {
    let mut options = File::options();
    // A fifo would let us wait for a writer.
    let file = match options.read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("it cannot be opened: {error}")),
    };
    let data = file.metadata().map_err(|error| format!("it cannot be looked at: {error}"))?;
    is_ours(data.uid(), data.mode(), nix::unistd::geteuid().as_raw())?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|e| format!("it cannot be read: {e}"))?;
    decode(&bytes).map(Some)
}

/// Refuses a file that another user could have written: its apps would run as this one.
fn is_ours(owner: u32, mode: u32, us: u32) -> Result<(), String> {
    if owner != us && owner != 0 {
        return Err(format!("it belongs to user {owner}, and this is user {us}"));
    }
    if mode & 0o022 != 0 {
        return Err(format!("others may write to it (mode {:o})", mode & 0o7777));
    }
    Ok(())
}

/// The path of the predecessor of the file at `path`.
pub(crate) fn previous(path: &Path) -> PathBuf {
    beside(path, "", ".1")
}

/// Writes a new file at `path`. A valid file that is already there becomes the previous one. At
/// every moment there is a valid file under one of the two names. Fails if another process is
/// writing.
pub(crate) fn write(path: &Path, time: &str, apps: &[SavedApp]) -> io::Result<()> {
    let bytes = encode(time, apps)?;
    let folder = File::open(path.parent().unwrap_or_else(|| Path::new("/")))?;
    folder.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::other("another \"save\" is under way: try again"),
        TryLockError::Error(error) => error,
    })?;
    replace(path, &bytes, 0o600, || {
        // A damaged file must not replace a valid predecessor.
        if !matches!(read(path), Ok(Some(_))) {
            return Ok(());
        }
        let old = beside(path, ".", ".old");
        remove(&old)?;
        // Not every file system has hard links.
        fs::hard_link(path, &old).or_else(|_| fs::copy(path, &old).map(|_| ()))?;
        fs::rename(&old, previous(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn saved(name: &str) -> SavedApp {
        let spec = AppSpec::new(name, vec!["true".into()], "/".into());
        let environment = [("A".to_owned(), "b".to_owned())].into();
        SavedApp { spec, scaled: true, environment, raw_environment: vec![b"B=\xff".to_vec()] }
    }

    #[test]
    fn a_file_that_somebody_else_could_write_is_refused() {
        assert_eq!(is_ours(7, 0o600, 7), Ok(()));
        assert_eq!(is_ours(0, 0o644, 7), Ok(()));
        assert!(is_ours(8, 0o600, 7).unwrap_err().contains("user 8"));
        assert!(is_ours(8, 0o600, 0).unwrap_err().contains("this is user 0"));
        assert!(is_ours(7, 0o620, 7).unwrap_err().contains("620"));
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let apps = [saved("web"), saved("api")];
        let dump = decode(&encode("now", &apps).unwrap()).unwrap();
        assert_eq!(dump, Dump { time: "now".into(), apps: apps.to_vec() });
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let whole = encode("2026-11-21T08:00:00Z", &[saved("web")]).unwrap();
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "cut after {length} bytes");
            // What a file system leaves where the data was not written.
            let zeros = [&whole[..length], &vec![0; whole.len() - length]].concat();
            assert!(decode(&zeros).is_err(), "zeros after {length} bytes");
        }
        assert!(decode(&[&whole[..], b"x"].concat()).is_err());
    }

    #[test]
    fn a_changed_file_is_refused_or_means_the_same() {
        let whole = encode("2026-11-21T08:00:00Z", &[saved("web")]).unwrap();
        let dump = decode(&whole).unwrap();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                if let Ok(read) = decode(&changed) {
                    assert_eq!(read, dump, "bit {bit} of byte {at}");
                }
            }
        }
    }

    #[test]
    fn a_refusal_has_its_reason() {
        let whole = encode("t", &[saved("web")]).unwrap();
        assert_eq!(decode(b"").unwrap_err(), "it is empty");
        assert!(decode(&whole[..9]).unwrap_err().contains("truncated"));
        assert!(decode(&whole[..whole.len() - 1]).unwrap_err().contains("truncated: it has"));
        assert!(decode(&vec![b'x'; 5000]).unwrap_err().contains("not a file of"));
        let later = String::from_utf8(whole).unwrap().replacen("\"version\":1", "\"version\":2", 1);
        assert!(decode(later.as_bytes()).unwrap_err().contains("later supervisor"));
    }

    #[test]
    fn one_process_writes_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("saved.dump");
        let folder = File::open(dir.path()).unwrap();
        folder.lock().unwrap();
        assert!(write(&path, "one", &[]).unwrap_err().to_string().contains("under way"));
        drop(folder);
        write(&path, "two", &[]).unwrap();
    }

    #[test]
    fn the_predecessor_is_kept_unless_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("saved.dump");
        assert_eq!(read(&path), Ok(None));
        for time in ["one", "two", "three"] {
            write(&path, time, &[saved("web")]).unwrap();
        }
        let time = |path: &Path| read(path).map(|dump| dump.map(|dump| dump.time));
        assert_eq!(time(&path), Ok(Some("three".into())));
        assert_eq!(time(&previous(&path)), Ok(Some("two".into())));
        fs::write(&path, "garbage").unwrap();
        write(&path, "four", &[]).unwrap();
        assert_eq!(time(&path), Ok(Some("four".into())));
        assert_eq!(time(&previous(&path)), Ok(Some("two".into())));
        for file in fs::read_dir(dir.path()).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{file:?}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
