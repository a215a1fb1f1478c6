//! How many messages wait for each worker on the bus, kept where a successor finds it: what waits
//! in a primary is lost with it, and is counted then. And whether a worker may have been sent half
//! of one, for then nothing can be said to it any more.
//!
//! Written after each write to a worker, if the number is another than before; so it costs nothing
//! while all read what they get. Before a message that may not go whole it is written that half of
//! it may have gone. What a primary has heard and not passed on in the very turn in which it dies
//! is not in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::base::ids::WorkerId;
use crate::relay::Waiting;
use crate::sys::held::Held;

/// One worker's place in the file: its id, how many messages wait for it, how many were dropped,
/// and 1 if it may have been sent half of one. 0 is no worker. A place lies in one page, so a death
/// cannot leave half of it.
const PLACE: usize = 32;
/// More are not read; no app has so many workers.
const PLACES: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(in crate::runtime) struct LossJournal {
    /// Made at once, so that every state of this primary names it. An error: it could not be made.
    file: Result<File, Errno>,
    places: BTreeMap<WorkerId, (u64, Waiting)>,
    free: BTreeSet<u64>,
    /// It could not be written: said once.
    pub(super) failed: bool,
    /// What was lost with the primary before, until it is told.
    pub(super) lost: Vec<(WorkerId, u64)>,
}

impl LossJournal {
    /// One in which nothing waits.
    pub(in crate::runtime) fn new() -> Self {
        Self::of(memfd_create("supervisor-ledger", MFdFlags::MFD_CLOEXEC).map(File::from))
    }

    fn of(file: Result<File, Errno>) -> Self {
        let (places, free) = (BTreeMap::new(), BTreeSet::new());
        Self { file, places, free, failed: false, lost: Vec::new() }
    }

    /// The one that a dead primary kept, and what waited there.
    pub(in crate::runtime) fn found(fd: OwnedFd) -> (Self, BTreeMap<WorkerId, Waiting>) {
        let file = File::from(fd);
        let mut bytes = Vec::new();
        let read = read_all(&file, &mut bytes);
        let mut places = BTreeMap::new();
        for (at, place) in (0_u64..).zip(bytes.chunks_exact(PLACE)) {
            let word = |index: usize| {
                let bytes = place.get(index * 8..index * 8 + 8)?.try_into().ok()?;
                Some(u64::from_le_bytes(bytes))
            };
            let (Some(worker @ 1..), Some(waiting), Some(dropped)) = (word(0), word(1), word(2))
            else {
                continue;
            };
            let half_written = word(3) == Some(1);
            places.insert(WorkerId(worker), (at, Waiting { waiting, dropped, half_written }));
        }
        let waits = places.iter().map(|(worker, (_, waiting))| (*worker, *waiting)).collect();
        let taken: BTreeSet<u64> = places.values().map(|(at, _)| *at).collect();
        let mut ledger = Self { places, failed: read.is_err(), ..Self::of(Ok(file)) };
        ledger.free = (0..ledger.end()).filter(|at| !taken.contains(at)).collect();
        (ledger, waits)
    }

    /// For the state.
    pub(in crate::runtime) fn held(&self) -> Option<Held> {
        self.file.as_ref().ok().map(|file| Held::of(file.as_fd()))
    }

    /// So many wait for a worker now.
    pub(super) fn note(&mut self, worker: WorkerId, now: Waiting) -> io::Result<()> {
        let known = self.places.get(&worker).copied();
        if known.map_or_else(Waiting::default, |(_, before)| before) == now {
            return Ok(());
        }
        let at = match known {
            Some((at, _)) => at,
            None => self.free.pop_first().unwrap_or_else(|| self.end()),
        };
        self.places.insert(worker, (at, now));
        put(self.file.as_ref().map_err(|errno| *errno)?, at, worker.0, now)
    }

    /// Whether it may have been sent half of a message.
    pub(in crate::runtime) fn is_half_written(&self, worker: WorkerId) -> bool {
        self.places.get(&worker).is_some_and(|(_, waiting)| waiting.half_written)
    }

    /// Behind all places that are taken.
    fn end(&self) -> u64 {
        self.places.values().map(|(at, _)| at + 1).max().unwrap_or(0)
    }

    /// Frees the place of a worker that is gone. The caller counts the messages that it lost.
    pub(in crate::runtime) fn forget(&mut self, worker: WorkerId) {
        let Some((at, _)) = self.places.remove(&worker) else { return };
        let written = self.file.as_ref().map(|file| put(file, at, 0, Waiting::default()));
        // A place that could not be wiped is left alone while there are others behind it.
        if matches!(written, Ok(Ok(()))) {
            self.free.insert(at);
        }
    }
}

fn put(file: &File, at: u64, worker: u64, waiting: Waiting) -> io::Result<()> {
    let mut place = [0; PLACE];
    let Waiting { waiting, dropped, half_written } = waiting;
    let values = [worker, waiting, dropped, u64::from(half_written)];
    for (word, value) in place.chunks_exact_mut(8).zip(values) {
        word.copy_from_slice(&value.to_le_bytes());
    }
    file.write_all_at(&place, at * PLACE as u64)
}

fn read_all(file: &File, bytes: &mut Vec<u8>) -> io::Result<()> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    bytes.resize(length.min(PLACES * PLACE), 0);
    file.read_exact_at(bytes, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn waiting(waiting: u64, dropped: u64) -> Waiting {
        Waiting { waiting, dropped, half_written: false }
    }

    #[test]
    fn a_successor_reads_what_waited() {
        let mut ledger = LossJournal::new();
        ledger.note(WorkerId(1), waiting(0, 0)).unwrap();
        assert_eq!(ledger.file.as_ref().unwrap().metadata().unwrap().len(), 0);
        ledger.note(WorkerId(7), waiting(3, 0)).unwrap();
        for (worker, count) in [(8, 4), (9, 5), (7, 2), (7, 2)] {
            ledger.note(WorkerId(worker), waiting(count, 1)).unwrap();
        }
        ledger.forget(WorkerId(8));
        ledger.forget(WorkerId(99));
        let half = Waiting { half_written: true, ..waiting(0, 6) };
        ledger.note(WorkerId(10), half).unwrap();
        let (mut ledger, waited) = LossJournal::found(ledger.file.unwrap().into());
        let expected = [(7, waiting(2, 1)), (9, waiting(5, 1)), (10, half)];
        assert!(waited.into_iter().eq(expected.map(|(id, it)| (WorkerId(id), it))));
        assert!(ledger.is_half_written(WorkerId(10)) && !ledger.is_half_written(WorkerId(9)));
        // It goes on in the same places.
        ledger.forget(WorkerId(7));
        for worker in [11, 12] {
            ledger.note(WorkerId(worker), waiting(1, 0)).unwrap();
        }
        let (ledger, waited) = LossJournal::found(ledger.file.unwrap().into());
        assert_eq!(waited.keys().map(|id| id.0).collect::<Vec<_>>(), [9, 10, 11, 12]);
        assert_eq!(ledger.places.values().map(|(at, _)| at).max(), Some(&3));
    }

    #[test]
    fn what_is_no_ledger_has_nothing() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"what is this", 0).unwrap();
        assert!(LossJournal::found(file.into()).1.is_empty());
    }
}
