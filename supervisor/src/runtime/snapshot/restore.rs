//! A primary goes on where its predecessor died: it claims what the state names, closes the rest,
//! and looks what became of the world meanwhile.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use config::spec::AppSpec;
use serde_json::value::RawValue;

use super::worker::ChildSnapshot;
use crate::base::ids::{ListenerId, WorkerId};
use crate::base::time::Time;
use crate::home::Home;
use crate::keeper::{Birth, Link, SharedFds};
use crate::primary::Primary;
use crate::primary::event::{Cue, Event};
use crate::primary::resume::Facts;
use crate::runtime::handover::abandoned_sockets::AbandonedSockets;
use crate::runtime::handover::reclaimed_connections::ReclaimedConnections;
use crate::runtime::snapshot::{Children, Snapshot, Written};
use crate::runtime::source::Source;
use crate::runtime::start::{Parts, undone};
use crate::runtime::workers::{Asking, Child};
use crate::runtime::{LaunchError, Runtime};
use crate::snapshot::{Copy, NUMBERS_LEFT_OUT};
use crate::sys::held::Claims;
use crate::sys::{clock, pidfd, signals};

/// The runtime that a state describes. To be called before this process has opened anything. On an
/// error all descriptors are as they were, for another build.
pub(in crate::runtime) fn restore(
    copy: Copy,
    home: &Home,
    ground: &'static SharedFds,
    birth: Birth,
) -> Result<Runtime, LaunchError> {
    let unreadable = |why: String| undone("go on with the state", io::Error::other(why));
    let snapshot: Snapshot<Box<RawValue>, ChildSnapshot> =
        serde_json::from_str(&copy.content).map_err(|error| unreadable(error.to_string()))?;
    let core =
        Primary::restore(snapshot.core.get()).map_err(|error| unreadable(error.to_string()))?;
    let mut claims = Claims::new(ground.fds());
    let failed = |what: &'static str| move |error| undone(what, error);
    let lock = claims.claim(snapshot.lock).map(File::from).map_err(failed("find the lock"))?;
    let socket = home.socket(&core.spec().name).map_err(|error| unreadable(error.to_string()))?;
    let clients =
        snapshot.clients.restore(&mut claims, socket).map_err(failed("find the control socket"))?;
    let (listeners, mut complaints) = snapshot.listeners.restore(&mut claims);
    let specs: Vec<Arc<AppSpec>> = snapshot.specs.into_iter().map(Arc::new).collect();
    let mut children = BTreeMap::new();
    for child in snapshot.children {
        match child.restore(&specs, &mut claims) {
            Ok(child) => drop(children.insert(child.id, child)),
            Err(error) => complaints.push(format!("a worker was lost: {error}")),
        }
    }
    let foundlings = ReclaimedConnections::find(&mut claims, &listeners, &snapshot.orphans)
        .map_err(failed("look for connections"))?;
    // Without it nothing is known to be lost.
    let ledger = snapshot.bus.ledger.and_then(|held| claims.claim(held).ok());
    claims.close_others().map_err(failed("close what is left"))?;

    let keeper = Link::new(ground).map_err(failed("watch the keeper"))?;
    let parts = Parts { core, lock, keeper, clients, console_format: snapshot.echo };
    let (mut runtime, opened) = Runtime::new(parts, home)?;
    if let Err(error) = opened {
        complaints.push(format!("cannot write the log files: {error}"));
    }
    runtime.deaths = snapshot.deaths + u32::from(snapshot.upgrading.is_none());
    runtime.upgrading = snapshot.upgrading;
    runtime.store = snapshot.store;
    runtime.written = Written::after(copy.number);
    runtime.children = Children::of(children);
    runtime.listeners = listeners;
    runtime.started = snapshot.started;
    runtime.tickets = snapshot.tickets;
    runtime.node_places = snapshot.node_places;
    runtime.next_hand_off = snapshot.next_hand_off.saturating_add(NUMBERS_LEFT_OUT);
    runtime.orphans = AbandonedSockets::of(snapshot.orphans);
    runtime.foundlings = foundlings;
    runtime.notes = snapshot.notes;
    runtime.restore_bus(snapshot.bus);
    runtime.take_loss_journal(ledger);
    runtime.take_over(snapshot.carried_out);
    signals::unblock().map_err(failed("watch the signals"))?;
    match runtime.upgrading {
        Some(_) => {
            runtime.report_upgrade(
                birth.not_replaced.map(io::Error::from_raw_os_error),
                birth.fell_back,
            );
        }
        None if birth.fell_back => runtime.warn(
            "the build that had taken over could not go on; the one before it does".to_owned(),
        ),
        None => runtime.say_what_happened(birth),
    }
    runtime.say_what_was_lost();
    complaints.into_iter().for_each(|complaint| runtime.note(complaint));
    Ok(runtime)
}

/// When it is looked whether workers have read their channels.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Settling {
    /// Next.
    pub(in crate::runtime) due: Option<Time>,
    /// Since the look before.
    pause: Option<Duration>,
}

impl Runtime {
    /// Everything that a predecessor may have left half done.
    fn take_over(&mut self, carried_out: bool) {
        let now = clock::now();
        self.watch_children();
        if self.console_format.is_some() {
            self.find_manager(self.core.has_started());
        }
        let facts = Facts {
            listeners: self.listeners.iter().map(|open| open.opened()).collect(),
            workers: self.children.keys().copied().collect(),
            clients: self.clients.ids(),
            carried_out,
        };
        let mut actions = Vec::new();
        self.core.resume(now, facts, &mut actions);
        self.watch_clients();
        self.ask_again();
        self.take_calls_again();
        while let Some(event) = self.inbox.pop_front() {
            self.core.step(now, event, &mut actions);
        }
        self.core.step(now, Event::Turn, &mut actions);
        self.core_due = self.core.deadline();
        self.first = actions;
        self.settling.due = Some(now);
        self.resume_on_bus();
    }

    /// Whoever still waits for an answer is heard again.
    fn watch_clients(&mut self) {
        let mut awaited = self.core.awaited();
        awaited.extend(self.awaits_upgrade());
        self.clients.keep(&awaited);
        for client in self.clients.ids() {
            let Some(stream) = self.clients.stream(client) else { continue };
            if let Err(error) = self.poller.add(stream, Source::Client(client).token()) {
                self.clients.drop_client(client);
                self.warn(format!("cannot serve a control connection: {error}"));
            }
        }
    }

    /// The keeper is told of every worker, and the poller of every descriptor.
    fn watch_children(&mut self) {
        for worker in self.children.keys().copied().collect::<Vec<_>>() {
            let Some(child) = self.children.get_mut(&worker) else { continue };
            if let Err(error) = self.keeper.own(child.pid) {
                let pid = child.pid;
                // Nobody could tell how it ended.
                let _ = pidfd::signal_group(pid, libc::SIGKILL);
                self.warn(format!("cannot keep worker {pid}: {error}"));
            }
            let Some(child) = self.children.get_mut(&worker) else { continue };
            if child.ended.is_some() {
                self.lingering.insert(worker);
            }
            let sources = child.sources().into_iter();
            let watched = sources
                .filter(|(_, source)| child.ended.is_none() || *source != Source::Process(worker))
                .try_for_each(|(fd, source)| self.poller.add(fd, source.token()));
            if let Err(error) = watched {
                // Without its pidfd in the poller its end would never be seen.
                let _ = pidfd::signal_group(child.pid, libc::SIGKILL);
                self.warn(format!("cannot watch a worker: {error}"));
            }
            match self.children.get(&worker) {
                Some(Child { ended: Some(_), .. }) | None => {}
                Some(Child { report: Some(_), .. }) => self.waiting_to_go.push(worker),
                // What it reported is known; that its program runs may not be.
                Some(Child { failed: None, .. }) => self.cue(worker, Cue::Spawned),
                Some(_) => {}
            }
            self.rejoin_bus(worker);
            self.write_channel(worker);
        }
        if let Err(error) = self.keeper.settled() {
            self.warn(format!("cannot tell the keeper that all workers are known: {error}"));
        }
    }

    /// What workers had asked for, and may not have been answered, is asked for again.
    fn ask_again(&mut self) {
        let asking = |child: &Child| {
            let worker = child.id;
            let asks = child.asking.iter();
            let asks = asks.map(|(ticket, asking): (_, &Asking)| (*ticket, asking.listener()));
            asks.map(|(ticket, listener)| (worker, ticket, listener)).collect::<Vec<_>>()
        };
        let all: Vec<_> = self.children.values().flat_map(asking).collect();
        for (worker, ticket, listener) in all {
            self.cue(worker, Cue::BindAsked { listener, ticket, another: false });
        }
    }

    fn say_what_happened(&mut self, birth: Birth) {
        let how = birth.last.map_or_else(String::new, |exit| format!(" ({exit})"));
        let workers = match self.children.len() {
            1 => "1 worker".to_owned(),
            count => format!("{count} workers"),
        };
        self.warn(format!("the primary died{how}; this one goes on with its {workers}"));
    }

    /// Workers whose channel may still hold what a predecessor sent get connections again once
    /// they have read it all.
    pub(in crate::runtime) fn look_after_settling(&mut self, now: Time) {
        if self.settling.due.is_none_or(|due| now < due) {
            return;
        }
        let settling = |child: &Child| child.node.as_ref().is_some_and(|n| n.link.is_settling());
        let all: Vec<WorkerId> =
            self.children.values().filter(|child| settling(child)).map(|child| child.id).collect();
        let (mut left, mut settled) = (false, false);
        for worker in all {
            let Some(node) = self.node(worker) else { continue };
            if node.settle() {
                self.write_channel(worker);
                settled = true;
            } else {
                left = true;
            }
        }
        let found = self.look_after_foundlings(now, left);
        // Most have read it at once; one that is stopped is no reason to be restless, but while
        // somebody's connection hangs on it.
        let pause = match self.settling.pause {
            Some(last) if !found => (last * 2).min(SETTLE_LOOKS.1),
            _ => SETTLE_LOOKS.0,
        };
        self.settling.due = (left || found).then_some(now + pause);
        let is_first = self.settling.pause.replace(pause).is_none();
        if settled || is_first {
            let listeners: Vec<ListenerId> = self.listeners.iter().map(|open| open.id).collect();
            listeners.into_iter().for_each(|id| self.resume(id));
        }
    }
}

/// After how long it is looked again whether a worker has read its channel: first, and at last.
const SETTLE_LOOKS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));
