//! The pids of the workers among the keeper's children. Other children are adopted orphans, and the
//! keeper reaps them.

use std::fs::File;
use std::io::Read;

use crate::sys::pidfd::{self, Pid};

/// The most workers at one time, of all generations.
const ROOM: usize = 4096;
/// The bytes of the list of children that one read takes.
const PIECE: usize = 4096;
const CHILDREN: &str = "/proc/thread-self/children";

/// The pids of the workers; 0 marks a free entry.
#[derive(Debug)]
pub(super) struct WorkerPids(Box<[u32; ROOM]>);

impl Default for WorkerPids {
    fn default() -> Self {
        Self(Box::new([0; ROOM]))
    }
}

impl WorkerPids {
    /// Adds a worker. `false`: the list is full.
    pub(super) fn add(&mut self, pid: Pid) -> bool {
        if self.has(pid.0) {
            return true;
        }
        let free = self.0.iter_mut().find(|place| **place == 0);
        free.map(|place| *place = pid.0).is_some()
    }

    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }

    pub(super) fn remove(&mut self, pid: Pid) {
        if let Some(place) = self.0.iter_mut().find(|place| **place == pid.0) {
            *place = 0;
        }
    }

    fn has(&self, pid: u32) -> bool {
        pid != 0 && self.0.contains(&pid)
    }

    /// Reaps every child that has ended and is neither a worker nor the primary.
    pub(super) fn reap_others(&self, primary: Option<Pid>) {
        let Ok(list) = File::open(CHILDREN) else { return };
        for_each_number(list, |pid| {
            if !self.has(pid) && primary != Some(Pid(pid)) {
                // The child is running, or gone already; both are fine.
                let _ = pidfd::reap_child(Pid(pid));
            }
        });
    }
}

/// Calls `take` for each number of a list with spaces, as the kernel writes children.
fn for_each_number(mut list: impl Read, mut take: impl FnMut(u32)) {
    let mut bytes = [0u8; PIECE];
    let mut number = 0u32;
    while let Ok(count) = list.read(&mut bytes) {
        if count == 0 {
            break;
        }
        for byte in &bytes[..count] {
            if byte.is_ascii_digit() {
                number = number.wrapping_mul(10).wrapping_add(u32::from(byte - b'0'));
            } else if number > 0 {
                take(number);
                number = 0;
            }
        }
    }
    if number > 0 {
        take(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_has_one_entry() {
        let mut workers = WorkerPids::default();
        assert!(workers.add(Pid(7)) && workers.add(Pid(7)) && workers.add(Pid(8)));
        workers.remove(Pid(7));
        assert!(!workers.has(7) && workers.has(8) && !workers.has(0));
        for pid in 100..100 + 4095 {
            assert!(workers.add(Pid(pid)));
        }
        assert!(!workers.add(Pid(9)), "the list is full");
    }

    #[test]
    fn numbers_are_read_in_any_split() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let expected: Vec<u32> = (1..3000).map(|n| n * 7).collect();
        let text: String = expected.iter().map(|n| format!("{n} ")).collect();
        std::io::Write::write_all(&mut writer, text.as_bytes()).unwrap();
        drop(writer);
        let mut seen = Vec::new();
        for_each_number(reader, |number| seen.push(number));
        assert_eq!(seen, expected);
    }
}
