//! What happens to rotated log files: a process of its own looks at them, removes nothing, and
//! compresses one of them into a temporary file. The primary, which alone renames logs, then puts
//! that file into its place and removes what is too much. So a rotation in the meantime is no
//! harm: the primary finds each file again by its identity, whatever its number has become.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use config::spec::Rotation;
use config::spec::log_files::{being_compressed, compressed, rotated};
use serde::{Deserialize, Serialize};

use super::logs::Logs;
use crate::base::time::Time;
use crate::log_index;
use crate::runtime::helper::Helper;
use crate::runtime::source::Source;
use crate::sys::poller::Poller;

/// The verb that looks after the files.
const VERB: &str = "tidy-logs";
/// How long the process may take. The largest file that is usual takes a second.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// Bytes of an answer that are read.
const ANSWER: u64 = 16 << 20;
/// Rotations in the meantime after which a file is not looked for any more.
const ROTATIONS: u32 = 365;

/// Which file it is: no other has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogIdentity {
    pub(crate) inode: u64,
    pub(crate) size: u64,
    /// When it was written last, in nanoseconds since 1970. An inode may be used again.
    pub(crate) modified: i64,
}

impl LogIdentity {
    /// That of a file.
    pub(crate) fn of(data: &Metadata) -> Self {
        let seconds = data.mtime().saturating_mul(1_000_000_000);
        let modified = seconds.saturating_add(data.mtime_nsec());
        Self { inode: data.ino(), size: data.len(), modified }
    }
}

/// A rotated file, as the process found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// The log that it is of.
    pub(crate) log: PathBuf,
    pub(crate) number: u32,
    pub(crate) is_compressed: bool,
    pub(crate) identity: LogIdentity,
}

impl Found {
    fn name(&self, number: u32) -> PathBuf {
        match self.is_compressed {
            true => compressed(&self.log, number),
            false => rotated(&self.log, number),
        }
    }

    /// The number that it has now.
    fn number_now(&self) -> Option<u32> {
        let is_it = |number: &u32| {
            fs::symlink_metadata(self.name(*number))
                .is_ok_and(|data| LogIdentity::of(&data) == self.identity)
        };
        (self.number..=self.number + ROTATIONS).find(is_it)
    }
}

/// What the process is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TidyQuestion {
    /// Every log of the app. A path with `{slot}` stands for several.
    pub(crate) logs: Vec<PathBuf>,
    pub(crate) limits: Rotation,
}

/// What it answers.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TidyAnswer {
    /// These are too much.
    pub(crate) remove: Vec<Found>,
    /// The temporary file beside this log has all of it, compressed.
    pub(crate) compressed: Option<Found>,
    /// There is another one to compress.
    pub(crate) more: bool,
    /// What could not be done, and why.
    pub(crate) failed: Option<String>,
}

/// The process, while it runs.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Housekeeping {
    helper: Option<Helper>,
    /// It was told to end.
    given_up: bool,
    /// It is to be started again.
    again: bool,
}

impl Housekeeping {
    /// Starts the process if there is something to look after, and ends one that takes too long.
    /// Returns what a person should know.
    pub(in crate::runtime) fn look(
        &mut self,
        poller: &Poller,
        logs: &mut Logs,
        now: Time,
    ) -> Option<String> {
        self.again |= logs.take_rotated();
        if let Some(helper) = self.helper.as_mut() {
            let is_late = helper.until <= now && !self.given_up;
            return is_late.then(|| {
                self.given_up = true;
                helper.kill();
                let time = humantime::format_duration(PATIENCE);
                format!("rotated log files were not compressed: it took longer than {time}")
            });
        }
        if !std::mem::take(&mut self.again) {
            return None;
        }
        self.given_up = false;
        match ask(poller, logs) {
            Ok(helper) => {
                self.helper = Some(helper);
                None
            }
            Err(error) => Some(cannot(&error.to_string())),
        }
    }

    /// The process has ended. Does what it answered. Returns what a person should know.
    pub(in crate::runtime) fn ended(&mut self, poller: &Poller) -> Option<String> {
        let helper = self.helper.take()?;
        let answer = helper.ended(poller, ANSWER).map_err(|error| error.to_string());
        if self.given_up {
            return None;
        }
        let read = answer.and_then(|(status, answer)| {
            serde_json::from_slice::<TidyAnswer>(&answer)
                .map_err(|_| format!("the process ended with {status}"))
        });
        match read {
            Ok(answer) => {
                self.again |= answer.more;
                carry_out(&answer)
            }
            Err(why) => Some(cannot(&why)),
        }
    }

    /// When the process has taken too long.
    pub(in crate::runtime) fn deadline(&self) -> Option<Time> {
        self.helper.as_ref().filter(|_| !self.given_up).map(|helper| helper.until)
    }
}

fn ask(poller: &Poller, logs: &Logs) -> io::Result<Helper> {
    let question = TidyQuestion { logs: logs.all_paths(), limits: logs.limits().clone() };
    Helper::ask_own(poller, Source::Housekeeping, VERB, &question, PATIENCE)
}

fn carry_out(answer: &TidyAnswer) -> Option<String> {
    let mut failed = answer.failed.clone();
    if let Some(found) = &answer.compressed {
        let put = put_in_place(found);
        failed = failed.or_else(|| Some(put.err()?.to_string()));
    }
    for found in &answer.remove {
        // One that is not there any more needs no work.
        let Some(number) = found.number_now() else { continue };
        let gone = fs::remove_file(found.name(number));
        let other = Found { is_compressed: !found.is_compressed, ..found.clone() };
        if !other.name(number).exists() {
            let _ = fs::remove_file(log_index::path(&rotated(&found.log, number)));
        }
        failed = failed.or_else(|| Some(gone.err()?.to_string()));
    }
    failed.map(|why| cannot(&why))
}

/// The compressed file is whole: it takes the place of what it was made of. A death between the two
/// steps leaves both, and the next look removes the first.
fn put_in_place(found: &Found) -> io::Result<()> {
    let whole = being_compressed(&found.log);
    match found.number_now() {
        Some(number) => {
            fs::rename(&whole, compressed(&found.log, number))?;
            fs::remove_file(rotated(&found.log, number))
        }
        // It was rotated out of existence, or removed by "flush".
        None => fs::remove_file(&whole),
    }
}

fn cannot(why: &str) -> String {
    format!("rotated log files could not be compressed or removed: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(log: &std::path::Path, number: u32) -> Found {
        let identity = LogIdentity::of(&fs::metadata(rotated(log, number)).unwrap());
        Found { log: log.to_owned(), number, is_compressed: false, identity }
    }

    #[test]
    fn a_rotation_in_the_meantime_is_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("out.log");
        fs::write(rotated(&log, 1), "old\n").unwrap();
        fs::write(rotated(&log, 2), "older\n").unwrap();
        let (first, second) = (found(&log, 1), found(&log, 2));
        fs::write(being_compressed(&log), "gz of old").unwrap();
        for number in [2, 1] {
            fs::rename(rotated(&log, number), rotated(&log, number + 1)).unwrap();
        }
        fs::write(rotated(&log, 1), "new\n").unwrap();
        let answer = TidyAnswer {
            remove: vec![second],
            compressed: Some(first.clone()),
            ..TidyAnswer::default()
        };
        assert_eq!(carry_out(&answer), None);
        let read = |path: PathBuf| fs::read_to_string(path).ok();
        assert_eq!(read(rotated(&log, 1)).as_deref(), Some("new\n"));
        assert_eq!(read(compressed(&log, 2)).as_deref(), Some("gz of old"));
        assert_eq!((read(rotated(&log, 2)), read(rotated(&log, 3))), (None, None));
        // The file is gone: what was made of it goes, too, and no other file.
        fs::write(being_compressed(&log), "gz of old").unwrap();
        let again = TidyAnswer { compressed: Some(first), ..TidyAnswer::default() };
        assert_eq!(carry_out(&again), None);
        assert!(!being_compressed(&log).exists() && rotated(&log, 1).exists());
    }

    #[test]
    fn what_failed_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("out.log");
        fs::write(rotated(&log, 1), "old\n").unwrap();
        let answer = TidyAnswer { compressed: Some(found(&log, 1)), ..TidyAnswer::default() };
        assert!(carry_out(&answer).unwrap().contains("No such file"));
        assert!(rotated(&log, 1).exists(), "it was not compressed");
        let failed = TidyAnswer { failed: Some("disk full".into()), ..TidyAnswer::default() };
        assert!(carry_out(&failed).unwrap().contains("disk full"));
    }
}
