//! Writes the state, and knows what waits for that.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use super::pieces::Children;
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::snapshot::Memory;
use crate::sys::spawn::report;

/// After so many times what a writing took, the next may come.
const RESTS: u32 = 10;
/// But it need not wait longer.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(in crate::runtime) struct Writer {
    /// The number of the last writing.
    number: u64,
    /// A checksum of the last content, which may be large.
    sum: Option<u64>,
    /// Before that, the state is only written for what the core did: writing a large one for each
    /// of many small changes (a worker subscribes to ten thousand topics) would be all we do.
    after: Time,
    /// The state is no longer what was written, although the core had nothing to do.
    pub(in crate::runtime) stale: bool,
    /// Everything that the core wanted was done.
    pub(in crate::runtime) carried_out: bool,
    /// Workers that wait for the state to be written before they go on to their exec.
    waiting_to_go: Vec<WorkerId>,
}

impl Writer {
    /// `number`: that of the last writing of a predecessor.
    pub(in crate::runtime) fn new(number: u64, now: Time) -> Self {
        Self {
            number,
            sum: None,
            after: now,
            stale: false,
            carried_out: true,
            waiting_to_go: Vec::new(),
        }
    }

    /// When the state is to be written for what is no business of the core's.
    pub(in crate::runtime) fn due(&self) -> Option<Time> {
        self.stale.then_some(self.after)
    }

    /// A worker waits for the state to know it.
    pub(in crate::runtime) fn holds(&mut self, worker: WorkerId) {
        self.waiting_to_go.push(worker);
    }

    /// Workers that the state knows now go on to their exec.
    pub(in crate::runtime) fn let_go(&mut self, children: &Children) {
        for worker in std::mem::take(&mut self.waiting_to_go) {
            if let Some(report) = children.get(&worker).and_then(|c| c.report.as_ref()) {
                report::go(report.as_fd());
            }
        }
    }

    /// Writes this content, if it is not what was written last.
    pub(super) fn write(&mut self, memory: &Memory, content: &str) -> io::Result<()> {
        let sum = Some(crate::snapshot::checksum(b"", content.as_bytes()));
        if sum == self.sum {
            return Ok(());
        }
        memory.write(self.number + 1, content)?;
        self.number += 1;
        self.sum = sum;
        Ok(())
    }

    /// Whether the state could be written, which took from `began` to `ended`; else why not.
    pub(super) fn wrote(
        &mut self,
        result: io::Result<()>,
        began: Time,
        ended: Time,
    ) -> Result<(), String> {
        self.after = ended + (ended.since(began) * RESTS).min(LONGEST_REST);
        result.map_err(|error| {
            // Too large is not made smaller by another attempt; short of memory may be over then.
            self.stale |= error.kind() != io::ErrorKind::FileTooLarge;
            format!("cannot write the state for the case that this primary dies: {error}")
        })
    }
}
