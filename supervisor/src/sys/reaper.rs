//! As the first process of a pid namespace we inherit every orphan in it. Nobody else can take
//! their exits, and until somebody does they stay zombies.

use std::collections::BTreeSet;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::procfs;

/// Whether orphans come to us.
pub(crate) fn is_first() -> bool {
    std::process::id() == 1
}

/// Takes the exits of all children that ended, except of `ours`, which are waited for elsewhere.
pub(crate) fn reap_all_but(ours: &BTreeSet<u32>) {
    for child in children() {
        let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) else { continue };
        if !ours.contains(&child) {
            // One that lives is left alone; one that is gone is what was wanted.
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}

fn children() -> Vec<u32> {
    let own = std::process::id();
    match std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")) {
        Ok(list) => list.split_ascii_whitespace().flat_map(str::parse).collect(),
        // A kernel without that file: ask every process for its parent.
        Err(_) => procfs::children(own),
    }
}
