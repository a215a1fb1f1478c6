//! The files that have changed since the last report.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::runtime::WatchReport;

/// Files that a report names.
const NAMED: usize = 20;
/// Characters of a name. Longer ones lose their beginning.
const NAME: usize = 200;

/// See the module.
#[derive(Debug)]
pub(super) struct Seen {
    /// The folder of the app: names begin there.
    folder: PathBuf,
    named: BTreeSet<String>,
    more: u32,
}

impl Seen {
    /// Nothing yet. `folder`: names begin there.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, named: BTreeSet::new(), more: 0 }
    }

    /// Nothing has changed.
    pub(super) fn is_empty(&self) -> bool {
        self.named.is_empty() && self.more == 0
    }

    /// This file has changed.
    pub(super) fn add(&mut self, path: &Path) {
        let name = path.strip_prefix(&self.folder).unwrap_or(path).to_string_lossy();
        let name = match name.char_indices().rev().nth(NAME) {
            Some((at, _)) => format!("...{}", &name[at..]),
            None => name.into_owned(),
        };
        if self.named.len() < NAMED {
            self.named.insert(name);
        } else if !self.named.contains(&name) {
            self.more = self.more.saturating_add(1);
        }
    }

    /// The report of it, with what else the primary is to know.
    pub(super) fn take(
        &mut self,
        folders: u32,
        problem: Option<String>,
        known_until_ms: u64,
    ) -> WatchReport {
        let named = std::mem::take(&mut self.named).into_iter().collect();
        let more = std::mem::take(&mut self.more);
        WatchReport { folders, named, more, problem, known_until_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_in_the_folder_of_the_app_and_are_bounded() {
        let mut seen = Seen::new("/app".into());
        seen.add("/app/lib/a.js".as_ref());
        seen.add("/elsewhere/b.js".as_ref());
        for number in 0..100 {
            seen.add(format!("/app/{number}").as_ref());
        }
        seen.add("/app/lib/a.js".as_ref());
        assert!(!seen.is_empty());
        let report = seen.take(3, None, 7);
        assert!(seen.is_empty());
        assert_eq!((report.named.len(), report.more, report.folders), (NAMED, 82, 3));
        assert!(report.named.contains(&"lib/a.js".to_owned()));
        assert!(report.named.contains(&"/elsewhere/b.js".to_owned()));
        seen.add(format!("/app/{}", "é".repeat(1000)).as_ref());
        assert!(seen.take(3, None, 7).named[0].chars().count() <= NAME + 4);
    }
}
