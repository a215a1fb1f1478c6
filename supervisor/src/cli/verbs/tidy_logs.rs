//! `tidy-logs`: says which rotated log files of an app are too much, and compresses one of them
//! into a temporary file. A primary runs this verb, because it takes long; the primary then removes
//! and renames.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use config::spec::log_files::{being_compressed, compressed, is_per_slot, rotated};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::cli::exit::{Exit, Failure};
use crate::cli::logs::compressed::{Compressed, compress};
use crate::cli::logs::paths::each_slot;
use crate::cli::output::Stdout;
use crate::runtime::{
    Found, Limits, LogIdentity, RotatedFile, TidyAnswer, TidyQuestion, tidy_plan,
};
use crate::sys::daemon;

/// Numbers without a file after which a log has no more rotated files. A rotation leaves one
/// without for a moment.
const GAP: u32 = 2;

/// Compress rotated log files as the question on stdin says.
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_: &Args, out: &mut Stdout) -> Result<Exit, Failure> {
    // Once the primary has died, no process reads the answer.
    let _ = set_pdeathsig(Signal::SIGKILL);
    daemon::run_after_others();
    let question = read().map_err(|error| Failure::io("cannot read the question", &error))?;
    let answer = serde_json::to_string(&answer(&question));
    let answer = answer.map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?;
    out.line(answer);
    Ok(Exit::Done)
}

fn read() -> io::Result<TidyQuestion> {
    let mut question = Vec::new();
    io::stdin().read_to_end(&mut question)?;
    Ok(serde_json::from_slice(&question)?)
}

fn answer(question: &TidyQuestion) -> TidyAnswer {
    let logs: Vec<PathBuf> = question.logs.iter().flat_map(|log| files_of(log)).collect();
    let written = logs.iter().filter_map(|log| fs::symlink_metadata(log).ok());
    let written = written.filter(fs::Metadata::is_file).map(|data| data.len()).sum();
    let (mut files, mut found, mut twice) = (Vec::new(), Vec::new(), Vec::new());
    for (at, log) in logs.iter().enumerate() {
        let (all, more) = rotated_files(log);
        twice.extend(more);
        for one in all {
            files.push(RotatedFile {
                log: at,
                number: one.number,
                size: one.identity.size,
                modified: one.identity.modified,
                is_compressed: one.is_compressed,
            });
            found.push(one);
        }
    }
    let limits = &question.limits;
    let (keep, total_max) = (limits.keep.into(), limits.total_max);
    let plan = tidy_plan(files, written, Limits { keep, total_max, compress: limits.compress });
    let found = |file: &RotatedFile| {
        let mut all = found.iter();
        all.find(|one| one.log == logs[file.log] && one.number == file.number).cloned()
    };
    let remove = plan.remove.iter().filter_map(found).chain(twice).collect();
    let mut answer = TidyAnswer { remove, more: plan.more, ..TidyAnswer::default() };
    match plan.compress.as_ref().and_then(found).map(|one| (compress_one(&one), one)) {
        Some((Ok(true), one)) => answer.compressed = Some(one),
        Some((Err(error), one)) => {
            let path = rotated(&one.log, one.number);
            answer.failed = Some(format!("cannot compress {}: {error}", path.display()));
            answer.more = false;
        }
        Some((Ok(false), _)) | None => {}
    }
    answer
}

/// The logs that a path stands for.
fn files_of(log: &Path) -> Vec<PathBuf> {
    match is_per_slot(log) {
        true => each_slot(log).map(|(_, path)| path).collect(),
        false => vec![log.to_owned()],
    }
}

/// The rotated files of a log, and those of them whose compressed form is in place as well: a
/// primary died between the two steps.
fn rotated_files(log: &Path) -> (Vec<Found>, Vec<Found>) {
    let (mut found, mut twice) = (Vec::new(), Vec::new());
    let (mut number, mut gap) = (1, 0);
    while gap < GAP {
        let at = |path: &Path, is_compressed| {
            let data = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
            let identity = LogIdentity::of(&data);
            Some(Found { log: log.to_owned(), number, is_compressed, identity })
        };
        let plain = at(&rotated(log, number), false);
        let whole = at(&compressed(log, number), true);
        gap = if plain.is_none() && whole.is_none() { gap + 1 } else { 0 };
        match (plain, whole) {
            (Some(plain), Some(whole)) if is_made_of(log, number, plain.identity) => {
                twice.push(plain);
                found.push(whole);
            }
            (Some(plain), _) => found.push(plain),
            (None, whole) => found.extend(whole),
        }
        number += 1;
    }
    (found, twice)
}

fn is_made_of(log: &Path, number: u32, identity: LogIdentity) -> bool {
    let file = File::open(compressed(log, number)).and_then(Compressed::open);
    file.is_ok_and(|file| file.of == identity)
}

/// Compresses a file into the temporary one. `false`: it is gone, or another process compresses.
fn compress_one(found: &Found) -> io::Result<bool> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let from = match options.open(rotated(&found.log, found.number)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        from => from?,
    };
    let data = from.metadata()?;
    if LogIdentity::of(&data) != found.identity {
        return Ok(false);
    }
    let path = being_compressed(&found.log);
    let Some(to) = create(&path, data.mode() & 0o7777)? else { return Ok(false) };
    let written = write(&from, &data, to);
    if written.is_err() {
        let _ = fs::remove_file(&path);
    }
    written.map(|()| true)
}

fn write(from: &File, data: &fs::Metadata, mut to: File) -> io::Result<()> {
    // Those who could read it can read it still.
    std::os::unix::fs::fchown(&to, Some(data.uid()), Some(data.gid()))?;
    compress(from, &mut to)?;
    to.flush()?;
    to.set_modified(data.modified()?)?;
    // Before the other file is removed, this one must be on the disk.
    to.sync_all()
}

/// Makes a new file at this path in place of what a process left there that died. `None`: it lives.
fn create(path: &Path, mode: u32) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).mode(mode);
    match options.open(path) {
        Ok(left) => match left.try_lock() {
            Ok(()) => fs::remove_file(path)?,
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(_) => fs::remove_file(path)?,
    }
    let file = options.create_new(true).open(path)?;
    file.lock()?;
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::spec::Rotation;

    struct Case {
        _dir: tempfile::TempDir,
        log: PathBuf,
    }

    impl Case {
        fn new(rotated_texts: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let log = dir.path().join("out.log");
            fs::write(&log, "now\n").unwrap();
            for (number, text) in (1..).zip(rotated_texts) {
                fs::write(rotated(&log, number), text).unwrap();
            }
            Self { _dir: dir, log }
        }

        fn ask(&self, limits: Rotation) -> TidyAnswer {
            answer(&TidyQuestion { logs: vec![self.log.clone()], limits })
        }
    }

    #[test]
    fn the_newest_is_compressed_first_and_the_original_stays() {
        let case = Case::new(&["new\n", "old\n"]);
        let answer = case.ask(Rotation::default());
        let found = answer.compressed.unwrap();
        assert_eq!((found.number, answer.more, answer.remove), (1, true, vec![]));
        let whole = Compressed::open(File::open(being_compressed(&case.log)).unwrap()).unwrap();
        assert_eq!(whole.of, found.identity);
        assert!(rotated(&case.log, 1).exists());
        let times = [being_compressed(&case.log), rotated(&case.log, 1)]
            .map(|path| fs::metadata(path).unwrap().modified().unwrap());
        assert_eq!(times[0], times[1]);
    }

    #[test]
    fn what_a_death_left_is_cleaned_up() {
        let case = Case::new(&["new\n", "old\n"]);
        // Half of a temporary file.
        fs::write(being_compressed(&case.log), "half").unwrap();
        case.ask(Rotation::default());
        // It was put in place, and the original is not removed yet.
        fs::rename(being_compressed(&case.log), compressed(&case.log, 1)).unwrap();
        let answer = case.ask(Rotation::default());
        let removed: Vec<_> =
            answer.remove.iter().map(|one| (one.number, one.is_compressed)).collect();
        assert_eq!(removed, [(1, false)]);
        assert_eq!(answer.compressed.map(|one| one.number), Some(2));
    }

    #[test]
    fn one_process_at_a_time() {
        let case = Case::new(&["new\n"]);
        let other = File::create(being_compressed(&case.log)).unwrap();
        other.lock().unwrap();
        assert_eq!(case.ask(Rotation::default()).compressed, None);
    }

    #[test]
    fn the_total_is_kept_to() {
        let case = Case::new(&["new\n", "old\n", "older\n"]);
        let limits = Rotation { total_max: 13, compress: false, ..Rotation::default() };
        let answer = case.ask(limits);
        assert_eq!(answer.remove.iter().map(|one| one.number).collect::<Vec<_>>(), [3]);
        assert_eq!(answer.compressed, None);
    }
}
