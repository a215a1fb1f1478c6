//! What each ready source means: bytes, ends and signals become events for the core.

use std::os::fd::AsFd;

use ipc::control::{Contract, Method, Request};
use ipc::node::UserMessage;

use super::bus::channel::Greeting;
use super::context::context;
use super::contracts::intercept::Calls;
use super::contracts::interface::{Endpoint, Readiness};
use super::node::{Told, raw_messages};
use super::probe::closed;
use super::source::Source;
use super::workers::launch::{explain, is_permanent};
use super::{Runtime, contracts, intercept, notifications, output};
use crate::base::exit::Exit;
use crate::base::ids::{ClientId, WorkerId};
use crate::base::stream::Stream;
use crate::limits::{CALLS_PER_TURN, LAST_READS};
use crate::policy::hangup::Hangup;
use crate::policy::leftovers;
use crate::primary::event::{Cue, Event, PrimarySignal};
use crate::sys::spawn::report::{self, Report};
use crate::sys::{clock, pidfd, procfs, seccomp};

/// Whether this request replaces workers one after the other.
fn is_rolling(request: &Request) -> bool {
    matches!(
        request,
        Request::Reload { .. }
            | Request::Restart { hard: false, .. }
            | Request::Configure { method: Method::Rolling { .. } | Method::BlueGreen { .. }, .. }
    )
}

impl Runtime {
    pub(super) fn take(&mut self, source: Source, readable: bool, writable: bool, hangup: bool) {
        match source {
            Source::Signals => self.take_signals(),
            Source::Control => {
                if let Err(error) = self.clients.take_connection(context!(self)) {
                    self.clients.rest(context!(self), self.handover.throttle(), &error);
                }
            }
            Source::Client(client) => {
                if writable {
                    let standing = self.clients.flush(client);
                    self.clients.settle(context!(self), client, standing);
                }
                if readable {
                    self.take_request(client);
                }
            }
            Source::Process(worker) => self.take_end(worker),
            Source::Report(worker) => self.take_report(worker),
            Source::Out(worker) => {
                output::read(context!(self), &mut self.logs, worker, Stream::Out);
            }
            Source::Err(worker) => {
                output::read(context!(self), &mut self.logs, worker, Stream::Err);
            }
            Source::Accept(listener) => self.handover.take_arrivals(context!(self), listener),
            Source::Header(id) => self.handover.take_header(context!(self), id),
            Source::Abandoned(listener, socket) => {
                self.handover.take_abandoned(context!(self), (listener, socket));
            }
            Source::Endpoint(contract, worker) => {
                contracts::take(self, contract, worker, Readiness { readable, hangup });
            }
            Source::Keeper => self.take_keepers_end(),
            Source::UpgradeCheck => self.take_upgrade_check(),
            Source::Prober => self.take_probes(),
            Source::FileWatcher => self.take_file_reports(),
            Source::Merge(merge) => {
                self.events.inbox.extend(self.merges.ended(&self.events.poller, merge));
            }
            Source::Housekeeping => {
                let complaint = self.housekeeping.ended(&self.events.poller);
                complaint.into_iter().for_each(|complaint| self.warn(complaint));
            }
        }
        self.pass_on();
    }

    fn take_signals(&mut self) {
        for signal in self.events.signals.drain() {
            let meaning = match signal {
                libc::SIGTERM | libc::SIGINT => PrimarySignal::Stop,
                libc::SIGQUIT => PrimarySignal::StopFast,
                libc::SIGHUP => {
                    let meaning = self.events.terminal.heard(clock::now());
                    meaning.into_iter().for_each(|meaning| self.hang_up(meaning));
                    continue;
                }
                libc::SIGUSR1 => PrimarySignal::ReopenLogs,
                libc::SIGUSR2 => {
                    self.check_upgrade(None, None);
                    continue;
                }
                libc::SIGTTIN => PrimarySignal::More,
                libc::SIGTTOU => PrimarySignal::Fewer,
                _ => continue,
            };
            self.events.inbox.push_back(Event::Signal(meaning));
        }
    }

    /// Does what SIGHUP means.
    pub(super) fn hang_up(&mut self, meaning: Hangup) {
        let signal = match meaning {
            Hangup::Stop => {
                self.note("the terminal is gone, so the app stops".to_owned());
                PrimarySignal::Stop
            }
            Hangup::Ignore => return,
            Hangup::Reload => {
                self.manager.tell_of_reload(&self.keeper);
                self.look_for_closed();
                PrimarySignal::Reload
            }
        };
        self.events.inbox.push_back(Event::Signal(signal));
    }

    /// Nobody will start us again.
    fn take_keepers_end(&mut self) {
        self.events.poller.remove(self.keeper.fd());
        self.keeper.lose();
        let keeper = self.keeper.keeper();
        self.note(format!(
            "the keeper (pid {keeper}) is gone: if the primary dies too, the app is lost; start it \
             again when that suits"
        ));
    }

    fn take_request(&mut self, client: ClientId) {
        let (request, standing) = self.clients.read(client);
        if let Some(request) = self.clients.permitted(context!(self), client, request) {
            if request == Request::Subscribe {
                self.bus.follow(&mut self.clients, client);
            }
            if is_rolling(&request) {
                self.look_for_closed();
            }
            match request {
                Request::Status => self.events.lookers.push(client),
                request => self.events.inbox.push_back(Event::Request { client, request }),
            }
        }
        self.clients.settle(context!(self), client, standing);
    }

    /// What a worker said on NOTIFY_SOCKET.
    pub(super) fn take_notifications(&mut self, worker: WorkerId, _: Readiness) {
        notifications::take(context!(self), worker);
    }

    /// What a Node worker said on its channel, or room for more.
    pub(super) fn take_node(&mut self, worker: WorkerId, ready: Readiness) {
        self.node.take_channel(&mut self.handover, context!(self), worker, ready.readable);
    }

    /// What a worker said on its channel to the bus, or room for more, or its end.
    pub(super) fn take_bus(&mut self, worker: WorkerId, ready: Readiness) {
        let greeting = self.bus.take(&mut self.clients, context!(self), worker, ready);
        self.greet(greeting);
        self.bus.write(context!(self), worker);
    }

    /// A worker that joins the bus is in the state before its channel is read on.
    fn greet(&mut self, mut greeting: Option<Greeting>) {
        while let Some(heard) = greeting {
            self.write_snapshot();
            greeting = self.bus.go_on(&mut self.clients, context!(self), &heard);
        }
    }

    /// A Node program told something that is not about sockets.
    pub(super) fn take_told(&mut self, worker: WorkerId, told: Told) {
        match told {
            Told::Message(message) => {
                let at = context!(self);
                if let Some((peer, topic, data)) = raw_messages::for_all(at, worker, &message) {
                    self.bus.emit_for(&peer, &topic, &data);
                }
                self.tell_message(worker, &message);
            }
            Told::Handle(kind, message) => {
                self.tell_message(worker, &message);
                self.note(format!(
                    "a worker sent a socket ({kind:?}) to the primary, which has no use for it"
                ));
            }
            Told::Measured(measured) => {
                self.probes.growing.take_measured(context!(self), worker, measured);
            }
        }
    }

    fn tell_message(&mut self, worker: WorkerId, message: &UserMessage) {
        let Some(child) = self.children.get(&worker) else { return };
        let notice = child.says(raw_messages::shown(message));
        self.tell(&notice);
    }

    /// The successors of a reload must listen where the workers do now.
    fn look_for_closed(&mut self) {
        let ours = [std::process::id(), self.keeper.keeper().0];
        closed::tell_closed(context!(self), &ours);
        self.look_at_own_sockets(self.own_sockets.all());
    }

    /// Takes the calls that wait for a worker, a bounded number of them.
    pub(super) fn take_calls(&mut self, worker: WorkerId, ready: Readiness) {
        if ready.hangup {
            return self.drop_calls(worker);
        }
        for _ in 0..CALLS_PER_TURN {
            let memory = self.keeper.memory();
            let Some(call) = self.intercept.receive(context!(self), memory, worker) else { return };
            self.take_call(worker, &call);
            if !intercept::calls_wait(&self.children, worker) {
                return;
            }
        }
    }

    /// Does what follows from an intercepted call.
    pub(super) fn take_call(&mut self, worker: WorkerId, call: &seccomp::Notification) {
        if let seccomp::Call::Shutdown { fd } = call.call {
            return self.take_shutdown(worker, call, fd);
        }
        if let Some(joining) = self.intercept.take(context!(self), worker, call) {
            self.write_snapshot();
            self.intercept.join(context!(self), joining);
        }
    }

    fn take_report(&mut self, worker: WorkerId) {
        loop {
            let Some(child) = self.children.get_mut(&worker) else { return };
            let Some(report) = child.report.as_ref() else { return };
            match report::look_at(report.as_fd()) {
                Ok(None) => return,
                Ok(Some(Report::Intercepting(calls))) => {
                    let source = Source::Endpoint(Contract::Intercept, worker);
                    let registered = self.events.poller.add(calls.as_fd(), source.token());
                    child.endpoints.put(Calls(calls));
                    if let Err(error) = registered {
                        self.warn(format!("cannot watch the intercepted calls: {error}"));
                    }
                }
                Ok(Some(Report::NotIntercepting(error))) => self.note(format!(
                    "bind and listen cannot be intercepted here ({error}): programs that open their own port run as a single worker; use --listen with LISTEN_FDS, or --no-intercept to silence this"
                )),
                Ok(Some(Report::Running)) => {
                    self.drop_report(worker);
                    if !self.children.get(&worker).is_some_and(|child| child.is_hook) {
                        self.own_sockets.begin(worker, clock::now());
                    }
                    self.cue(worker, Cue::Spawned);
                    return;
                }
                Ok(Some(Report::Failed { stage, error })) => {
                    let reason = explain(&child.spec, stage, &error);
                    child.failed = Some((reason, is_permanent(stage)));
                }
                Err(error) => {
                    child.failed = Some((format!("cannot start a worker: {error}"), false));
                }
            }
            // A successor could not read it again.
            self.write_snapshot();
            let Some(child) = self.children.get(&worker) else { return };
            let Some(report) = child.report.as_ref() else { return };
            report::done_with(report.as_fd());
            if child.failed.is_some() {
                return self.drop_report(worker);
            }
        }
    }

    fn drop_report(&mut self, worker: WorkerId) {
        self.succession.writer.stale = true;
        let report = self.children.get_mut(&worker).and_then(|child| child.report.take());
        if let Some(report) = report {
            self.events.poller.remove(report.as_fd());
        }
    }

    fn drop_calls(&mut self, worker: WorkerId) {
        self.succession.writer.stale = true;
        let Some(child) = self.children.get_mut(&worker) else { return };
        if let Some(calls) = child.endpoints.take::<Calls>() {
            self.events.poller.remove(calls.fd());
        }
    }

    /// A worker's main process has ended.
    fn take_end(&mut self, worker: WorkerId) {
        self.take_report(worker);
        let Some(child) = self.children.get_mut(&worker) else { return };
        let Some(exit) = self.keeper.peek(child.pid) else { return };
        child.ended = Some(exit);
        self.events.poller.remove(child.pidfd.as_fd());
        let told_to_stop = child.told_to_stop;
        if let Some(left) = child.left.take() {
            left.signal(child.spec.stop_signal);
        }
        if exit == Exit::Code(0) && !told_to_stop && self.serves_detached(worker) {
            self.note_background(worker);
        }
        self.step_leftovers(leftovers::Event::Ended { worker, told_to_stop });
    }

    /// The program will do so each time: trying again is useless.
    fn note_background(&mut self, worker: WorkerId) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        let command = child.spec.command.first().map_or("", String::as_str);
        let reason = format!(
            "{command:?} went into the background: its main process ended with exit code 0, and \
             others serve on in a session of their own; have it stay in the foreground (nginx: \
             -g 'daemon off;')"
        );
        child.failed = Some((reason, true));
    }

    /// Looks which workers have nothing left that lives.
    pub(super) fn look_for_groups(&mut self) {
        for worker in self.children.leftovers.waiting() {
            self.step_leftovers(match self.children.get(&worker) {
                Some(child) => {
                    let empty = procfs::group_members(child.pid.0).is_empty()
                        && self.strays(worker).is_empty();
                    leftovers::Event::Seen { worker, empty }
                }
                None => leftovers::Event::Forgotten { worker },
            });
        }
    }

    fn step_leftovers(&mut self, event: leftovers::Event) {
        match self.children.leftovers.step(event) {
            Some(leftovers::Action::Kill(worker)) => {
                let strays = self.strays(worker);
                strays.into_iter().for_each(|stray| stray.signal(libc::SIGKILL));
                if let Some(child) = self.children.get(&worker) {
                    let _ = pidfd::signal_group(child.pid, libc::SIGKILL);
                }
            }
            Some(leftovers::Action::Reap(worker)) => self.reap(worker),
            None => {}
        }
    }

    /// What a worker said last is heard; then nothing of it is listened to any more.
    pub(super) fn let_go(&mut self, worker: WorkerId) {
        for stream in [Stream::Out, Stream::Err] {
            output::read_rest(context!(self), &mut self.logs, worker, stream);
        }
        self.node.end(&mut self.handover, context!(self), worker, LAST_READS);
        let greeting = self.bus.hear_last(&mut self.clients, context!(self), worker);
        self.greet(greeting);
        self.bus.leave(&mut self.clients, context!(self), worker);
        self.probes.growing.forget(context!(self), worker);
        self.intercept.answer_rest(context!(self), worker);
        let Some(child) = self.children.get_mut(&worker) else { return };
        for (fd, _) in child.sources() {
            // Those that left the poller earlier are not there any more; that is no error.
            self.events.poller.remove(fd);
        }
        child.forget_fds();
        self.mend_listeners();
    }

    /// Nothing of a worker lives: the core is told.
    fn reap(&mut self, worker: WorkerId) {
        self.let_go(worker);
        let Some(child) = self.children.get(&worker) else { return };
        let (pid, ended) = (child.pid, child.ended);
        // How it ended is written down before nobody can be asked any more.
        self.write_snapshot();
        let reaped = self.keeper.reap(pid);
        let Some(exit) = ended.or(reaped) else { return };
        if self.probes.oom_kills.explain(exit) {
            self.cue(worker, Cue::OutOfMemory);
        }
        let Some(child) = self.children.get_mut(&worker) else { return };
        let cue = match child.failed.take() {
            Some((reason, permanent)) => Cue::SpawnFailed { reason, permanent },
            None => {
                let last_lines = child.tail.lines();
                let queued = self.listeners.queued_in(child.lent.keys());
                Cue::Exited { exit, last_lines, queued }
            }
        };
        self.cue(worker, cue);
    }
}
