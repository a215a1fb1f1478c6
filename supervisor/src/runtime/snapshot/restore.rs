//! How a primary continues where its predecessor died: it claims the descriptors that the snapshot
//! names, closes the others, and finds out what has changed meanwhile.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use config::spec::AppSpec;
use serde_json::value::RawValue;

use super::worker::ChildSnapshot;
use crate::base::ids::WorkerId;
use crate::base::time::{Time, millis};
use crate::home::Home;
use crate::keeper::{Birth, Link, SharedFds};
use crate::policy::leftovers;
use crate::primary::Primary;
use crate::primary::action::Action;
use crate::primary::event::{Cue, Event};
use crate::primary::resume::Facts;
use crate::runtime::context::context;
use crate::runtime::contracts;
use crate::runtime::file_watch::FileWatch;
use crate::runtime::handover::HandOver;
use crate::runtime::handover::abandoned_sockets::AbandonedSockets;
use crate::runtime::handover::reclaimed_connections::ReclaimedConnections;
use crate::runtime::intercept;
use crate::runtime::lease::Lease;
use crate::runtime::node::{Node, channel};
use crate::runtime::notes::Notes;
use crate::runtime::snapshot::Snapshot;
use crate::runtime::snapshot::pieces::Children;
use crate::runtime::snapshot::writer::Writer;
use crate::runtime::source::Source;
use crate::runtime::start::{Parts, undone};
use crate::runtime::workers::{Asking, Child};
use crate::runtime::{LaunchError, Runtime};
use crate::snapshot::{Copy, NUMBERS_LEFT_OUT};
use crate::sys::accounts::{self, Accounts};
use crate::sys::held::Claims;
use crate::sys::{clock, pidfd, signals};

/// The runtime that a state describes, and what it has to do again. To be called before this
/// process has opened anything. On an error all descriptors are as they were, for another build.
pub(in crate::runtime) fn restore(
    copy: Copy,
    home: &Home,
    shared: &'static SharedFds,
    birth: Birth,
) -> Result<(Runtime, Vec<Action>), LaunchError> {
    let unreadable = |why: String| undone("go on with the state", io::Error::other(why));
    let snapshot: Snapshot<Box<RawValue>, ChildSnapshot> =
        serde_json::from_str(&copy.content).map_err(|error| unreadable(error.to_string()))?;
    let core =
        Primary::restore(snapshot.core.get()).map_err(|error| unreadable(error.to_string()))?;
    let mut claims = Claims::new(shared.fds());
    let failed = |what: &'static str| move |error| undone(what, error);
    let not_found = failed("find the control socket");
    let lock = claims.claim(snapshot.lock).map(File::from).map_err(failed("find the lock"))?;
    let files = home.files(&core.spec().name);
    let path = files.socket().map_err(|error| unreadable(error.to_string()))?.to_owned();
    let clients = snapshot.clients.restore(&mut claims, path).map_err(not_found)?;
    let (mut listeners, mut complaints) = snapshot.listeners.restore(&mut claims);
    let specs: Vec<Arc<AppSpec>> = snapshot.specs.into_iter().map(Arc::new).collect();
    let mut children = BTreeMap::new();
    for child in snapshot.children {
        match child.restore(&specs, contracts::all(), &mut claims) {
            Ok(child) => drop(children.insert(child.id, child)),
            Err(error) => complaints.push(format!("a worker was lost: {error}")),
        }
    }
    let (lease, lost) = Lease::found(snapshot.lease, &mut claims);
    complaints.extend(lost);
    let reclaimed = ReclaimedConnections::find(&mut claims, &listeners, &snapshot.abandoned)
        .map_err(failed("look for connections"))?;
    // Without it nothing is known to be lost.
    let ledger = snapshot.bus.ledger.and_then(|held| claims.claim(held).ok());
    claims.close_others().map_err(failed("close what is left"))?;
    // A socket is written down as the group's next before it listens, and the last one may not have
    // come to it; or a program has shut one down meanwhile.
    if let Err(error) = listeners.mend() {
        complaints.push(format!("cannot steer connections: {error}"));
    }

    accounts::remember(snapshot.accounts.unwrap_or_else(|| Accounts::of(&[core.spec()])));
    let keeper = Link::new(shared).map_err(failed("watch the keeper"))?;
    let parts = Parts { core, lock, keeper, clients, console_format: snapshot.echo };
    let (mut runtime, opened) = Runtime::new(parts, home)?;
    if let Err(error) = opened {
        complaints.push(format!("cannot write the log files: {error}"));
    }
    runtime.succession.deaths = snapshot.deaths + u32::from(snapshot.upgrading.is_none());
    runtime.succession.started = snapshot.started;
    runtime.succession.started_unix_ms = snapshot.started_unix_ms.unwrap_or_else(|| {
        clock::unix_ms().saturating_sub(millis(clock::now().since(snapshot.started)))
    });
    runtime.succession.upgrade.take_up(snapshot.upgrading);
    runtime.manager.store = snapshot.store;
    runtime.succession.writer = Writer::new(copy.number, clock::now());
    runtime.children = Children::of(children, snapshot.tickets);
    (runtime.listeners, runtime.lease) = (listeners, lease);
    runtime.node = Node::new(snapshot.node_places);
    runtime.handover = HandOver::resumed(
        snapshot.next_hand_off.saturating_add(NUMBERS_LEFT_OUT),
        AbandonedSockets::of(snapshot.abandoned),
        reclaimed,
    );
    runtime.file_watch = FileWatch::new(snapshot.files_done_until);
    runtime.notes = Notes::of(snapshot.notes);
    let app = runtime.core.spec().name.clone();
    runtime.bus.restore(app, snapshot.bus, &runtime.children);
    runtime.bus.take_loss_journal(context!(runtime), ledger);
    let first = runtime.take_over(snapshot.carried_out);
    signals::unblock().map_err(failed("watch the signals"))?;
    runtime.say_how_it_came(birth);
    runtime.bus.say_what_was_lost(context!(runtime));
    runtime.publish_news();
    complaints.into_iter().for_each(|complaint| runtime.note(complaint));
    Ok((runtime, first))
}

impl Runtime {
    /// Tells why this primary took over.
    fn say_how_it_came(&mut self, birth: Birth) {
        match self.succession.upgrade.under_way() {
            Some(_) => {
                let failed = birth.not_replaced.map(io::Error::from_raw_os_error);
                self.report_upgrade(failed, birth.fell_back);
            }
            None if birth.fell_back => self.warn(
                "the build that had taken over could not go on; the one before it does".to_owned(),
            ),
            None => self.say_what_happened(birth),
        }
    }

    /// Everything that a predecessor may have left half done.
    fn take_over(&mut self, carried_out: bool) -> Vec<Action> {
        let now = clock::now();
        let workers = self.children.values().filter(|child| !child.is_hook);
        workers.for_each(|child| self.own_sockets.resume(child.id, now));
        self.watch_children();
        if self.logs.console.format().is_some() {
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
        for (worker, call) in intercept::unanswered(&self.children, self.keeper.memory()) {
            self.take_call(worker, &call);
        }
        while let Some(event) = self.events.inbox.pop_front() {
            self.core.step(now, event, &mut actions);
        }
        self.core.step(now, Event::Turn, &mut actions);
        self.events.core_due = self.core.deadline();
        self.look_at_withdrawn_soon(now);
        self.succession.settles = Some(now);
        self.bus.resume(&self.children);
        actions
    }

    /// Watches the clients that still wait for an answer.
    fn watch_clients(&mut self) {
        let mut awaited = self.core.awaited();
        awaited.extend(self.succession.upgrade.awaited_by());
        self.clients.keep(&awaited, self.succession.upgrade.under_way().is_none());
        for client in self.clients.ids() {
            self.clients.watch(context!(self), client);
        }
    }

    /// Tells the keeper about every worker, and the poller about every descriptor.
    fn watch_children(&mut self) {
        for worker in self.children.keys().copied().collect::<Vec<_>>() {
            let Some(child) = self.children.get_mut(&worker) else { continue };
            if let Err(error) = self.keeper.own(child.pid) {
                let pid = child.pid;
                // Without the keeper, no process learns how it ends.
                let _ = pidfd::signal_group(pid, libc::SIGKILL);
                self.warn(format!("cannot keep worker {pid}: {error}"));
            }
            if self.children.get(&worker).is_some_and(|child| child.ended.is_some()) {
                self.children.leftovers.step(leftovers::Event::Resumed { worker });
            }
            let Some(child) = self.children.get(&worker) else { continue };
            let sources = child.sources().into_iter();
            let watched = sources
                .filter(|(_, source)| child.ended.is_none() || *source != Source::Process(worker))
                .try_for_each(|(fd, source)| self.events.poller.add(fd, source.token()));
            if let Err(error) = watched {
                // Without its pidfd in the poller its end would never be seen.
                let _ = pidfd::signal_group(child.pid, libc::SIGKILL);
                self.warn(format!("cannot watch a worker: {error}"));
            }
            match self.children.get(&worker) {
                Some(Child { ended: Some(_), .. }) | None => {}
                Some(Child { report: Some(_), .. }) => self.succession.writer.holds(worker),
                // What it reported is known; that its program runs may not be.
                Some(Child { failed: None, .. }) => self.cue(worker, Cue::Spawned),
                Some(_) => {}
            }
            if self.children.get(&worker).is_some_and(|child| !child.is_hook) {
                self.bus.rejoin(context!(self), worker);
            }
            channel::write(context!(self), worker);
        }
        if let Err(error) = self.keeper.settled() {
            self.warn(format!("cannot tell the keeper that all workers are known: {error}"));
        }
    }

    /// Repeats the workers' requests that may not have been answered.
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
        let workers = match self.children.workers() {
            1 => "1 worker".to_owned(),
            count => format!("{count} workers"),
        };
        self.warn(format!("the primary died{how}; this one goes on with its {workers}"));
    }

    /// Workers whose channel may still hold what a predecessor sent get connections again once
    /// they have read it all.
    pub(in crate::runtime) fn look_after_settling(&mut self, now: Time) {
        if self.succession.settles.is_none_or(|due| now < due) {
            return;
        }
        let settling = |child: &Child| child.node().is_some_and(|n| n.link.is_settling());
        let all: Vec<WorkerId> =
            self.children.values().filter(|child| settling(child)).map(|child| child.id).collect();
        let at = context!(self);
        let (mut left, mut settled) = (false, false);
        for worker in all {
            let Some(node) = at.node(worker) else { continue };
            if node.settle() {
                channel::write(at, worker);
                settled = true;
            } else {
                left = true;
            }
        }
        let found = self.handover.look_after_reclaimed(at, self.keeper.keeper(), now, left);
        // Most workers have read it at once. A stopped worker gets fewer and fewer looks, except
        // while a client's connection depends on it.
        let pause = match self.succession.pause {
            Some(last) if !found => (last * 2).min(SETTLE_LOOKS.1),
            _ => SETTLE_LOOKS.0,
        };
        self.succession.settles = (left || found).then_some(now + pause);
        let is_first = self.succession.pause.replace(pause).is_none();
        if settled || is_first {
            self.handover.resume_all(at);
        }
    }
}

/// The first and the longest delay until the next look at whether a worker has read its channel.
const SETTLE_LOOKS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));
