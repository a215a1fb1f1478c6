//! What inotify reports, gathered by folder until the tree takes it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher};

/// Names that are gathered. Beyond, the tree looks at everything.
const MOST_NAMES: usize = 10_000;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Events {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    changed: Mutex<Changed>,
    has_changed: Condvar,
}

/// What has changed since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// By folder: the names in it.
    pub(super) names: BTreeMap<PathBuf, BTreeSet<OsString>>,
    /// The number of these names.
    count: usize,
    /// Something was lost: the tree must look at everything.
    pub(super) everything: bool,
}

impl Events {
    /// Them, and what they come from.
    pub(super) fn new() -> io::Result<(Self, RecommendedWatcher)> {
        let events = Self::default();
        let to = events.clone();
        let watcher = notify::recommended_watcher(move |event| to.take(event));
        Ok((events, watcher.map_err(io::Error::other)?))
    }

    /// Waits for events, and then for `gather`, so that a burst is one. `None`: nothing came within
    /// `time`.
    pub(super) fn wait(&self, time: Option<Duration>, gather: Duration) -> Option<Changed> {
        let mut changed = self.lock();
        while changed.is_empty() {
            let waited = match time {
                Some(time) => {
                    let waited = self.shared.has_changed.wait_timeout(changed, time);
                    let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    if timeout.timed_out() && guard.is_empty() {
                        return None;
                    }
                    guard
                }
                None => {
                    let waited = self.shared.has_changed.wait(changed);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
            changed = waited;
        }
        let until = Instant::now() + gather;
        while let left = until.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            let waited = self.shared.has_changed.wait_timeout(changed, left);
            changed = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(std::mem::take(&mut *changed))
    }

    fn take(&self, event: notify::Result<notify::Event>) {
        let mut changed = self.lock();
        match event {
            Ok(event) if event.need_rescan() => changed.lose(),
            Ok(event) if is_change(event.kind) => {
                event.paths.into_iter().for_each(|path| changed.add(path));
            }
            Ok(_) => return,
            Err(_) => changed.lose(),
        }
        self.shared.has_changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Changed> {
        self.shared.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reading a file is no change, nor is another mode or owner.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Metadata(_)) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

impl Changed {
    fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.everything
    }

    /// This path has changed.
    pub(super) fn add(&mut self, path: PathBuf) {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return };
        if self.everything {
            return;
        }
        if self.count >= MOST_NAMES {
            return self.lose();
        }
        if self.names.entry(folder.to_owned()).or_default().insert(name.to_owned()) {
            self.count += 1;
        }
    }

    /// Something was lost.
    pub(super) fn lose(&mut self) {
        *self = Self { everything: true, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, DataChange, Event, Flag, MetadataKind};

    fn event(kind: EventKind, path: &str) -> notify::Result<Event> {
        Ok(Event::new(kind).add_path(PathBuf::from(path)))
    }

    #[test]
    fn a_burst_is_gathered_by_folder() {
        let events = Events::default();
        let write = EventKind::Access(AccessKind::Close(AccessMode::Write));
        for (kind, path) in [
            (EventKind::Create(CreateKind::File), "/app/a.js"),
            (EventKind::Modify(ModifyKind::Data(DataChange::Any)), "/app/a.js"),
            (write, "/app/lib/b.js"),
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), "/app/read.js"),
            (EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), "/app/mode.js"),
        ] {
            events.take(event(kind, path));
        }
        let changed = events.wait(None, Duration::ZERO).unwrap();
        let names = |folder: &str| changed.names[&PathBuf::from(folder)].clone();
        assert_eq!((changed.names.len(), changed.everything), (2, false));
        assert_eq!(names("/app"), ["a.js".into()].into());
        assert_eq!(names("/app/lib"), ["b.js".into()].into());
        assert_eq!(events.wait(Some(Duration::ZERO), Duration::ZERO), None);
    }

    #[test]
    fn what_was_lost_means_everything() {
        let events = Events::default();
        let created = EventKind::Create(CreateKind::File);
        for number in 0..=MOST_NAMES {
            events.take(event(created, &format!("/app/{number}")));
        }
        let changed = events.wait(None, Duration::ZERO).unwrap();
        assert!(changed.everything && changed.names.is_empty());
        events.take(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert!(events.wait(None, Duration::ZERO).unwrap().everything);
    }
}
