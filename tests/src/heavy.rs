//! Heavy tests take turns, over all test processes of this user: one that measures has the machine
//! for itself; of those that only put load on it, two run side by side.
//!
//! The lock is a file (flock) that names its last holder; those that run side by side share it. The
//! kernel gives it back when the holder ends, in whatever way.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::staging;
use crate::wait::try_until;

/// What the name of a heavy test, or of its module, begins with. `cargo fast` leaves these out.
pub const PREFIX: &str = "heavy_";

/// How long one test may hold the lock: the longest, with 1,000 kills, has a limit of 30 minutes.
const LONGEST: Duration = Duration::from_secs(45 * 60);

/// How often a test that waits says for which other one.
const REPORT: Duration = Duration::from_secs(30);

/// The file of the lock.
const LOCK: &str = "exclusive.lock";

/// The variable that names a file: every heavy test adds a line to it, with the seconds that it
/// took and its name. `.ci/run` shows the slowest.
const TIMES: &str = "HEAVY_TIMES";

/// Tests that put load on the machine side by side: more would only wait for its two CPUs.
const SIDE_BY_SIDE: u32 = 2;

/// Held while a heavy test or a benchmark runs.
#[derive(Debug)]
#[must_use = "dropping this gives the lock back"]
pub struct Heavy {
    _lock: File,
    /// Its place among those that run side by side.
    _place: Option<File>,
    holder: String,
    since: Instant,
}

impl Drop for Heavy {
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
pub fn exclusive() -> Heavy {
    let me = name();
    lock(&staging::root().join(LOCK), &me, How::Alone, REPORT, LONGEST)
        .unwrap_or_else(|error| panic!("{me}: {error}"))
}

/// The same for a test that measures neither time nor memory: it only needs processors now and
/// then. Another such test may run beside it.
pub fn under_load() -> Heavy {
    let me = name();
    let root = staging::root();
    let locked = place(root, &me).and_then(|place| {
        let mut held = lock(&root.join(LOCK), &me, How::Shared, REPORT, LONGEST)?;
        held._place = Some(place);
        Ok(held)
    });
    locked.unwrap_or_else(|error| panic!("{me}: {error}"))
}

/// The name of this test, which must be that of a heavy one.
fn name() -> String {
    let me = thread::current().name().unwrap_or("a thread without a name").to_owned();
    // With one test thread, and in a benchmark, the thread is `main`.
    let is_heavy = me == "main" || me.split("::").any(|part| part.starts_with(PREFIX));
    assert!(is_heavy, "{me} puts load on the machine, so its name must begin with {PREFIX}");
    me
}

/// A place among those that run side by side. The places become free in any order, so it looks at
/// all of them again and again.
fn place(root: &Path, me: &str) -> io::Result<File> {
    let files: Vec<File> = (0..SIDE_BY_SIDE)
        .map(|number| open(&root.join(format!("place-{number}.lock"))))
        .collect::<io::Result<_>>()?;
    let look = || {
        files.iter().find_map(|file| match file.try_lock() {
            Ok(()) => Some(file.try_clone()),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) => Some(Err(error)),
        })
    };
    if let Some(place) = try_until(Duration::ZERO, look) {
        return place;
    }
    eprintln!("{me} waits for a place among the heavy tests");
    try_until(LONGEST, look).unwrap_or_else(|| {
        let text = format!("no place among the heavy tests became free in {LONGEST:.0?}");
        Err(io::Error::other(text))
    })
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

/// Whether others may hold the lock at the same time.
#[derive(Debug, Clone, Copy)]
enum How {
    Alone,
    Shared,
}

impl How {
    fn try_lock(self, file: &File) -> Result<(), TryLockError> {
        match self {
            Self::Alone => file.try_lock(),
            Self::Shared => file.try_lock_shared(),
        }
    }

    fn lock(self, file: &File) -> io::Result<()> {
        match self {
            Self::Alone => file.lock(),
            Self::Shared => file.lock_shared(),
        }
    }
}

/// Takes the lock for `me`.
fn lock(path: &Path, me: &str, how: How, report: Duration, longest: Duration) -> io::Result<Heavy> {
    let file = open(path)?;
    let mut file = match how.try_lock(&file) {
        Ok(()) => file,
        Err(TryLockError::WouldBlock) => wait(file, path, how, report, longest)?,
        Err(TryLockError::Error(error)) => return Err(error),
    };
    file.set_len(0)?;
    write!(file, "{me} (pid {})", std::process::id())?;
    Ok(Heavy { _lock: file, _place: None, holder: me.to_owned(), since: Instant::now() })
}

/// Blocks until the kernel gives us the lock. A thread of its own waits, so that this one can say
/// for what.
fn wait(
    file: File,
    path: &Path,
    how: How,
    report: Duration,
    longest: Duration,
) -> io::Result<File> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let locked = how.lock(&file).map(|()| file);
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
        let first = lock(&path, "first", How::Alone, SHORT, LONG).unwrap();
        assert!(holder(&path).starts_with("first (pid "));
        thread::scope(|scope| {
            let second = scope.spawn(|| lock(&path, "second", How::Alone, SHORT, LONG).unwrap());
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
        let first = lock(&path, "first", How::Alone, SHORT, LONG).unwrap();
        let error = lock(&path, "second", How::Alone, SHORT, SHORT).unwrap_err().to_string();
        assert!(error.starts_with("first (pid ") && error.contains("longer than"), "{error}");
        drop(first);
        // The thread that gave up does not keep it.
        drop(lock(&path, "third", How::Alone, SHORT, LONG).unwrap());
    }

    #[test]
    fn those_that_share_the_lock_hold_it_side_by_side_and_nobody_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = lock(&path, "first", How::Shared, SHORT, LONG).unwrap();
        let second = lock(&path, "second", How::Shared, SHORT, LONG).unwrap();
        drop(first);
        let error = lock(&path, "third", How::Alone, SHORT, SHORT).unwrap_err().to_string();
        assert!(error.starts_with("second (pid "), "{error}");
        drop(second);
        drop(lock(&path, "fourth", How::Alone, SHORT, LONG).unwrap());
    }

    #[test]
    fn there_are_two_places_side_by_side() {
        let folder = tempfile::tempdir().unwrap();
        let first = place(folder.path(), "first").unwrap();
        let second = place(folder.path(), "second").unwrap();
        thread::scope(|scope| {
            let third = scope.spawn(|| place(folder.path(), "third").unwrap());
            drop((first, second));
            drop(third.join().unwrap());
        });
    }
}
