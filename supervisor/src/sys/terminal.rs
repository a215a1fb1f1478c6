//! The terminal of this process: its width, and whether it still exists.

use std::fs::OpenOptions;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;

use rustix::termios::tcgetwinsize;

/// Whether this process was started on a terminal, and whether it ignored SIGHUP then.
static AT_START: OnceLock<(bool, bool)> = OnceLock::new();

/// Remembers how this process was started. Children know it from their parent.
pub(crate) fn remember() {
    // A second call keeps the first value.
    let _ = AT_START.set((lives(), hangup_is_ignored()));
}

/// Whether [`remember`] found a terminal.
pub(crate) fn had() -> bool {
    AT_START.get().is_some_and(|(had, _)| *had)
}

/// Whether [`remember`] found that SIGHUP was ignored, as nohup(1) has it.
pub(crate) fn hangup_was_ignored() -> bool {
    AT_START.get().is_some_and(|(_, ignored)| *ignored)
}

/// Whether this process has a controlling terminal. The kernel takes it away before it sends
/// SIGHUP (credentials(7), tty(4)).
pub(crate) fn lives() -> bool {
    let mut open = OpenOptions::new();
    open.read(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open("/dev/tty").is_ok()
}

fn hangup_is_ignored() -> bool {
    let mut now = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with a null pointer for the new action the call only writes the current one.
    let result = unsafe { libc::sigaction(libc::SIGHUP, std::ptr::null(), now.as_mut_ptr()) };
    // SAFETY: the call that returned 0 has filled it.
    result == 0 && unsafe { now.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// The width in columns; `None` if this is no terminal, or one that does not tell.
pub(crate) fn width(terminal: BorrowedFd<'_>) -> Option<u16> {
    tcgetwinsize(terminal).ok().map(|size| size.ws_col).filter(|columns| *columns > 0)
}
