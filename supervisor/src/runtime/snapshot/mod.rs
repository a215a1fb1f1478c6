//! The runtime as its successor finds it: every descriptor by its number, everything else in plain
//! values. The core writes itself.
//!
//! Written before anything is done that the core has decided, and again when it is done; a worker
//! goes on to its exec, and a socket begins to listen, only when the state knows it.
//!
//! Not in it, because the world can be asked again or nobody misses it: connections that were
//! accepted or are on their way to a worker (`runtime/foundlings.rs` finds them), messages between
//! workers, half a line of output, what a drain has seen so far.

pub(super) mod clients;
pub(super) mod listeners;
pub(super) mod pieces;
pub(super) mod restore;
pub(super) mod upgrade;
pub(super) mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use config::spec::AppSpec;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::clients::ClientsSnapshot;
use self::listeners::ListenersSnapshot;
pub(super) use self::pieces::Children;
pub(super) use self::restore::{Settling, restore};
use self::upgrade::Upgrading;
use self::worker::ChildSnapshot;
use super::Runtime;
use super::bus::resume::BusSnapshot;
use super::output::console::LogFormat;
use super::service_manager::fdstore::FdStore;
use crate::base::ids::{ListenerId, SocketId};
use crate::base::time::Time;
use crate::primary::Primary;
use crate::sys::clock;
use crate::sys::held::Held;

/// After so many times what a writing took, the next may come.
const RESTS: u32 = 10;
/// But it need not wait longer.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Snapshot<Core, Child> {
    core: Core,
    echo: Option<LogFormat>,
    lock: Held,
    clients: ClientsSnapshot,
    /// Everything that the core wanted by then was done.
    carried_out: bool,
    started: Time,
    tickets: u64,
    next_hand_off: u64,
    node_places: BTreeMap<String, ListenerId>,
    notes: BTreeSet<String>,
    orphans: Vec<(ListenerId, SocketId)>,
    /// Those of the workers, each once.
    specs: Vec<AppSpec>,
    children: Vec<Child>,
    listeners: ListenersSnapshot,
    /// What the service manager keeps.
    #[serde(default)]
    store: FdStore,
    /// How many primaries died before.
    #[serde(default)]
    deaths: u32,
    /// Another build is about to go on.
    #[serde(default)]
    upgrading: Option<Upgrading>,
    /// Who is on the bus.
    #[serde(default)]
    bus: BusSnapshot,
}

/// Whether this build could go on from a state; else why not.
pub(crate) fn check_state(bytes: &[u8]) -> Result<(), String> {
    let copy = crate::snapshot::decode(bytes).map_err(|broken| broken.to_string())?;
    let snapshot: Snapshot<Box<RawValue>, ChildSnapshot> =
        serde_json::from_str(&copy.content).map_err(|error| error.to_string())?;
    Primary::restore(snapshot.core.get()).map(drop).map_err(|error| error.to_string())
}

/// Specs by their place in a list.
#[derive(Debug, Default)]
struct Specs(Vec<Arc<AppSpec>>);

impl Specs {
    fn place(&mut self, spec: &Arc<AppSpec>) -> usize {
        let known = self.0.iter().position(|known| Arc::ptr_eq(known, spec) || known == spec);
        known.unwrap_or_else(|| {
            self.0.push(Arc::clone(spec));
            self.0.len() - 1
        })
    }
}

/// What was written last.
#[derive(Debug, Default)]
pub(super) struct Written {
    number: u64,
    /// Of the content, which may be large.
    sum: Option<u64>,
}

impl Written {
    /// For one that goes on where another ended.
    pub(super) fn after(number: u64) -> Self {
        Self { number, sum: None }
    }
}

impl Runtime {
    /// Writes the state, if it is not what was written last. From then on a successor goes on from
    /// here. Whether that is so.
    pub(super) fn write_snapshot(&mut self) -> bool {
        self.stale = false;
        let began = clock::now();
        let written = self.snapshot_text().map_err(std::io::Error::from).and_then(|content| {
            let sum = Some(crate::snapshot::checksum(b"", content.as_bytes()));
            if sum == self.written.sum {
                return Ok(());
            }
            let number = self.written.number + 1;
            self.keeper.memory().write(number, &content)?;
            self.written = Written { number, sum };
            Ok(())
        });
        let ended = clock::now();
        self.snapshot_after = ended + (ended.since(began) * RESTS).min(LONGEST_REST);
        let Err(error) = written else { return true };
        // Too large is not made smaller by another attempt; short of memory may be over by then.
        self.stale |= error.kind() != std::io::ErrorKind::FileTooLarge;
        self.note(format!("cannot write the state for the case that this primary dies: {error}"));
        false
    }

    fn snapshot_text(&mut self) -> serde_json::Result<String> {
        let bus = self.snapshot_bus();
        let core = self.core.snapshot()?;
        let (children, specs) = self.children.snapshot()?;
        serde_json::to_string(&Snapshot {
            core,
            echo: self.console_format,
            lock: Held::of(self.lock.as_fd()),
            clients: self.clients.snapshot(),
            carried_out: self.carried_out,
            started: self.started,
            tickets: self.tickets,
            next_hand_off: self.next_hand_off,
            node_places: self.node_places.clone(),
            notes: self.notes.clone(),
            orphans: self.orphans.places().collect(),
            specs: specs.0.iter().map(|spec| AppSpec::clone(spec)).collect(),
            children,
            listeners: ListenersSnapshot::of(&self.listeners),
            store: self.store.clone(),
            deaths: self.deaths,
            upgrading: self.upgrading.clone(),
            bus,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type State = Snapshot<Box<RawValue>, ChildSnapshot>;

    /// A Node app in the primary engine after a reload, as format 1 has it. Every later version
    /// must be able to go on from it.
    const GOLDEN: &[u8] = include_bytes!("golden/state-1");

    #[test]
    fn the_golden_state_can_be_gone_on_from() {
        assert_eq!(check_state(GOLDEN), Ok(()));
        let copy = crate::snapshot::decode(GOLDEN).unwrap();
        let snapshot: State = serde_json::from_str(&copy.content).unwrap();
        assert_eq!((snapshot.children.len(), snapshot.specs.len(), snapshot.deaths), (2, 1, 0));
        assert_eq!(snapshot.specs[0].command, ["node", "server.js"]);
        assert!(snapshot.carried_out && snapshot.echo.is_none() && snapshot.upgrading.is_none());
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let copy = crate::snapshot::decode(GOLDEN).unwrap();
        let mut state: serde_json::Value = serde_json::from_str(&copy.content).unwrap();
        state["colour"] = "blue".into();
        state["children"][0]["colour"] = "blue".into();
        assert!(serde_json::from_value::<State>(state).is_ok());
    }

    #[test]
    fn what_is_no_state_is_refused_with_its_reason() {
        assert_eq!(check_state(b"").unwrap_err(), "it is empty");
        assert_eq!(check_state(&GOLDEN[..99]).unwrap_err(), "it is not whole");
        let newer = check_state(b"supervisor 2 9.9.9 8 2 0000000000000000\n{}").unwrap_err();
        assert!(newer.starts_with("it has format 2, written by supervisor 9.9.9"), "{newer}");
    }
}
