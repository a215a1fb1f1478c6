//! One match over `Action`: what the core says is done here, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use ipc::bus::Json;
use ipc::control::{FailureKind, Notice, Reply};
use ipc::talk::BusRequest;

use super::context::context;
use super::node::{address_requests, channel, raw_messages};
use super::on_stop::LeftToParents;
use super::workers::hooks::{self, About};
use super::workers::launch::{Order, Surroundings, launch};
use super::workers::{Asking, Claim};
use super::{Runtime, contracts, handover, intercept, on_stop};
use crate::base::ids::{ClientId, ListenerId, Ticket, WorkerId};
use crate::base::per_generation::PerGeneration;
use crate::policy::leftovers;
use crate::primary::action::{Action, Target};
use crate::primary::event::{Cue, Event};
use crate::relay::Trigger;
use crate::sys::strays::Stray;
use crate::sys::{clock, pidfd, procfs};

impl Runtime {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::OpenListeners { spec } => {
                let result = self.listeners.open_all(&spec);
                self.events.inbox.push_back(Event::ListenersOpened { result });
            }
            Action::Merge { merge, running, change } => {
                let refused = self.merges.begin(&self.events.poller, merge, &running, change);
                self.events.inbox.extend(refused);
            }
            Action::Spawn { worker, slot, generation, spec, workers, lend } => {
                let hook = None;
                self.spawn(Order { worker, slot, generation, spec, workers, lend, hook });
            }
            Action::RunHook { hook, kind, worker, slot, generation, spec, variables } => {
                let pid = worker.and_then(|id| self.children.get(&id)).map(|child| child.pid);
                let about = About { kind, pid, variables };
                let order = hooks::order((hook, slot, generation), &spec, about);
                self.spawn(order);
            }
            Action::Lend { ticket, worker, listener, socket } => {
                self.lend(ticket, worker, Claim { listener, socket });
            }
            Action::Steer { listener, targets } => self.steer(listener, targets),
            Action::Gate { listener } => self.gate(listener),
            Action::CloseListener { listener } => self.close_listener(listener),
            Action::Signal { worker, signal, group } => self.signal(worker, signal, group),
            Action::Stop { worker } => self.stop_worker(worker),
            Action::Kill { worker } => {
                self.children.leftovers.step(leftovers::Event::Killed { worker });
                self.signal(worker, libc::SIGKILL, true);
            }
            Action::EndKept { worker, ends } => channel::end_kept(context!(self), worker, ends),
            Action::Look { worker } => self.look(worker),
            Action::Gauge { worker } => self.gauge(worker),
            Action::Release { worker } => {
                // A dead primary may not have come to abandon it.
                match self.children.get(&worker) {
                    Some(child) if child.ended.is_none() => self.abandon(worker),
                    _ => {
                        self.intercept.release(context!(self), worker);
                        self.children.leftovers.step(leftovers::Event::Forgotten { worker });
                        self.children.remove(&worker);
                    }
                }
            }
            Action::Abandon { worker } => self.abandon(worker),
            Action::Answer { client, reply } => self.answer(client, &reply),
            Action::AnswerStatus { client } => {
                let reply = Reply::Status(Box::new(self.full_status()));
                self.answer(client, &reply);
            }
            Action::AnswerSpec { client } => {
                let reply = Reply::Spec(Box::new(self.core.spec().as_ref().clone()));
                self.answer(client, &reply);
            }
            Action::Send { client, message, slot } => {
                let reply = raw_messages::send(context!(self), &message, slot);
                self.answer(client, &reply);
            }
            Action::Bus { client, request } => self.ask_bus(client, request),
            Action::BusDrain { worker } => self.bus.drain(context!(self), worker),
            // Without the note, the next start waits longer.
            Action::NoteQuiet { command, quiet } => {
                let _ = self.recorder.home().note_quiet(command.0, quiet);
            }
            Action::ReloadEnded { outcome } => self.bus.count_reload(outcome),
            Action::Subscribe { client } => self.clients.subscribe(client),
            Action::Publish(notice) => self.publish(notice),
            Action::Upgrade { client, binary } => self.check_upgrade(Some(client), binary),
            Action::ReopenLogs { client } => self.reopen_logs(client),
            Action::Exit { code } => self.events.exit = Some(code),
        }
    }

    fn reopen_logs(&mut self, client: Option<ClientId>) {
        let name = &self.core.spec().name;
        let folder = self.recorder.home().prepare_logs(name).map_err(|error| error.to_string());
        let opened = folder.and_then(|()| self.logs.reopen().map_err(|error| error.to_string()));
        let reply = match opened {
            Ok(()) => Reply::done(format!("{name}: log files opened again")),
            Err(why) => {
                let why = format!("cannot open the log files again: {why}");
                self.warn(why.clone());
                Reply::failed(FailureKind::Failed, why)
            }
        };
        if let Some(client) = client {
            self.answer(client, &reply);
        }
    }

    fn spawn(&mut self, order: Order) {
        let worker = order.worker;
        self.mend_listeners();
        // Which sockets are about to listen is written down before they do.
        if self.listeners.announce(&order.lend) {
            self.write_snapshot();
        }
        let around = Surroundings {
            listeners: &mut self.listeners,
            home: self.recorder.home(),
            lease: &mut self.lease,
            notes: &mut self.notes,
            logs: &self.logs,
            sibling: !self.keeper.is_lost(),
        };
        let is_hook = order.hook.is_some();
        let child = match launch(order, contracts::all(), around) {
            Ok(child) => child,
            Err(refusal) => {
                let (reason, permanent) = (refusal.reason, refusal.permanent);
                return self.cue(worker, Cue::SpawnFailed { reason, permanent });
            }
        };
        let registered = child
            .sources()
            .into_iter()
            .try_for_each(|(fd, source)| self.events.poller.add(fd, source.token()));
        if let Err(error) = registered {
            // Without its pidfd in the poller its end would never be seen.
            let _ = pidfd::signal_group(child.pid, libc::SIGKILL);
            self.warn(format!("cannot watch a worker: {error}"));
        }
        if let Err(error) = self.keeper.own(child.pid) {
            // Nobody could tell how it ended.
            let _ = pidfd::signal_group(child.pid, libc::SIGKILL);
            self.warn(format!("cannot keep a worker: {error}"));
        }
        self.succession.writer.holds(worker);
        self.children.insert(worker, child);
        if !is_hook {
            self.bus.join(&self.children, worker);
        }
    }

    /// A socket that is lent again may have been shut down by its last borrower.
    pub(super) fn mend_listeners(&mut self) {
        if let Err(error) = self.listeners.mend() {
            self.warn(format!("cannot steer connections: {error}"));
        }
    }

    /// Has a worker get the socket that the core chose.
    fn lend(&mut self, ticket: Ticket, worker: WorkerId, claim: Claim) {
        self.mend_listeners();
        let at = context!(self);
        match at.children.take_asking(worker, ticket) {
            Some(Asking::Call(call)) => self.intercept.lend(at, worker, &call, claim),
            Some(Asking::Node { seq, ask, .. }) => {
                self.node.lend(&mut self.handover, at, worker, claim, (seq, &ask));
            }
            None => {}
        }
    }

    fn close_listener(&mut self, listener: ListenerId) {
        let at = context!(self);
        // A worker that still waits for a socket of it gets none.
        for (worker, asking) in at.children.take_asking_for(listener) {
            match asking {
                Asking::Call(call) => intercept::refuse(at, worker, call.call),
                Asking::Node { seq, .. } => address_requests::refuse(at, worker, seq),
            }
        }
        self.handover.close(at, listener);
        if let Some(closed) = self.listeners.close(listener)
            && let Some(fd) = closed.accepting()
        {
            self.events.poller.remove(fd);
        }
    }

    fn steer(&mut self, listener: ListenerId, targets: Vec<Target>) {
        let at = context!(self);
        let Some(open) = at.listeners.get_mut(listener) else { return };
        if let Err(error) = open.mend().and_then(|_| open.steer(targets)) {
            let address = open.address();
            at.warn(format!("cannot steer the connections of {address}: {error}"));
        }
        self.handover.resume(at, listener);
    }

    fn gate(&mut self, listener: ListenerId) {
        let at = context!(self);
        let Some(open) = at.listeners.get_mut(listener) else { return };
        if open.hand_over().is_some() {
            open.targets.clear();
            return handover::pause(at, listener);
        }
        if let Err(error) = open.gate() {
            let address = open.address();
            at.warn(format!("cannot refuse new connections of {address}: {error}"));
        }
    }

    /// By the message that its spec names, if it takes that; else by the signal.
    fn stop_worker(&mut self, worker: WorkerId) {
        let Some(child) = self.children.get(&worker) else { return };
        let spec = child.spec.clone();
        if let Some(message) = &spec.stop_message
            && raw_messages::tell(context!(self), worker, message)
        {
            return;
        }
        self.tell_to_stop(worker, spec.stop_signal);
    }

    /// The signal goes to all its processes, but to those that their parents stop.
    fn tell_to_stop(&mut self, worker: WorkerId, signal: i32) {
        let all = self.family(worker);
        let Some(child) = self.children.get_mut(&worker) else { return };
        let main = child.pid.0;
        let stops = |pid: &u32| !child.spec.keep_detached || Stray::outside(*pid, main).is_none();
        let mut all: BTreeSet<u32> = all.into_iter().filter(stops).collect();
        let processes = on_stop::left_to_parents(&all, main, signal);
        if processes.is_empty() {
            let strays = all.into_iter().filter_map(|pid| Stray::outside(pid, main)).collect();
            return self.signal_with(worker, signal, true, strays);
        }
        all.extend(procfs::group_members(main));
        let is_told = |pid: &u32| *pid != main && processes.iter().all(|one| one.pid != *pid);
        let told: Vec<Stray> = all.into_iter().filter(is_told).filter_map(Stray::of).collect();
        child.told_to_stop = true;
        let kill_timeout = child.spec.times.kill_timeout;
        child.left = Some(LeftToParents::new(processes, clock::now(), kill_timeout));
        // It might replace a child that ends before it knows that it is to stop.
        self.signal(worker, signal, false);
        told.into_iter().for_each(|one| one.signal(signal));
    }

    fn signal(&mut self, worker: WorkerId, signal: i32, group: bool) {
        // A process that left the group is found by its parents: before they end.
        let strays = if group { self.strays(worker) } else { Vec::new() };
        self.signal_with(worker, signal, group, strays);
    }

    fn signal_with(&mut self, worker: WorkerId, signal: i32, group: bool, strays: Vec<Stray>) {
        strays.into_iter().for_each(|stray| stray.signal(signal));
        let Some(child) = self.children.get_mut(&worker) else { return };
        if let Err(error) = child.signal(signal, group) {
            let pid = child.pid.0;
            self.warn(format!("cannot send signal {signal} to worker {pid}: {error}"));
        }
    }

    /// A process that nothing ends is no longer ours. The keeper reaps it if it ends one day.
    fn abandon(&mut self, worker: WorkerId) {
        self.children.leftovers.step(leftovers::Event::Forgotten { worker });
        self.let_go(worker);
        self.intercept.release(context!(self), worker);
        let Some(child) = self.children.remove(&worker) else { return };
        // Its program may not have begun to run.
        let _ = pidfd::signal_group(child.pid, libc::SIGKILL);
        let pid = child.pid.0;
        // Of one that has ended, others of its group live on.
        if child.ended.is_some() {
            self.keeper.reap(child.pid);
        } else if let Err(error) = self.keeper.disown(child.pid) {
            self.warn(format!("cannot let go of process {pid}: {error}"));
        }
        if child.is_hook {
            return self.warn(format!(
                "the hook with pid {pid} was killed and lives on; nothing waits for it any more: \
                 end it as the user as whom it runs"
            ));
        }
        self.note(format!(
            "the worker with pid {pid} (slot {}) was killed and did not end; nothing waits for it any \
             more. If \"ps -o stat,user {pid}\" shows the state D, it waits in the kernel, for a disk \
             or a file server; if it shows another user, end it as that user",
            child.slot
        ));
    }

    fn look(&mut self, worker: WorkerId) {
        let family = self.family(worker);
        let closed: Vec<_> = self.closed_sockets.of(worker).collect();
        if let Some(look) = self.probes.look(context!(self), worker, &family, &closed) {
            self.cue(worker, Cue::Looked(look));
        }
    }

    fn gauge(&mut self, worker: WorkerId) {
        let Some(child) = self.children.get(&worker) else { return };
        let most = self.bus.most_connections(child.generation);
        let oldest = self.handover.throttle().oldest(worker);
        if let Some(gauge) = self.probes.gauge(context!(self), worker, oldest, most) {
            self.cue(worker, Cue::Gauged(gauge));
        }
    }

    pub(super) fn answer(&mut self, client: ClientId, reply: &Reply) {
        self.clients.give(context!(self), client, reply);
    }

    /// What a person asks of the bus.
    fn ask_bus(&mut self, client: ClientId, request: BusRequest) {
        let reply = match request {
            BusRequest::Emit { topic, data, slot } => {
                Some(self.bus.emit(context!(self), topic, &data, slot))
            }
            BusRequest::Trigger { action, data, slot, timeout_ms } => {
                let timeout = Duration::from_millis(timeout_ms.into());
                let data = Json::of(&data).unwrap_or_default();
                self.bus.trigger(client, Trigger { ticket: 0, action, slot, data, timeout })
            }
            BusRequest::Share { .. } => {
                self.share_values();
                self.bus.await_shared(&mut self.clients, context!(self), client);
                None
            }
            BusRequest::Metrics => Some(self.metrics()),
        };
        if let Some(reply) = reply {
            self.answer(client, &reply);
        }
    }

    /// Gives the workers new values, if the specs have any.
    pub(super) fn share_values(&mut self) {
        let coming = self.core.coming().map(|(generation, spec)| (generation, spec.clone()));
        let specs = PerGeneration { serving: self.core.spec().clone(), coming };
        self.bus.share(&mut self.clients, context!(self), specs);
    }

    /// Publishes what the rooms said.
    pub(super) fn publish_news(&mut self) {
        for notice in self.notes.take_news() {
            self.publish_one(notice);
        }
    }

    pub(super) fn publish(&mut self, notice: Notice) {
        self.publish_news();
        self.publish_one(notice);
    }

    fn publish_one(&mut self, mut notice: Notice) {
        self.manager.look_again();
        notice.unix_ms = clock::unix_ms();
        let worker = notice.worker.map(WorkerId);
        notice.pid = worker.and_then(|id| self.children.get(&id)).map(|child| child.pid.0);
        self.logs.notice(&notice);
        self.tell(&notice);
    }

    /// Tells every subscriber.
    pub(super) fn tell(&mut self, notice: &Notice) {
        for (client, standing) in self.clients.publish(notice) {
            self.clients.settle(context!(self), client, standing);
        }
    }
}
