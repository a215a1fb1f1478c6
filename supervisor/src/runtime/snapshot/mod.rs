//! The runtime as its successor finds it: every descriptor by its number, everything else in plain
//! values. The core writes itself.
//!
//! Written before anything is done that the core has decided, and again when it is done; a worker
//! goes on to its exec, and a socket begins to listen, only when the state knows it.
//!
//! Not in it, because the world can be asked again or nobody misses it: connections that were
//! accepted or are on their way to a worker (`handover/reclaimed_connections.rs` finds them),
//! messages between workers, half a line of output, what a drain has seen so far.

pub(super) mod clients;
pub(super) mod listeners;
pub(super) mod pieces;
pub(super) mod restore;
mod specs;
pub(super) mod succession;
pub(super) mod upgrade;
pub(super) mod worker;
pub(super) mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd;

use config::spec::AppSpec;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::clients::ClientsSnapshot;
use self::listeners::ListenersSnapshot;
pub(super) use self::restore::restore;
use self::upgrade::Upgrading;
use self::worker::ChildSnapshot;
use super::Runtime;
use super::bus::resume::BusSnapshot;
use super::output::console::LogFormat;
use super::service_manager::fdstore::FdStore;
use crate::base::ids::{ListenerId, SocketId};
use crate::base::time::Time;
use crate::primary::Primary;
use crate::sys::accounts::{self, Accounts};
use crate::sys::clock;
use crate::sys::held::Held;

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
    /// `started` in milliseconds since 1970. Absent: the build that wrote this did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_unix_ms: Option<u64>,
    tickets: u64,
    next_hand_off: u64,
    node_places: BTreeMap<String, ListenerId>,
    notes: BTreeSet<String>,
    #[serde(rename = "orphans")]
    abandoned: Vec<(ListenerId, SocketId)>,
    /// The users and groups that were looked up.
    #[serde(default)]
    accounts: Option<Accounts>,
    /// Those of the workers, each once.
    specs: Vec<AppSpec>,
    children: Vec<Child>,
    listeners: ListenersSnapshot,
    /// The file that is locked by the leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<Held>,
    /// What the service manager keeps.
    #[serde(default)]
    store: FdStore,
    /// How many primaries died before.
    #[serde(default)]
    deaths: u32,
    /// Another build is about to take over.
    #[serde(default)]
    upgrading: Option<Upgrading>,
    /// The workers on the bus.
    #[serde(default)]
    bus: BusSnapshot,
    /// Up to when all changes of watched files have led to a reload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files_done_until: Option<u64>,
}

/// Whether this build could go on from a state; else why not.
pub(crate) fn check_state(bytes: &[u8]) -> Result<(), String> {
    let copy = crate::snapshot::decode(bytes).map_err(|broken| broken.to_string())?;
    let snapshot: Snapshot<Box<RawValue>, ChildSnapshot> =
        serde_json::from_str(&copy.content).map_err(|error| error.to_string())?;
    Primary::restore(snapshot.core.get()).map(drop).map_err(|error| error.to_string())
}

impl Runtime {
    /// Writes the state, if it is not what was written last. From then on a successor goes on from
    /// here. Whether that is so.
    pub(super) fn write_snapshot(&mut self) -> bool {
        self.succession.writer.stale = false;
        self.clients.recorded = self.clients.next;
        let began = clock::now();
        let content = self.snapshot_text().map_err(io::Error::from);
        let memory = self.keeper.memory();
        let written = content.and_then(|content| self.succession.writer.write(memory, &content));
        let written = self.succession.writer.wrote(written, began, clock::now());
        let is_written = written.is_ok();
        if let Err(why) = written {
            self.note(why);
        }
        is_written
    }

    fn snapshot_text(&mut self) -> serde_json::Result<String> {
        let bus = self.bus.snapshot();
        let core = self.core.snapshot()?;
        let tickets = self.children.tickets();
        let (children, specs) = self.children.snapshot()?;
        serde_json::to_string(&Snapshot {
            core,
            echo: self.logs.console.format(),
            lock: Held::of(self.recorder.lock().as_fd()),
            clients: self.clients.snapshot(),
            carried_out: self.succession.writer.carried_out,
            started: self.succession.started,
            started_unix_ms: Some(self.succession.started_unix_ms),
            tickets,
            next_hand_off: self.handover.next(),
            node_places: self.node.places().clone(),
            notes: self.notes.lasting().clone(),
            abandoned: self.handover.abandoned.places().collect(),
            accounts: Some(accounts::known()),
            specs: specs.0.iter().map(|spec| AppSpec::clone(spec)).collect(),
            children,
            listeners: ListenersSnapshot::of(&self.listeners),
            lease: self.lease.held(),
            store: self.manager.store.clone(),
            deaths: self.succession.deaths,
            upgrading: self.succession.upgrade.under_way().cloned(),
            bus,
            files_done_until: self.file_watch.done_until(),
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
