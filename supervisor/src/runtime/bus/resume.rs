//! The bus over the death of a primary. Who joins is in the state before it is told so; a
//! successor finds the beginning of the next message on each channel, and tells the workers what
//! is lost.
//!
//! Refuses to go on with a channel on which half a message to the worker may stand: what came
//! behind it would be read as its other half.

use std::os::fd::AsFd;

use ipc::bus::FromWorker;
use ipc::bus::decode::Decoder;
use ipc::control::Contract;
use serde::{Deserialize, Serialize};

use crate::base::ids::{Generation, WorkerId};
use crate::policy::shared_values::{SharedValues, SharedValuesSnapshot, Version};
use crate::relay::{Event, Relay, RelaySnapshot};
use crate::runtime::Runtime;
use crate::runtime::workers::Child;
use crate::sys::channel;
use crate::sys::clock;
use crate::sys::held::Held;

/// What a successor needs of the bus.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::runtime) struct BusSnapshot {
    relay: RelaySnapshot,
    tickets: u64,
    reloads_done: u64,
    reloads_rolled_back: u64,
    /// The shared values: those that hold, …
    given: Option<String>,
    /// … their version, …
    version: u64,
    /// … those that a reload brings, …
    coming: Option<(Generation, Version)>,
    /// … the highest version there was, …
    versions: u64,
    /// … and what the workers said to which version.
    heard: Vec<(WorkerId, u64, Option<String>)>,
    /// The file that says how many messages wait.
    pub(in crate::runtime) ledger: Option<Held>,
}

impl BusSnapshot {
    /// Takes the shared values out. The state of an older build has the same fields.
    fn shared_values(&mut self) -> SharedValuesSnapshot {
        SharedValuesSnapshot {
            serving: self.given.take(),
            version: self.version,
            coming: self.coming.take(),
            newest: self.versions,
            responses: std::mem::take(&mut self.heard),
        }
    }
}

impl Runtime {
    /// The first message of a worker, which is left in its channel until its consequences are in
    /// the state: its answer is awaited, and is given once. `false`: there is no whole one.
    pub(in crate::runtime) fn hear_hello(&mut self, worker: WorkerId) -> bool {
        let Some(channel) = self.children.get_mut(&worker).and_then(Child::bus_mut) else {
            return false;
        };
        let Some(count) = channel::peek(channel.fd(), &mut self.bus.bytes) else { return false };
        let mut decoder = Decoder::<FromWorker>::default();
        decoder.push(&self.bus.bytes[..count]);
        if !matches!(decoder.next_message(), Ok(Some(_))) {
            return false;
        }
        let looked_at = count - decoder.held();
        channel.decoder.push(&self.bus.bytes[..looked_at]);
        self.hear_bus(worker);
        self.write_snapshot();
        let Some(child) = self.children.get_mut(&worker) else { return true };
        let Some(channel) = child.bus_mut() else { return true };
        channel::skip(channel.stream.as_fd(), looked_at, &mut self.bus.bytes);
        true
    }

    pub(in crate::runtime) fn snapshot_bus(&mut self) -> BusSnapshot {
        let shared = self.bus.shared.policy.snapshot();
        BusSnapshot {
            relay: self.bus.relay.snapshot(),
            tickets: self.bus.tickets,
            reloads_done: self.bus.reloads_done,
            reloads_rolled_back: self.bus.reloads_rolled_back,
            ledger: self.bus.loss_journal.held(),
            given: shared.serving,
            version: shared.version,
            coming: shared.coming,
            versions: shared.newest,
            heard: shared.responses,
        }
    }

    pub(in crate::runtime) fn restore_bus(&mut self, mut snapshot: BusSnapshot) {
        let lives = |worker| self.children.contains_key(&worker);
        self.bus.shared.policy = SharedValues::restore(snapshot.shared_values(), lives);
        let values = self.bus.shared.for_relay();
        let app = self.core.spec().name.clone();
        self.bus.relay = Relay::restore(app, snapshot.relay, values, clock::now());
        self.bus.tickets = snapshot.tickets;
        self.bus.reloads_done = snapshot.reloads_done;
        self.bus.reloads_rolled_back = snapshot.reloads_rolled_back;
    }

    /// A worker of a predecessor: it goes on where it was on the bus, or its channel ends.
    pub(in crate::runtime) fn rejoin_bus(&mut self, worker: WorkerId) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        let codec = self.bus.relay.codec(worker);
        let (joined, there) = (child.contracts.contains(&Contract::Native), codec.is_some());
        let Some(channel) = child.bus_mut() else {
            if there {
                self.bus.step(Event::Left { worker });
            }
            return;
        };
        match codec {
            Some(_) if self.bus.loss_journal.is_half_written(worker) => {
                let why = "the primary died in the middle of a message to it, for which its channel had no room";
                self.close_bus(worker, Some(why.to_owned()));
            }
            Some(codec) => channel.decoder = Decoder::resuming(codec),
            None if joined => {
                let why = "the primary before did not write down who is on the bus";
                self.close_bus(worker, Some(why.to_owned()));
            }
            None => self.join_bus(worker),
        }
    }

    /// All workers that rejoined are told.
    pub(in crate::runtime) fn resume_on_bus(&mut self) {
        let known: Vec<WorkerId> = self.bus.relay.members().map(|member| member.worker).collect();
        for worker in known {
            if !self.children.contains_key(&worker) {
                self.bus.step(Event::Left { worker });
            }
        }
        let mut actions = Vec::new();
        let applied = |worker| self.bus.shared.policy.responded(worker);
        self.bus.relay.resume(applied, &mut actions);
        self.bus.actions.extend(actions);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_shared_values_of_an_older_build_are_read_and_written_in_its_form() {
        let written = json!({
            "given": r#"{"limits":{"connections":9}}"#, "version": 3,
            "coming": [2, {"version": 4, "values": null}], "versions": 7,
            "heard": [[1, 3, "too high"], [2, 4, null]],
        });
        let mut snapshot: BusSnapshot = serde_json::from_value(written.clone()).unwrap();
        let again = serde_json::to_value(&snapshot).unwrap();
        let fields = written.as_object().unwrap().keys();
        let same = |field: &String| (again[field] == written[field]).then_some(());
        assert_eq!(fields.map(same).collect::<Option<Vec<()>>>().map(|all| all.len()), Some(5));

        let shared = SharedValues::restore(snapshot.shared_values(), |_| true);
        let versions = shared.versions();
        assert_eq!((versions.serving.number(), versions.of(Generation(2)).number()), (3, 4));
        assert_eq!(versions.serving.limits().connections, Some(9));
        assert_eq!(
            [1, 2, 3].map(|worker| shared.responded(WorkerId(worker))),
            [Some(3), Some(4), None]
        );
        let kept = shared.snapshot();
        assert_eq!((kept.newest, kept.responses.len()), (7, 2));
        assert_eq!(kept.serving.map(Value::from), Some(written["given"].clone()));
    }
}
