//! What each ready source means: bytes, ends and signals become events for the core.

use std::os::fd::AsFd;

use ipc::control::{Contract, Request};
use systemd::notify::Assignment;

use super::Runtime;
use super::control::Standing;
use super::output::logs::Stream;
use super::source::Source;
use super::workers::launch::{explain, is_permanent};
use crate::base::ids::{ClientId, WorkerId};
use crate::limits::{CALLS_PER_TURN, LAST_READS};
use crate::primary::event::{Cue, Event, Notification, PrimarySignal};
use crate::sys::spawn::{Report, done_with_report, look_at_report};
use crate::sys::{pidfd, procfs};

impl Runtime {
    pub(super) fn take(&mut self, source: Source, readable: bool, writable: bool, hangup: bool) {
        match source {
            Source::Signals => self.take_signals(),
            Source::Control => self.take_connections(),
            Source::Client(client) => {
                if writable {
                    let standing = self.clients.flush(client);
                    self.settle(client, standing);
                }
                if readable {
                    self.take_request(client);
                }
            }
            Source::Process(worker) => self.take_end(worker),
            Source::Report(worker) => self.take_report(worker),
            Source::Calls(worker) => {
                if hangup {
                    self.drop_calls(worker);
                } else {
                    self.take_calls(worker);
                }
            }
            Source::Out(worker) => self.take_output(worker, Stream::Out),
            Source::Err(worker) => self.take_output(worker, Stream::Err),
            Source::Notify(worker) => self.take_notifications(worker),
            Source::Channel(worker) => self.take_channel(worker, readable),
            Source::Accept(listener) => self.take_arrivals(listener),
            Source::Header(id) => self.take_header(id),
            Source::Orphan(listener, socket) => self.take_orphans((listener, socket)),
            Source::Bus(worker) => self.take_bus(worker, readable, hangup),
            Source::Keeper => self.take_keepers_end(),
            Source::UpgradeCheck => self.take_rehearsal(),
        }
    }

    fn take_signals(&mut self) {
        for signal in self.signals.drain() {
            let meaning = match signal {
                libc::SIGTERM | libc::SIGINT => PrimarySignal::Stop,
                libc::SIGQUIT => PrimarySignal::StopFast,
                libc::SIGHUP => {
                    self.tell_manager_of_reload();
                    PrimarySignal::Reload
                }
                libc::SIGUSR1 => PrimarySignal::ReopenLogs,
                libc::SIGUSR2 => {
                    self.rehearse(None, None);
                    continue;
                }
                libc::SIGTTIN => PrimarySignal::More,
                libc::SIGTTOU => PrimarySignal::Fewer,
                _ => continue,
            };
            self.inbox.push_back(Event::Signal(meaning));
        }
    }

    /// Nobody will start us again.
    fn take_keepers_end(&mut self) {
        self.poller.remove(self.keeper.fd());
        self.keeper.lose();
        let keeper = self.keeper.keeper();
        self.note(format!(
            "the keeper (pid {keeper}) is gone: if the primary dies too, the app is lost; start it \
             again when that suits"
        ));
    }

    fn take_connections(&mut self) {
        match self.clients.accept() {
            Ok(Some(client)) => {
                let Some(stream) = self.clients.stream(client) else { return };
                let registered = self.poller.add(stream, Source::Client(client).token());
                if let Err(error) = registered {
                    self.clients.drop_client(client);
                    self.warn(format!("cannot serve a control connection: {error}"));
                }
            }
            Ok(None) => {}
            Err(error) => self.rest_from_clients(&error),
        }
    }

    fn take_request(&mut self, client: ClientId) {
        let (request, standing) = self.clients.read(client);
        if let Some(request) = self.vetted(client, request) {
            if request == Request::Subscribe {
                self.follow_bus(client);
            }
            self.inbox.push_back(Event::Request { client, request });
        }
        self.settle(client, standing);
    }

    /// What follows from a connection's standing.
    pub(super) fn settle(&mut self, client: ClientId, standing: Standing) {
        match standing {
            Standing::Open => {}
            Standing::Room(watch) => {
                if let Some(stream) = self.clients.stream(client) {
                    let changed = self.poller.modify(stream, Source::Client(client).token(), watch);
                    if let Err(error) = changed {
                        self.warn(format!("cannot watch a control connection: {error}"));
                    }
                }
            }
            Standing::Over => {
                if let Some(stream) = self.clients.stream(client) {
                    // Before the close: a forked child may still hold a copy (epoll(7), Q6).
                    self.poller.remove(stream);
                    self.clients.drop_client(client);
                    self.inbox.push_back(Event::ClientGone { client });
                }
            }
        }
    }

    fn take_report(&mut self, worker: WorkerId) {
        loop {
            let Some(child) = self.children.get_mut(&worker) else { return };
            let Some(report) = child.report.as_ref() else { return };
            match look_at_report(report.as_fd()) {
                Ok(None) => return,
                Ok(Some(Report::Intercepting(calls))) => {
                    let registered = self.poller.add(calls.as_fd(), Source::Calls(worker).token());
                    child.calls = Some(calls);
                    if let Err(error) = registered {
                        self.warn(format!("cannot watch the intercepted calls: {error}"));
                    }
                }
                Ok(Some(Report::NotIntercepting(error))) => self.note(format!(
                    "bind and listen cannot be intercepted here ({error}): programs that open their own port run as a single worker; use --listen with LISTEN_FDS, or --no-intercept to silence this"
                )),
                Ok(Some(Report::Running)) => {
                    self.drop_report(worker);
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
            done_with_report(report.as_fd());
            if child.failed.is_some() {
                return self.drop_report(worker);
            }
        }
    }

    fn drop_report(&mut self, worker: WorkerId) {
        self.stale = true;
        let report = self.children.get_mut(&worker).and_then(|child| child.report.take());
        if let Some(report) = report {
            self.poller.remove(report.as_fd());
        }
    }

    fn drop_calls(&mut self, worker: WorkerId) {
        self.stale = true;
        let calls = self.children.get_mut(&worker).and_then(|child| child.calls.take());
        if let Some(calls) = calls {
            self.poller.remove(calls.as_fd());
        }
    }

    fn take_output(&mut self, worker: WorkerId, stream: Stream) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        if let Some(lines) = child.read_output(stream) {
            self.logs.write(stream, &lines);
            return;
        }
        self.finish_output(worker, stream);
    }

    fn finish_output(&mut self, worker: WorkerId, stream: Stream) {
        self.stale = true;
        let Some(child) = self.children.get_mut(&worker) else { return };
        let pipe = match stream {
            Stream::Out => child.out.as_ref(),
            Stream::Err => child.err.as_ref(),
        };
        if let Some(pipe) = pipe {
            self.poller.remove(pipe.fd());
        }
        let lines = child.finish_output(stream);
        self.logs.write(stream, &lines);
    }

    fn take_notifications(&mut self, worker: WorkerId) {
        for _ in 0..CALLS_PER_TURN {
            let Some(child) = self.children.get_mut(&worker) else { return };
            let Some(socket) = child.notify.as_ref() else { return };
            let (bytes, uid) = match socket.receive() {
                Ok(Some(datagram)) => datagram,
                Ok(None) => return,
                Err(error) => {
                    self.warn(format!("cannot read NOTIFY_SOCKET: {error}"));
                    return;
                }
            };
            if !child.may_notify(uid) {
                self.warn(format!("a notification from user {uid} was ignored"));
                continue;
            }
            match systemd::notify::parse(&bytes) {
                Ok(assignments) => self.take_assignments(worker, assignments),
                Err(error) => self.warn(format!("a malformed notification was ignored: {error}")),
            }
        }
    }

    fn take_assignments(&mut self, worker: WorkerId, assignments: Vec<Assignment>) {
        for assignment in assignments {
            let notification = match assignment {
                Assignment::Ready => Notification::Ready,
                Assignment::Stopping => Notification::Stopping,
                Assignment::Status(text) => Notification::Status(text),
                Assignment::Watchdog => Notification::Watchdog,
                Assignment::WatchdogTrigger => Notification::WatchdogTrigger,
                Assignment::ExtendTimeout(span) => Notification::Extend(span),
                Assignment::Reloading
                | Assignment::WatchdogUsec(_)
                | Assignment::MainPid(_)
                | Assignment::Barrier
                | Assignment::Errno(_)
                | Assignment::Unknown(_) => continue,
            };
            if let Some(child) = self.children.get_mut(&worker) {
                child.contracts.insert(Contract::Notify);
            }
            self.cue(worker, Cue::Notified(notification));
        }
    }

    /// A worker's main process has ended. It stays a zombie, and so its pid and its group's
    /// number stay its own, until the whole group is gone.
    fn take_end(&mut self, worker: WorkerId) {
        self.take_report(worker);
        let Some(child) = self.children.get_mut(&worker) else { return };
        let Some(exit) = self.keeper.peek(child.pid) else { return };
        child.ended = Some(exit);
        self.poller.remove(child.pidfd.as_fd());
        if !child.told_to_stop {
            // What is left of a worker that died would compete with its replacement.
            let _ = pidfd::signal_group(child.pid, libc::SIGKILL);
        }
        self.lingering.insert(worker);
    }

    /// Buries those whose whole process group is gone.
    pub(super) fn look_for_groups(&mut self) {
        let waiting: Vec<WorkerId> = self.lingering.iter().copied().collect();
        for worker in waiting {
            let Some(child) = self.children.get(&worker) else {
                self.lingering.remove(&worker);
                continue;
            };
            if procfs::group_members(child.pid.0).is_empty() {
                self.lingering.remove(&worker);
                self.bury(worker);
            }
        }
    }

    fn bury(&mut self, worker: WorkerId) {
        for stream in [Stream::Out, Stream::Err] {
            for _ in 0..LAST_READS {
                let Some(child) = self.children.get_mut(&worker) else { return };
                match child.read_output(stream) {
                    Some(lines) if lines.is_empty() => break,
                    Some(lines) => self.logs.write(stream, &lines),
                    None => break,
                }
            }
            self.finish_output(worker, stream);
        }
        // What it said last may be that it took a connection.
        self.read_channel(worker, LAST_READS);
        let back = self.node(worker).map(|node| node.link.take_back());
        self.take_back(back.unwrap_or_default());
        self.leave_bus(worker);
        let Some(child) = self.children.get_mut(&worker) else { return };
        for (fd, _) in child.sources() {
            // Those that left the poller earlier are not there any more; that is no error.
            self.poller.remove(fd);
        }
        child.forget_fds();
        let (pid, ended) = (child.pid, child.ended);
        // How it ended is written down before nobody can be asked any more.
        self.write_snapshot();
        let reaped = self.keeper.reap(pid);
        let Some(exit) = ended.or(reaped) else { return };
        let Some(child) = self.children.get_mut(&worker) else { return };
        let cue = match child.failed.take() {
            Some((reason, permanent)) => Cue::SpawnFailed { reason, permanent },
            None => {
                let last_lines = child.tail.lines();
                let lent: Vec<_> = child.lent.keys().copied().collect();
                Cue::Exited { exit, last_lines, queued: self.queued(&lent) }
            }
        };
        self.cue(worker, cue);
    }
}
