//! Whether a worker that SIGKILL ended was killed by the kernel because memory ran out.

use crate::base::exit::Exit;
use crate::sys::oom;

/// The kills that are known.
#[derive(Debug)]
pub(in crate::runtime) struct OomKills {
    known: Option<u64>,
}

impl OomKills {
    /// Those so far concern no worker of ours.
    pub(in crate::runtime) fn new() -> Self {
        Self { known: oom::kills() }
    }

    /// A worker has ended. Whether the kernel killed it because memory ran out: the kernel has
    /// counted such a kill that explains no other end.
    pub(in crate::runtime) fn explain(&mut self, exit: Exit) -> bool {
        let now = oom::kills();
        let newer = self.known.zip(now).filter(|(known, now)| now > known);
        let explained = newer.filter(|_| exit == Exit::Signal(libc::SIGKILL));
        self.known = explained.map_or(now, |(known, _)| Some(known + 1));
        explained.is_some()
    }
}
