//! Signals to the primary, as a descriptor to poll.
//!
//! Each kind is reported at least once after it arrived; several of one kind between two reads
//! count as one. SIGCHLD is not among them: pidfds report the end of children.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigHandler, Signal, signal};

/// The signals that the primary handles, and that its keeper forwards.
pub(crate) const WATCHED: [Signal; 8] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// Unblocks all signals. A primary starts with its signals blocked, so that none arrives before it
/// has handlers.
pub(crate) fn unblock() -> io::Result<()> {
    let nothing = nix::sys::signal::SigSet::empty();
    nix::sys::signal::sigprocmask(nix::sys::signal::SigmaskHow::SIG_SETMASK, Some(&nothing), None)?;
    Ok(())
}

/// The signals that arrived.
#[derive(Debug)]
pub(crate) struct Signals {
    pipe: UnixStream,
    came: Vec<(i32, Arc<AtomicBool>)>,
}

impl Signals {
    /// From now on these signals do not end the process, and SIGPIPE becomes an error of a write.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: SIG_IGN is no handler; it runs no code in signal context.
        unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }?;
        let (pipe, wake) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        let mut came = Vec::with_capacity(WATCHED.len());
        for watched in WATCHED {
            let flag = Arc::new(AtomicBool::new(false));
            // The flag first: actions run in the order of their registration, so a wake-up never
            // comes before its flag.
            signal_hook::flag::register(watched as i32, Arc::clone(&flag))?;
            signal_hook::low_level::pipe::register(watched as i32, wake.try_clone()?)?;
            came.push((watched as i32, flag));
        }
        Ok(Self { pipe, came })
    }

    /// Readable when a signal has arrived.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// The kinds that arrived since the previous call.
    pub(crate) fn drain(&mut self) -> Vec<i32> {
        let mut bytes = [0u8; 256];
        // First the wake-ups, then the flags: a signal in between is seen now and causes one
        // needless wake-up. In the other order it would be missed.
        while matches!(nix::unistd::read(&self.pipe, &mut bytes), Ok(read) if read > 0) {}
        let mut kinds = Vec::new();
        for (kind, flag) in &self.came {
            if flag.swap(false, Ordering::SeqCst) {
                kinds.push(*kind);
            }
        }
        kinds
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;
    use crate::sys::poller::Poller;

    #[test]
    fn a_second_one_is_seen_as_a_second_one() {
        let mut signals = Signals::new().unwrap();
        let mut poller = Poller::new().unwrap();
        poller.add(signals.fd(), 1).unwrap();
        for _ in 0..2 {
            raise(Signal::SIGTTIN).unwrap();
            raise(Signal::SIGTTIN).unwrap();
            raise(Signal::SIGUSR2).unwrap();
            assert!(poller.wait(None).unwrap()[0].readable);
            assert_eq!(signals.drain(), [Signal::SIGUSR2 as i32, Signal::SIGTTIN as i32]);
            assert_eq!(signals.drain(), [0i32; 0]);
        }
    }
}
