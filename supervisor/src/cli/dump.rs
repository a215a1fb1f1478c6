//! The file that `save` writes and `resurrect` reads: one line that says what follows, then the
//! apps. It has the values of environment variables, so nobody else may read it.
//!
//! Written whole or not at all; the one before it is kept. Refuses what is not exactly what was
//! written: torn, changed, of a later version.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use config::spec::AppSpec;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::atomic_file::{beside, remove, replace};

/// The version that is written. All versions up to it are read.
const VERSION: u32 = 1;
/// What the first line begins with.
const FORMAT: &str = "supervisor-save";
/// No set of apps is as large.
const LARGEST: u64 = 256 * 1024 * 1024;
/// No first line is as long.
const LONGEST_HEADER: usize = 1024;

/// One app as it ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) spec: AppSpec,
    /// Whether the number of workers was chosen by `scale`, and not by the spec.
    #[serde(default)]
    pub(super) scaled: bool,
    /// The environment that the supervisor had. What is not UTF-8 is not kept.
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
}

/// A dump that is whole.
#[derive(Debug, PartialEq)]
pub(super) struct Dump {
    /// When it was written.
    pub(super) time: String,
    pub(super) apps: Vec<Saved>,
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

/// The whole file.
fn encode(time: &str, apps: &[Saved]) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(apps)?;
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        time: time.to_owned(),
        bytes: body.len(),
        // The time as well, so that no byte of the file is without a witness.
        checksum: checksum(&[time.as_bytes(), b"\n", &body].concat()),
    };
    let mut file = serde_json::to_vec(&header)?;
    file.push(b'\n');
    file.extend(body);
    Ok(file)
}

/// What the file says, or why it is refused.
fn decode(file: &[u8]) -> Result<Dump, String> {
    let torn = || "it is torn: it ends in its first line".to_owned();
    let end = file.iter().take(LONGEST_HEADER).position(|byte| *byte == b'\n');
    let Some(end) = end else {
        return Err(match file.len() {
            0 => "it is empty".to_owned(),
            length if length < LONGEST_HEADER => torn(),
            _ => "it is no dump: its first line does not say so".to_owned(),
        });
    };
    let header: Header = serde_json::from_slice(&file[..end])
        .map_err(|error| format!("its first line is broken ({error})"))?;
    if header.format != FORMAT {
        return Err("it is no dump: its first line does not say so".to_owned());
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
        return Err(format!("it is torn: {has} of {needs} bytes are there"));
    }
    if checksum(&[header.time.as_bytes(), b"\n", body].concat()) != header.checksum {
        return Err("it was changed or damaged: its checksum is another".to_owned());
    }
    let apps: Vec<Saved> = serde_json::from_slice(body)
        .map_err(|error| format!("its apps cannot be understood ({error})"))?;
    Ok(Dump { time: header.time, apps })
}

/// Reads the dump at `path`. `None`: there is none.
pub(super) fn read(path: &Path) -> Result<Option<Dump>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("it cannot be opened: {error}")),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(|e| format!("it cannot be read: {e}"))?;
    decode(&bytes).map(Some)
}

/// Where the dump before the one at `path` is.
pub(super) fn previous(path: &Path) -> PathBuf {
    beside(path, "", ".1")
}

/// Puts a new dump at `path`; one that is there and whole becomes the previous one. At every moment
/// there is a whole dump under one of the two names. Only one at a time may do this.
pub(super) fn write(path: &Path, time: &str, apps: &[Saved]) -> io::Result<()> {
    let bytes = encode(time, apps)?;
    let folder = File::open(path.parent().unwrap_or_else(|| Path::new("/")))?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        Errno::WOULDBLOCK => io::Error::other("another \"save\" is under way: try again"),
        other => other.into(),
    })?;
    replace(path, &bytes, 0o600, || {
        // A broken one must not take the place of a good one.
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

    fn saved(name: &str) -> Saved {
        let spec = AppSpec::new(name, vec!["true".into()], "/".into());
        Saved { spec, scaled: true, environment: [("A".to_owned(), "b".to_owned())].into() }
    }

    #[test]
    fn what_is_written_is_read() {
        let apps = [saved("web"), saved("api")];
        let dump = decode(&encode("now", &apps).unwrap()).unwrap();
        assert_eq!(dump, Dump { time: "now".into(), apps: apps.to_vec() });
    }

    #[test]
    fn torn_anywhere_it_is_refused() {
        let whole = encode("2026-11-21T08:00:00Z", &[saved("web")]).unwrap();
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "cut after {length} bytes");
            // As file systems leave it where the data did not arrive.
            let zeros = [&whole[..length], &vec![0; whole.len() - length]].concat();
            assert!(decode(&zeros).is_err(), "zeros after {length} bytes");
        }
        assert!(decode(&[&whole[..], b"x"].concat()).is_err());
    }

    #[test]
    fn changed_anywhere_it_is_refused_or_the_same() {
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
    fn reasons_are_said() {
        let whole = encode("t", &[saved("web")]).unwrap();
        assert_eq!(decode(b"").unwrap_err(), "it is empty");
        assert!(decode(&whole[..9]).unwrap_err().contains("torn"));
        assert!(decode(&whole[..whole.len() - 1]).unwrap_err().contains("bytes are there"));
        assert!(decode(&vec![b'x'; 5000]).unwrap_err().contains("no dump"));
        let later = String::from_utf8(whole).unwrap().replacen("\"version\":1", "\"version\":2", 1);
        assert!(decode(later.as_bytes()).unwrap_err().contains("later supervisor"));
    }

    #[test]
    fn one_writes_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("saved.dump");
        let folder = File::open(dir.path()).unwrap();
        flock(&folder, FlockOperation::LockExclusive).unwrap();
        assert!(write(&path, "one", &[]).unwrap_err().to_string().contains("under way"));
        drop(folder);
        write(&path, "two", &[]).unwrap();
    }

    #[test]
    fn the_one_before_is_kept_unless_it_is_broken() {
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
