//! The listeners' sockets in the service manager's store of descriptors (sd_notify(3), FDSTORE):
//! it gives them back when it starts us again, with everything that waited in them meanwhile. Even
//! the keeper's death refuses nobody then.
//!
//! Each is stored under a name that says its place in its group, `supervisor-INDEX-INODE`: they
//! come back as the group they are.

use std::collections::BTreeMap;

/// How the names begin.
const PREFIX: &str = "supervisor-";

/// What the manager keeps, by inode.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(in crate::runtime) struct FdStore(pub(super) BTreeMap<u64, String>);

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

/// The name of a socket that has this place in its group.
pub(super) fn name_of(index: u32, inode: u64) -> String {
    format!("{PREFIX}{index}-{inode}")
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
