//! How the bus survives the death of a primary. The snapshot names a worker before the worker hears
//! that it has joined. A successor finds the beginning of the next message on each channel, and
//! tells the workers what was lost.
//!
//! A successor closes a channel that may contain half a message to the worker, because the worker
//! would read the next message as the other half.

use std::os::fd::{AsFd, OwnedFd};

use ipc::bus::FromWorker;
use ipc::bus::decode::Decoder;
use ipc::control::Contract;
use serde::{Deserialize, Serialize};

use super::Bus;
use super::channel::Greeting;
use super::loss_journal::LossJournal;
use crate::base::ids::{Generation, WorkerId};
use crate::policy::shared_values::{SharedValues, SharedValuesSnapshot, Version};
use crate::relay::{Event, Relay, RelaySnapshot, Waiting};
use crate::runtime::context::Context;
use crate::runtime::control::Clients;
use crate::runtime::snapshot::pieces::Children;
use crate::runtime::workers::Child;
use crate::sys::channel;
use crate::sys::clock;
use crate::sys::held::Held;

/// The most workers that a warning names.
const SHOWN: usize = 8;

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

impl Bus {
    /// Hears the first message of a worker; how long it is. `None`: there is no whole one.
    pub(super) fn hear_hello(
        &mut self,
        clients: &mut Clients,
        at: &mut Context<'_>,
        worker: WorkerId,
    ) -> Option<usize> {
        let channel = at.children.get_mut(&worker).and_then(Child::bus_mut)?;
        let count = channel::peek(channel.fd(), &mut self.bytes)?;
        let mut decoder = Decoder::<FromWorker>::default();
        decoder.push(&self.bytes[..count]);
        if !matches!(decoder.next_message(), Ok(Some(_))) {
            return None;
        }
        let looked_at = count - decoder.held();
        channel.decoder.push(&self.bytes[..looked_at]);
        self.hear(clients, at, worker);
        Some(looked_at)
    }

    /// The state knows the worker that joined: its channel is read on.
    pub(in crate::runtime) fn go_on(
        &mut self,
        clients: &mut Clients,
        at: &mut Context<'_>,
        greeting: &Greeting,
    ) -> Option<Greeting> {
        let Greeting { worker, bytes, left } = *greeting;
        let channel = at.children.get_mut(&worker).and_then(Child::bus_mut)?;
        channel::skip(channel.stream.as_fd(), bytes, &mut self.bytes);
        self.read(clients, at, worker, left)
    }

    /// For a successor.
    pub(in crate::runtime) fn snapshot(&mut self) -> BusSnapshot {
        let shared = self.shared.policy.snapshot();
        BusSnapshot {
            relay: self.relay.snapshot(),
            tickets: self.tickets,
            reloads_done: self.reloads_done,
            reloads_rolled_back: self.reloads_rolled_back,
            ledger: self.loss_journal.held(),
            given: shared.serving,
            version: shared.version,
            coming: shared.coming,
            versions: shared.newest,
            heard: shared.responses,
        }
    }

    /// What a predecessor left, of an app of this name.
    pub(in crate::runtime) fn restore(
        &mut self,
        app: String,
        mut snapshot: BusSnapshot,
        children: &Children,
    ) {
        let lives = |worker| children.contains_key(&worker);
        self.shared.policy = SharedValues::restore(snapshot.shared_values(), lives);
        let values = self.shared.for_relay();
        self.relay = Relay::restore(app, snapshot.relay, values, clock::now());
        self.tickets = snapshot.tickets;
        self.reloads_done = snapshot.reloads_done;
        self.reloads_rolled_back = snapshot.reloads_rolled_back;
    }

    /// A worker of a predecessor: it goes on where it was on the bus, or its channel ends.
    pub(in crate::runtime) fn rejoin(&mut self, at: &mut Context<'_>, worker: WorkerId) {
        let Some(child) = at.children.get_mut(&worker) else { return };
        let codec = self.relay.codec(worker);
        let (joined, there) = (child.contracts.contains(&Contract::Native), codec.is_some());
        let Some(channel) = child.bus_mut() else {
            if there {
                self.step(Event::Left { worker });
            }
            return;
        };
        match codec {
            Some(_) if self.loss_journal.is_half_written(worker) => {
                let why = "the primary died in the middle of a message to it, for which its channel had no room";
                self.close(at, worker, Some(why.to_owned()));
            }
            Some(codec) => channel.decoder = Decoder::resuming(codec),
            None if joined => {
                let why = "the primary before did not write down who is on the bus";
                self.close(at, worker, Some(why.to_owned()));
            }
            None => self.join(at.children, worker),
        }
    }

    /// All workers that rejoined are told.
    pub(in crate::runtime) fn resume(&mut self, children: &Children) {
        let known: Vec<WorkerId> = self.relay.members().map(|member| member.worker).collect();
        for worker in known {
            if !children.contains_key(&worker) {
                self.step(Event::Left { worker });
            }
        }
        let mut actions = Vec::new();
        let applied = |worker| self.shared.policy.responded(worker);
        self.relay.resume(applied, &mut actions);
        self.actions.extend(actions);
    }

    /// Goes on with what a predecessor wrote down: what waited there is lost, and counted.
    pub(in crate::runtime) fn take_loss_journal(
        &mut self,
        at: &mut Context<'_>,
        fd: Option<OwnedFd>,
    ) {
        let Some(fd) = fd else { return };
        let (ledger, waited) = LossJournal::found(fd);
        self.loss_journal = ledger;
        for (worker, waiting) in waited {
            self.relay.lost_with_primary(worker, waiting);
            if waiting.waiting > 0 {
                self.loss_journal.lost.push((worker, waiting.waiting));
            }
            if self.relay.codec(worker).is_some() {
                let half_written = waiting.half_written;
                let waiting = Waiting { half_written, ..self.relay.waiting(worker) };
                self.write_down(at, worker, waiting);
            } else {
                self.loss_journal.forget(worker);
            }
        }
    }

    /// Tells people what was lost.
    pub(in crate::runtime) fn say_what_was_lost(&mut self, at: &mut Context<'_>) {
        let lost = std::mem::take(&mut self.loss_journal.lost);
        if lost.is_empty() {
            return;
        }
        let all: u64 = lost.iter().map(|(_, count)| count).sum();
        let name = |worker: &WorkerId| match at.children.get(worker) {
            Some(child) => format!("slot {} (worker {worker})", child.slot),
            None => format!("worker {worker}"),
        };
        let few: Vec<String> =
            lost.iter().take(SHOWN).map(|(id, count)| format!("{}: {count}", name(id))).collect();
        let more = if lost.len() > few.len() { ", and others" } else { "" };
        at.warn(format!(
            "lost with the primary before, as they waited there: {all} messages (for {}{more})",
            few.join(", ")
        ));
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
