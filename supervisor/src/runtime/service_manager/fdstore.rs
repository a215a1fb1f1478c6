//! The listeners' sockets in the service manager's store of descriptors (sd_notify(3), FDSTORE):
//! it gives them back when it starts us again, with everything that waited in them meanwhile. Even
//! the keeper's death refuses nobody then.
//!
//! Each is stored under a name that says its place in its group, `supervisor-INDEX-INODE`: they
//! come back as the group they are.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;

use crate::runtime::Runtime;
use crate::runtime::listeners::Listeners;

/// How the names begin.
const PREFIX: &str = "supervisor-";

/// What the manager keeps, by inode.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(in crate::runtime) struct FdStore(BTreeMap<u64, String>);

impl FdStore {
    /// It gave us this back, and keeps a copy.
    pub(in crate::runtime) fn knows(&mut self, inode: u64, name: String) {
        self.0.insert(inode, name);
    }
}

/// The place in its group that a name says; `None`: it is not one of ours.
pub(in crate::runtime) fn index_of(name: &str) -> Option<u32> {
    let (index, inode) = name.strip_prefix(PREFIX)?.split_once('-')?;
    inode.parse::<u64>().ok()?;
    index.parse().ok()
}

fn name_of(index: u32, inode: u64) -> String {
    format!("{PREFIX}{index}-{inode}")
}

impl Runtime {
    /// Gives the manager what listens now, and has it forget what does not any more; but not when
    /// we are about to end: then it keeps the sockets for our next start, if there is to be one.
    pub(in crate::runtime) fn keep_store(&mut self) {
        let Some(manager) = self.manager.as_mut().filter(|manager| manager.keeps_store()) else {
            return;
        };
        let open = listening(&self.listeners);
        let news = |inode: &&u64| !self.store.0.contains_key(inode);
        let new: Vec<u64> = open.keys().filter(news).copied().collect();
        for inode in new {
            let (index, fd) = open[&inode];
            let name = name_of(index, inode);
            let words = format!("FDSTORE=1\nFDNAME={name}");
            match self.keeper.tell(&words, Some(fd)) {
                Ok(()) => {
                    self.store.0.insert(inode, name);
                    self.writer.stale = true;
                }
                Err(error) => return manager.failed(&error),
            }
        }
        if self.core.is_ending() {
            return;
        }
        let open: BTreeSet<u64> = open.into_keys().collect();
        if manager.is_up() {
            // What nobody has asked for by now is served no more.
            self.listeners.lent.drop_kept();
        }
        let waiting = self.listeners.lent.inodes();
        let is_gone =
            |inode: &u64, _: &mut String| !open.contains(inode) && !waiting.contains(inode);
        let gone = self.store.0.extract_if(.., is_gone);
        for (_, name) in gone {
            manager.forget(&name);
            self.writer.stale = true;
        }
    }
}

/// Every listening socket that is ours, with its place in its group.
fn listening(listeners: &Listeners) -> BTreeMap<u64, (u32, BorrowedFd<'_>)> {
    let all = listeners.iter().flat_map(|listener| listener.listening_now());
    all.map(|(index, inode, fd)| (inode, (index, fd))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_the_place() {
        assert_eq!(index_of(&name_of(7, 123_456)), Some(7));
        for other in ["web", "supervisor-", "supervisor-x-1", "supervisor-1", "supervisor-1-x"] {
            assert_eq!(index_of(other), None, "{other}");
        }
    }
}
