//! The numbers by which PM2 calls workers. The supervisor has none, so this file keeps them: a
//! worker has its number as long as its app has its slot.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use ipc::control::AppStatus;
use serde::{Deserialize, Serialize};

use crate::cli::exit::Failure;
use crate::cli::files::atomic_file;
use crate::home::Home;

/// The numbers that are taken.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ids {
    next: u32,
    known: Vec<Known>,
    /// Apps that `start -f` started beside one of their name, and that name: PM2 calls both by it.
    #[serde(default)]
    copies: BTreeMap<String, String>,
    /// Apps whose options for the interpreter `--node-args=null` removed: PM2's lists then lack
    /// them, where they are otherwise empty.
    #[serde(default)]
    without_node_args: BTreeSet<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    id: u32,
    app: String,
    slot: u16,
    /// Restarts that `reset` forgot.
    #[serde(default)]
    forgotten: u64,
}

impl Ids {
    /// Reads the numbers, gives each slot of `apps` that has none the next one, and takes those of
    /// slots that are gone. Writes what changed.
    pub(super) fn of(home: &Home, apps: &[AppStatus]) -> Result<Self, Failure> {
        let path = home.pm2_ids();
        let mut ids = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::default(),
            Err(error) => {
                return Err(Failure::io(format_args!("cannot read {}", path.display()), &error));
            }
        };
        if ids.take(apps) {
            ids.write(home)?;
        }
        Ok(ids)
    }

    /// Writes the numbers.
    pub(super) fn write(&self, home: &Home) -> Result<(), Failure> {
        home.prepare()?;
        let path = home.pm2_ids();
        let bytes = serde_json::to_vec(self)
            .map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?;
        atomic_file::replace(&path, &bytes, 0o600, || Ok(()))
            .map_err(|error| Failure::io(format_args!("cannot write {}", path.display()), &error))
    }

    /// Whether anything changed.
    fn take(&mut self, apps: &[AppStatus]) -> bool {
        let slots = |app: &'_ AppStatus| -> Vec<u16> {
            app.workers.iter().map(|worker| worker.slot).collect()
        };
        let is_there = |known: &Known| {
            apps.iter().any(|app| app.name == known.app && slots(app).contains(&known.slot))
        };
        let before = self.known.len();
        self.known.retain(is_there);
        let mut changed = self.known.len() != before;
        let copies = self.copies.len();
        self.copies.retain(|copy, _| apps.iter().any(|app| app.name == *copy));
        changed |= self.copies.len() != copies;
        let without = self.without_node_args.len();
        self.without_node_args.retain(|name| apps.iter().any(|app| app.name == *name));
        changed |= self.without_node_args.len() != without;
        if self.known.is_empty() {
            // PM2 begins anew as well when its list is empty.
            changed |= self.next != 0;
            self.next = 0;
        }
        for app in apps {
            for slot in slots(app) {
                if self.find(&app.name, slot).is_none() {
                    let (id, app) = (self.next, app.name.clone());
                    self.known.push(Known { id, app, slot, forgotten: 0 });
                    self.next += 1;
                    changed = true;
                }
            }
        }
        changed
    }

    fn find(&self, app: &str, slot: u16) -> Option<&Known> {
        self.known.iter().find(|known| known.app == app && known.slot == slot)
    }

    /// The number of a slot.
    pub(super) fn id(&self, app: &str, slot: u16) -> u32 {
        self.find(app, slot).map_or(self.next, |known| known.id)
    }

    /// The app and the slot with this number.
    pub(super) fn with_id(&self, id: u32) -> Option<(&str, u16)> {
        let known = self.known.iter().find(|known| known.id == id)?;
        Some((&known.app, known.slot))
    }

    /// What PM2 calls the app.
    pub(super) fn name<'n>(&'n self, app: &'n str) -> &'n str {
        self.copies.get(app).map_or(app, String::as_str)
    }

    /// Notes that `copy` is another app of this name.
    pub(super) fn call(&mut self, copy: &str, name: &str) {
        self.copies.insert(copy.to_owned(), name.to_owned());
    }

    /// Whether the lists have the options for the interpreter of this app.
    pub(super) fn has_node_args(&self, app: &str) -> bool {
        !self.without_node_args.contains(app)
    }

    /// Notes whether the lists have them from now on.
    pub(super) fn show_node_args(&mut self, app: &str, are_shown: bool) {
        match are_shown {
            true => self.without_node_args.remove(app),
            false => self.without_node_args.insert(app.to_owned()),
        };
    }

    /// How many of the restarts `reset` forgot.
    pub(super) fn forgotten(&self, app: &str, slot: u16) -> u64 {
        self.find(app, slot).map_or(0, |known| known.forgotten)
    }

    /// Forgets these restarts of a slot.
    pub(super) fn forget(&mut self, app: &str, slot: u16, restarts: u64) {
        let mut all = self.known.iter_mut();
        if let Some(known) = all.find(|known| known.app == app && known.slot == slot) {
            known.forgotten = restarts;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::targets::fake_primary as fake;
    use ipc::control::{Status, WorkerStatus};

    fn app(name: &str, slots: u16) -> AppStatus {
        let mut app = fake::status(name, Status::Ready);
        let worker = app.workers[0].clone();
        app.workers = (0..slots).map(|slot| WorkerStatus { slot, ..worker.clone() }).collect();
        app
    }

    #[test]
    fn a_slot_keeps_its_number_until_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        Ids::of(&home, &[app("web", 2)]).unwrap();
        let ids = Ids::of(&home, &[app("api", 1), app("web", 2)]).unwrap();
        assert_eq!((ids.id("web", 0), ids.id("web", 1), ids.id("api", 0)), (0, 1, 2));
        assert_eq!(ids.with_id(2), Some(("api", 0)));
        let ids = Ids::of(&home, &[app("api", 1)]).unwrap();
        assert_eq!((ids.with_id(1), ids.id("api", 0)), (None, 2));
        let ids = Ids::of(&home, &[app("api", 1), app("web", 1)]).unwrap();
        assert_eq!(ids.id("web", 0), 3, "a number is not given twice");
        Ids::of(&home, &[]).unwrap();
        assert_eq!(Ids::of(&home, &[app("x", 1)]).unwrap().id("x", 0), 0);
    }

    #[test]
    fn restarts_are_forgotten_by_slot() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        let mut ids = Ids::of(&home, &[app("web", 2)]).unwrap();
        ids.forget("web", 1, 7);
        ids.write(&home).unwrap();
        let ids = Ids::of(&home, &[app("web", 2)]).unwrap();
        assert_eq!((ids.forgotten("web", 0), ids.forgotten("web", 1)), (0, 7));
    }
}
