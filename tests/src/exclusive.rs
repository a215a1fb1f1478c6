//! One heavy test at a time, over all test processes of this user.
//!
//! The lock is a file (flock) that names its holder. The kernel gives it back when the holder ends,
//! in whatever way.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::staging;

/// What the name of a heavy test, or of its module, begins with. `cargo fast` leaves these out.
pub const PREFIX: &str = "heavy_";

/// How long one test may hold the lock: the longest, with 1,000 kills, has a limit of 30 minutes.
const LONGEST: Duration = Duration::from_secs(45 * 60);

/// How often a test that waits says for which other one.
const REPORT: Duration = Duration::from_secs(30);

/// The variable that names a file: every heavy test adds a line to it, with the seconds that it
/// took and its name. `.ci/run` shows the slowest.
const TIMES: &str = "HEAVY_TIMES";

/// Held while a heavy test or a benchmark runs.
#[derive(Debug)]
#[must_use = "dropping this gives the lock back"]
pub struct Exclusive {
    _lock: File,
    holder: String,
    since: Instant,
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        let Some(path) = env::var_os(TIMES) else { return };
        let line = format!("{:.1}\t{}\n", self.since.elapsed().as_secs_f64(), self.holder);
        let written = OpenOptions::new().create(true).append(true).open(&path);
        if let Err(error) = written.and_then(|mut file| file.write_all(line.as_bytes())) {
            eprintln!("cannot write the time of {} to {path:?}: {error}", self.holder);
        }
    }
}

/// Waits until no other heavy test runs. Panics if one test holds the lock for longer than any test
/// may, and names it.
pub fn exclusive() -> Exclusive {
    let me = thread::current().name().unwrap_or("a thread without a name").to_owned();
    // With one test thread, and in a benchmark, the thread is `main`.
    let is_heavy = me == "main" || me.split("::").any(|part| part.starts_with(PREFIX));
    assert!(is_heavy, "{me} needs the machine for itself, so its name must begin with {PREFIX}");
    lock(&staging::root().join("exclusive.lock"), &me, REPORT, LONGEST)
        .unwrap_or_else(|error| panic!("{me}: {error}"))
}

/// Takes the lock for `me`.
fn lock(path: &Path, me: &str, report: Duration, longest: Duration) -> io::Result<Exclusive> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    let mut file = match file.try_lock() {
        Ok(()) => file,
        Err(TryLockError::WouldBlock) => wait(file, path, report, longest)?,
        Err(TryLockError::Error(error)) => return Err(error),
    };
    file.set_len(0)?;
    write!(file, "{me} (pid {})", std::process::id())?;
    Ok(Exclusive { _lock: file, holder: me.to_owned(), since: Instant::now() })
}

/// Blocks until the kernel gives us the lock. A thread of its own waits, so that this one can say
/// for what.
fn wait(file: File, path: &Path, report: Duration, longest: Duration) -> io::Result<File> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let locked = file.lock().map(|()| file);
        // The receiver is gone if it gave up: dropping the file unlocks it.
        drop(sender.send(locked));
    });
    let (mut holder, mut since) = (holder(path), Instant::now());
    loop {
        match receiver.recv_timeout(report) {
            Ok(locked) => return locked,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the thread that waited for the lock is gone"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = self::holder(path);
        if now != holder {
            (holder, since) = (now, Instant::now());
        }
        let held = since.elapsed();
        if held >= longest {
            let path = path.display();
            return Err(io::Error::other(format!(
                "{holder} has held {path} for {held:.0?}, longer than any test may; \
                 see why it hangs, or end it"
            )));
        }
        eprintln!("waiting for {holder}, which has run for {held:.0?} at least");
    }
}

/// Which test holds the lock, as far as the file says it.
fn holder(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    if text.is_empty() { "another heavy test".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_next_one_gets_the_lock_when_the_first_gives_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = lock(&path, "first", SHORT, LONG).unwrap();
        assert!(holder(&path).starts_with("first (pid "));
        thread::scope(|scope| {
            let second = scope.spawn(|| lock(&path, "second", SHORT, LONG).unwrap());
            drop(first);
            let second = second.join().unwrap();
            assert!(holder(&path).starts_with("second (pid "));
            drop(second);
        });
    }

    #[test]
    fn a_test_that_never_ends_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = lock(&path, "first", SHORT, LONG).unwrap();
        let error = lock(&path, "second", SHORT, SHORT).unwrap_err().to_string();
        assert!(error.starts_with("first (pid ") && error.contains("longer than"), "{error}");
        drop(first);
        // The thread that gave up does not keep it.
        drop(lock(&path, "third", SHORT, LONG).unwrap());
    }
}
