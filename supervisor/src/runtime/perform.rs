//! One match over `Action`: what the core says is done here, and nothing else.

use std::os::fd::AsFd;
use std::sync::Arc;

use config::spec::{AppSpec, Balance, Engine, ListenAddress};
use ipc::control::{Notice, Reply};

use super::Runtime;
use super::intercept::refusal;
use super::listeners::Key;
use super::listeners::listener::{Kind, Listener};
use super::probe::drain::{Drain, Table};
use super::workers::launch::{Order, launch};
use crate::base::ids::{ClientId, ListenerId, SocketId, WorkerId};
use crate::primary::action::{Action, Target};
use crate::primary::event::{Cue, Event, Look, OpenedListener};
use crate::sys::{clock, pidfd, procfs, target};

impl Runtime {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::OpenListeners { spec } => {
                let result = self.open_listeners(&spec);
                self.inbox.push_back(Event::ListenersOpened { result });
            }
            Action::Spawn { worker, slot, generation, spec, workers, lend } => {
                self.spawn(Order { worker, slot, generation, spec, workers, lend });
            }
            Action::Lend { ticket, worker, listener, socket } => {
                self.lend(ticket, worker, listener, socket);
            }
            Action::Steer { listener, targets } => self.steer(listener, targets),
            Action::Gate { listener } => self.gate(listener),
            Action::CloseListener { listener } => self.close_listener(listener),
            Action::Signal { worker, signal, group } => self.signal(worker, signal, group),
            Action::Kill { worker } => self.signal(worker, libc::SIGKILL, true),
            Action::Look { worker } => self.look(worker),
            Action::Gauge { worker } => self.gauge(worker),
            Action::Release { worker } => drop(self.children.remove(&worker)),
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
                let reply = self.send_to_workers(&message, slot);
                self.answer(client, &reply);
            }
            Action::Bus { client, request } => self.ask_bus(client, request),
            Action::BusDrain { worker } => self.drain_on_bus(worker),
            Action::ReloadEnded { outcome } => self.bus.count_reload(outcome),
            Action::Subscribe { client } => self.clients.subscribe(client),
            Action::Publish(notice) => self.publish(notice),
            Action::Upgrade { client, binary } => self.rehearse(Some(client), binary),
            Action::ReopenLogs => {
                if let Err(error) = self.logs.reopen() {
                    self.warn(format!("cannot open the log files again: {error}"));
                }
            }
            Action::Exit { code } => self.exit = Some(code),
        }
    }

    /// Opens what is configured and not open yet: all of it, or nothing.
    fn open_listeners(&mut self, spec: &Arc<AppSpec>) -> Result<Vec<OpenedListener>, String> {
        let mut opened: Vec<OpenedListener> = Vec::new();
        for wanted in &spec.listen {
            let key = match &wanted.address {
                ListenAddress::Tcp(address) => Key::Tcp(*address, false),
                ListenAddress::Unix(path) => Key::Unix(path.clone()),
            };
            if self.listeners.find(&key).is_some() {
                continue;
            }
            match self.listeners.open_configured(wanted, spec.balance) {
                Ok(listener) => opened.push(listener.opened()),
                Err(error) => {
                    for listener in &opened {
                        self.listeners.close(listener.id);
                    }
                    return Err(match &wanted.address {
                        ListenAddress::Tcp(address) => refusal(*address, &error),
                        ListenAddress::Unix(path) => {
                            format!("cannot listen on unix:{}: {error}", path.display())
                        }
                    });
                }
            }
        }
        Ok(opened)
    }

    fn spawn(&mut self, order: Order) {
        let worker = order.worker;
        self.announce(&order.lend);
        let preload = self.preload(&order.spec);
        let sibling = !self.keeper.is_lost();
        let child = match launch(order, &mut self.listeners, sibling, preload.as_deref()) {
            Ok(child) => child,
            Err(refusal) => {
                let (reason, permanent) = (refusal.reason, refusal.permanent);
                return self.cue(worker, Cue::SpawnFailed { reason, permanent });
            }
        };
        let registered = child
            .sources()
            .into_iter()
            .try_for_each(|(fd, source)| self.poller.add(fd, source.token()));
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
        self.waiting_to_go.push(worker);
        self.children.insert(worker, child);
        self.join_bus(worker);
    }

    /// Writes down which sockets are about to listen.
    fn announce(&mut self, lend: &[(ListenerId, SocketId)]) {
        let mut news = false;
        for (id, socket) in lend {
            let Some(listener) = self.listeners.get_mut(*id) else { continue };
            if !listener.is_shared() {
                // What is wrong with it is said when it is to listen.
                news |= listener.announce(*socket).unwrap_or(false);
            }
        }
        if news {
            self.write_snapshot();
        }
    }

    fn close_listener(&mut self, listener: ListenerId) {
        self.refuse_asking(listener);
        self.forget_headers(listener);
        self.forget_orphans(listener);
        if let Some(closed) = self.listeners.close(listener)
            && let Some(fd) = closed.accepting()
        {
            self.poller.remove(fd);
        }
    }

    fn steer(&mut self, listener: ListenerId, targets: Vec<Target>) {
        let Some(open) = self.listeners.get_mut(listener) else { return };
        if let Err(error) = open.steer(targets) {
            let address = open.address();
            self.warn(format!("cannot steer the connections of {address}: {error}"));
        }
        self.resume(listener);
    }

    fn gate(&mut self, listener: ListenerId) {
        let Some(open) = self.listeners.get_mut(listener) else { return };
        if open.hand_over().is_some() {
            open.targets.clear();
            return self.pause(listener);
        }
        if let Err(error) = open.gate() {
            let address = open.address();
            self.warn(format!("cannot refuse new connections of {address}: {error}"));
        }
    }

    fn signal(&mut self, worker: WorkerId, signal: i32, group: bool) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        let result = if group {
            // Snapshot to be looked at, or restored again, it goes on.
            child.told_to_stop |= !matches!(signal, libc::SIGSTOP | libc::SIGCONT);
            pidfd::signal_group(child.pid, signal)
        } else {
            pidfd::signal(child.pidfd.as_fd(), signal)
        };
        if let Err(error) = result {
            let pid = child.pid.0;
            self.warn(format!("cannot send signal {signal} to worker {pid}: {error}"));
        }
    }

    /// Connections that wait in these sockets' accept queues. What waits in a shared one is
    /// nobody's yet.
    pub(super) fn queued(&self, sockets: &[(ListenerId, SocketId)]) -> u32 {
        let one = |(listener, socket): &(ListenerId, SocketId)| {
            let open = self.listeners.get(*listener).filter(|open| !open.is_shared());
            open.map_or(0, |open| open.queued(*socket))
        };
        sockets.iter().map(one).sum()
    }

    fn look(&mut self, worker: WorkerId) {
        let Some(child) = self.children.get(&worker) else { return };
        let lent: Vec<_> = child.lent.keys().copied().collect();
        // Connections on their way to it are its own as well.
        let pending = child.node.as_ref().map_or(0, |node| node.link.pending());
        let queued = self.queued(&lent) + u32::try_from(pending).unwrap_or(u32::MAX);
        let still = procfs::is_still(&target::descendants(child.pid.0), child.pid.0);
        // What was read before it stood still may lack a connection that it took since.
        let known = self.table.take().filter(|_| !still);
        let table = known.unwrap_or_else(|| Table::read(&self.listeners));
        let Some(child) = self.children.get_mut(&worker) else { return };
        let idle = child.spec.times.drain_idle;
        let drain = child.drain.get_or_insert_with(Drain::default);
        let look: Look = drain.look(child.pid.0, queued, &table, idle);
        self.table = Some(table);
        self.cue(worker, Cue::Looked(Look { still, ..look }));
    }

    /// What a person should know about the balance and the engine they asked for.
    pub(super) fn balance_note(&self) -> Option<String> {
        let spec = self.core.spec();
        let in_kernel = |open: &&Listener| matches!(open.kind, Kind::Slots);
        let mut kernels = self.listeners.iter().filter(in_kernel).peekable();
        kernels.peek()?;
        if spec.proxy_protocol {
            return Some(
                "PROXY headers are not read: this program accepts its connections itself, and the \
                 kernel places them before the first byte comes, by the address of the proxy"
                    .to_owned(),
            );
        }
        if spec.engine == Engine::Primary || spec.balance == Balance::LeastConnections {
            return Some(
                "the primary engine needs a program that takes connections from it (Node does): \
                 the kernel places them here, evenly where least-connections was asked for"
                    .to_owned(),
            );
        }
        let why = kernels.find_map(|open| open.no_round_robin.as_ref())?;
        Some(format!(
            "round-robin is not strict here: connections are placed evenly at random (loading the \
             steering program: {why}; run as root or grant CAP_BPF)"
        ))
    }

    /// What a person should know about the sockets that the service manager passed.
    pub(super) fn lent_note(&self) -> Option<String> {
        let unused = self.listeners.lent.unused();
        (!unused.is_empty()).then(|| {
            let sockets = unused.join(", ");
            format!("nobody has asked for {sockets}, which the service manager passed to us")
        })
    }

    pub(super) fn answer(&mut self, client: ClientId, reply: &Reply) {
        let standing = self.clients.answer(client, reply);
        self.settle(client, standing);
    }

    pub(super) fn publish(&mut self, mut notice: Notice) {
        if let Some(manager) = &mut self.manager {
            manager.look_again();
        }
        notice.unix_ms = clock::unix_ms();
        let worker = notice.worker.map(WorkerId);
        notice.pid = worker.and_then(|id| self.children.get(&id)).map(|child| child.pid.0);
        self.logs.console.notice(&notice);
        self.tell(&notice);
    }

    /// Tells every subscriber.
    pub(super) fn tell(&mut self, notice: &Notice) {
        for (client, standing) in self.clients.publish(notice) {
            self.settle(client, standing);
        }
    }
}

/// `2026-11-21T08:00:00Z web: slot 0: worker 12 is ready`
pub(super) fn log_line(app: &str, notice: &Notice) -> String {
    let ms = i64::try_from(notice.unix_ms).unwrap_or_default();
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    let slot = notice.slot.map(|slot| format!(" slot {slot}:")).unwrap_or_default();
    let pid = notice.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let mut line = format!("{time:.3} {app}:{slot} {}{pid}", notice.message);
    for last in &notice.last_lines {
        line.push_str("\n  | ");
        line.push_str(last);
    }
    line
}
