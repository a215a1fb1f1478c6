//! Descriptors that a dead predecessor left in the table we shared with it, claimed by number.
//!
//! A number alone may mean another file by now, so each comes with the file's inode, which the
//! kernel gives to sockets, pipes and pidfds one by one. (Other anonymous files have none of their
//! own; their numbers are not used again before the state that names them is written anew.)
//! Refuses what is not open, is another file, or was claimed before.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::fstat;
use serde::{Deserialize, Serialize};

/// A descriptor as the state names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    number: RawFd,
    inode: u64,
}

impl Held {
    /// For the state.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Self {
        // An open descriptor can always be asked; 0 is no inode and is claimed by nobody.
        let inode = fstat(fd).map_or(0, |stat| stat.st_ino);
        Self { number: fd.as_raw_fd(), inode }
    }
}

/// Does something with a descriptor of the table by its number, while its owner, the primary, waits
/// for the outcome.
pub(crate) fn with<T>(
    number: RawFd,
    what: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
) -> io::Result<T> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is the primary's, who keeps it open until it has our answer. If the primary dies
    // meanwhile, the descriptor stays in the table, until its successor, whom we start later.
    what(unsafe { BorrowedFd::borrow_raw(number) })
}

/// The table, while a new primary takes over what it needs.
#[derive(Debug)]
pub(crate) struct Claims {
    taken: BTreeSet<RawFd>,
}

impl Claims {
    /// These belong to somebody already: nobody can claim them, and they stay open. To be made
    /// before this process opens anything of its own.
    pub(crate) fn new<'a>(others: impl IntoIterator<Item = BorrowedFd<'a>>) -> Self {
        let mut taken: BTreeSet<RawFd> = (0..3).collect();
        taken.extend(others.into_iter().map(|fd| fd.as_raw_fd()));
        Self { taken }
    }

    /// These stay open too.
    pub(crate) fn leave(&mut self, numbers: Vec<RawFd>) {
        self.taken.extend(numbers);
    }

    /// Takes one over.
    pub(crate) fn claim(&mut self, held: Held) -> io::Result<OwnedFd> {
        let gone = || io::Error::from_raw_os_error(libc::EBADF);
        if held.inode == 0 || self.taken.contains(&held.number) {
            return Err(gone());
        }
        // SAFETY: only looked at, by a call that fails for a number that is not open.
        let looked_at = unsafe { BorrowedFd::borrow_raw(held.number) };
        if fstat(looked_at)?.st_ino != held.inode {
            return Err(gone());
        }
        self.taken.insert(held.number);
        // SAFETY: it is open, as was just seen. Its owner was the process before us, which is
        // dead; the keeper, the only other one that has this table, owns none but those that were
        // given to `new`; and `taken` sees to it that it is claimed once.
        Ok(unsafe { OwnedFd::from_raw_fd(held.number) })
    }

    /// Takes over everything that nobody has claimed and `what` says something of.
    pub(crate) fn find<T>(
        &mut self,
        what: impl Fn(BorrowedFd<'_>) -> Option<T>,
    ) -> io::Result<Vec<(OwnedFd, T)>> {
        let mut found = Vec::new();
        for number in super::exec::open_numbers()? {
            if self.taken.contains(&number) {
                continue;
            }
            // SAFETY: only looked at, while it is open: its owner is dead.
            let Some(said) = what(unsafe { BorrowedFd::borrow_raw(number) }) else { continue };
            self.taken.insert(number);
            // SAFETY: as in `claim`.
            found.push((unsafe { OwnedFd::from_raw_fd(number) }, said));
        }
        Ok(found)
    }

    /// Closes everything that nobody has claimed. To be called before this process opens anything
    /// of its own.
    pub(crate) fn close_others(self) -> io::Result<()> {
        let mut numbers = super::exec::open_numbers()?;
        numbers.retain(|number| !self.taken.contains(number));
        for number in &numbers {
            // SAFETY: as in `claim`: its owner is dead, and nobody has claimed it.
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
        // Its owner is gone, as far as anybody here can tell.
        let number = OwnedFd::from(ours).into_raw_fd();
        let claimed = claims.claim(held).unwrap();
        assert_eq!(claimed.as_raw_fd(), number);
        assert!(claims.claim(held).is_err(), "a second time");
    }
}
