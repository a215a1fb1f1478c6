//! Descriptors that a dead primary left in the shared table, claimed by number.
//!
//! A number alone may name another file by now. So each comes with the file's inode, which the
//! kernel gives to sockets, pipes and pidfds one by one. (Other anonymous files have no inode of
//! their own; their numbers are not used again before the snapshot that names them is written
//! anew.) A claim fails if the descriptor is not open, is another file, or was claimed before.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};

/// A descriptor as the snapshot names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    number: RawFd,
    inode: u64,
}

impl Held {
    /// Describes an open descriptor for the snapshot.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Self {
        // `fstat` works on every open descriptor; nothing can claim inode 0.
        let inode = fstat(fd).map_or(0, |stat| stat.st_ino);
        Self { number: fd.as_raw_fd(), inode }
    }
}

/// Uses a descriptor of the shared table by its number, while its owner, the primary, waits for the
/// outcome.
pub(crate) fn with<T>(
    number: RawFd,
    what: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
) -> io::Result<T> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the primary owns it and keeps it open until it has this answer. If the primary dies
    // in between, the descriptor stays in the table until the next primary, which this process
    // starts later.
    what(unsafe { BorrowedFd::borrow_raw(number) })
}

/// The shared table while a new primary takes over the descriptors that it needs.
#[derive(Debug)]
pub(crate) struct Claims {
    taken: BTreeSet<RawFd>,
}

impl Claims {
    /// `others` have an owner already: they cannot be claimed, and stay open. Call this before the
    /// process opens anything of its own.
    pub(crate) fn new<'a>(others: impl IntoIterator<Item = BorrowedFd<'a>>) -> Self {
        let mut taken: BTreeSet<RawFd> = (0..3).collect();
        taken.extend(others.into_iter().map(|fd| fd.as_raw_fd()));
        Self { taken }
    }

    /// Keeps these open too.
    pub(crate) fn leave(&mut self, numbers: Vec<RawFd>) {
        self.taken.extend(numbers);
    }

    /// Takes over one descriptor.
    pub(crate) fn claim(&mut self, held: Held) -> io::Result<OwnedFd> {
        let gone = || io::Error::from_raw_os_error(libc::EBADF);
        if held.inode == 0 || self.taken.contains(&held.number) {
            return Err(gone());
        }
        // SAFETY: only inspected, by a call that fails for a number that is not open.
        let looked_at = unsafe { BorrowedFd::borrow_raw(held.number) };
        if fstat(looked_at)?.st_ino != held.inode {
            return Err(gone());
        }
        self.taken.insert(held.number);
        // SAFETY: it is open, as `fstat` just showed. Its owner was the dead primary. The keeper,
        // the only other process with this table, owns only those that were given to `new`; and
        // `taken` ensures that each is claimed once.
        Ok(unsafe { OwnedFd::from_raw_fd(held.number) })
    }

    /// Takes over every unclaimed descriptor for which `what` returns a value.
    pub(crate) fn find<T>(
        &mut self,
        what: impl Fn(BorrowedFd<'_>) -> Option<T>,
    ) -> io::Result<Vec<(OwnedFd, T)>> {
        let mut found = Vec::new();
        for number in super::exec::open_numbers()? {
            if self.taken.contains(&number) {
                continue;
            }
            // SAFETY: only inspected while it is open: its owner is dead.
            let Some(said) = what(unsafe { BorrowedFd::borrow_raw(number) }) else { continue };
            self.taken.insert(number);
            // SAFETY: as in `claim`.
            found.push((unsafe { OwnedFd::from_raw_fd(number) }, said));
        }
        Ok(found)
    }

    /// Closes every unclaimed descriptor. Call this before the process opens anything of its own.
    pub(crate) fn close_others(self) -> io::Result<()> {
        let mut numbers = super::exec::open_numbers()?;
        numbers.retain(|number| !self.taken.contains(number));
        for number in &numbers {
            // SAFETY: as in `claim`: its owner is dead, and it is unclaimed.
            drop(unsafe { OwnedFd::from_raw_fd(*number) });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, IntoRawFd};

    use super::*;

    #[test]
    fn only_the_very_file_can_be_claimed_and_only_once() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let held = Held::of(ours.as_fd());
        let others: [BorrowedFd<'_>; 0] = [];
        let mut claims = Claims::new(others);
        let other = Held { inode: held.inode + 1, ..held };
        assert!(claims.claim(other).is_err(), "another file");
        assert!(claims.claim(Held { number: 9999, ..held }).is_err(), "not open");
        assert!(Claims::new([ours.as_fd()]).claim(held).is_err(), "somebody's");
        // From here on it has no owner, like a descriptor of a dead primary.
        let number = OwnedFd::from(ours).into_raw_fd();
        let claimed = claims.claim(held).unwrap();
        assert_eq!(claimed.as_raw_fd(), number);
        assert!(claims.claim(held).is_err(), "a second time");
    }
}
