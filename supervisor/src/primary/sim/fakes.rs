//! The fake programs: what they do, and what the runtime sees of them.

use super::*;

impl Sim {
    pub(super) fn act(&mut self, worker: WorkerId, deed: Deed) {
        let fake = self.known(worker);
        if fake.frozen.is_some() && !matches!(deed, Deed::Killed | Deed::Looked | Deed::Gauged) {
            fake.held.push(deed);
            return;
        }
        match deed {
            Deed::Run => self.run(worker),
            Deed::CannotRun { permanent } => {
                self.known(worker).life = Life::Dead;
                let reason = "cannot run it".to_owned();
                self.tell(worker, Cue::SpawnFailed { reason, permanent });
            }
            Deed::Bind(port) => self.bind(worker, port),
            Deed::Listen { listener, socket } => self.listen(worker, listener, socket),
            Deed::Say(notification) => self.tell(worker, Cue::Notified(notification)),
            Deed::RefuseValues => {
                self.tell(worker, Cue::RefusesValues { reason: "too high".to_owned() });
            }
            Deed::Accept => self.accept(worker),
            Deed::Close { listener, socket } => self.close_server(worker, listener, socket),
            Deed::Leave => {
                let after = self.soon(20);
                self.deed(worker, after, Deed::Die(Exit::Code(0)));
                self.tell(worker, Cue::Leaving);
            }
            Deed::Die(exit) => {
                let in_flight = self.is_busy(&self.fakes[&worker]);
                self.cut += u32::from(exit == Exit::Signal(15) && in_flight);
                self.die(worker, exit);
            }
            Deed::Killed => self.die(worker, Exit::Signal(9)),
            Deed::Looked => {
                let look = self.seen(worker);
                if self.known(worker).frozen.is_none() {
                    self.accept(worker);
                }
                self.tell(worker, Cue::Looked(look));
            }
            Deed::Gauged => self.gauge(worker),
            Deed::Gone => {}
        }
    }

    /// What is left of a group has no main process: it ends when it is told to, or by itself.
    pub(super) fn act_leftovers(&mut self, worker: WorkerId, deed: Deed) {
        match deed {
            Deed::Killed | Deed::Gone | Deed::Die(_) => self.group_gone(worker),
            Deed::Looked => {
                let look = self.seen(worker);
                self.tell(worker, Cue::Looked(look));
            }
            Deed::Gauged => self.gauge(worker),
            Deed::Run
            | Deed::CannotRun { .. }
            | Deed::Bind(_)
            | Deed::Listen { .. }
            | Deed::Say(_)
            | Deed::RefuseValues
            | Deed::Accept
            | Deed::Close { .. }
            | Deed::Leave => {}
        }
    }

    fn run(&mut self, worker: WorkerId) {
        let fake = self.known(worker);
        fake.life = Life::Runs;
        let habit = fake.habit.clone();
        for port in habit.ports {
            let after = habit.late + self.soon(200);
            self.deed(worker, after, Deed::Bind(port));
        }
        if let Some((Moment::Running, after, exit)) = habit.dies {
            self.deed(worker, after, Deed::Die(exit));
        }
        let after = self.soon(100);
        self.deed(worker, after, Deed::Accept);
        let said = [
            (habit.ready, Notification::Ready),
            (habit.extend, Notification::Extend(Duration::from_secs(1))),
            (habit.hung, Notification::WatchdogTrigger),
        ];
        for (after, notification) in said {
            if let Some(after) = after {
                self.deed(worker, after, Deed::Say(notification));
            }
        }
        if let Some(after) = habit.refuses {
            self.deed(worker, after, Deed::RefuseValues);
        }
        self.tell(worker, Cue::Spawned);
    }

    pub(in super::super) fn bind(&mut self, worker: WorkerId, port: u16) {
        let address = format!("127.0.0.1:{port}");
        if self.fakes[&worker].habit.refused || self.taken.contains(&address) {
            let reason = "address in use".to_owned();
            self.deed(worker, Duration::from_millis(1), Deed::Die(Exit::Code(98)));
            self.tell(worker, Cue::BindRefused { address, reason });
            return;
        }
        let listener = self.listener_at(&address).unwrap_or_else(|| {
            let found = self.new_listener(address, None);
            let id = found.id;
            self.feed(Event::ListenerFound(found));
            id
        });
        if self.fakes[&worker].life != Life::Runs {
            return;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.known(worker).tickets.insert(ticket, listener);
        self.tell(worker, Cue::BindAsked { listener, ticket, another: false });
    }

    fn listen(&mut self, worker: WorkerId, listener: ListenerId, socket: SocketId) {
        if self.serve(worker, listener, socket) {
            self.tell(worker, Cue::Listening { listener, socket });
        }
    }

    /// The worker serves a socket that it was lent. Whether it has it still.
    pub(super) fn serve(
        &mut self,
        worker: WorkerId,
        listener: ListenerId,
        socket: SocketId,
    ) -> bool {
        let fake = self.known(worker);
        if !fake.holds.contains(&(listener, socket)) {
            return false;
        }
        if !fake.listens.contains(&(listener, socket)) {
            fake.listens.push((listener, socket));
        }
        let Habit { dies, closes, leaves, .. } = fake.habit.clone();
        if let Some((Moment::Listening, after, exit)) = dies {
            self.deed(worker, after, Deed::Die(exit));
        }
        if let Some(after) = closes {
            self.deed(worker, after, Deed::Close { listener, socket });
        }
        if let Some(after) = leaves {
            self.deed(worker, after, Deed::Leave);
        }
        self.deed(worker, Duration::from_micros(50), Deed::Accept);
        if let Some(open) = self.listeners.get_mut(&listener) {
            open.listening.insert(socket);
        }
        true
    }

    /// Closes a server. The runtime gives its waiting connections to other workers.
    fn close_server(&mut self, worker: WorkerId, listener: ListenerId, socket: SocketId) {
        let fake = self.known(worker);
        let before = fake.listens.len();
        fake.listens.retain(|pair| *pair != (listener, socket));
        if fake.listens.len() == before {
            return;
        }
        if let Some(listener) = self.listeners.get_mut(&listener).filter(|open| !open.shared) {
            listener.queues.insert(socket, 0);
        }
        self.tell(worker, Cue::Closed { listener, socket });
    }

    /// The oldest waiting connection has waited since the worker last took one, at most.
    fn gauge(&mut self, worker: WorkerId) {
        let fake = &self.fakes[&worker];
        let oldest = self.now.since(fake.moved);
        let gauge = Gauge { waiting: self.queued(fake), moved: fake.moved >= fake.gauged, oldest };
        self.known(worker).gauged = self.now;
        self.tell(worker, Cue::Gauged(gauge));
    }

    fn accept(&mut self, worker: WorkerId) {
        let now = self.now;
        let fake = self.fakes.get_mut(&worker).expect("a worker that acts");
        if fake.habit.stuck {
            return;
        }
        let mut accepted = 0;
        for (listener, socket) in &fake.listens {
            if let Some(listener) = self.listeners.get_mut(listener) {
                accepted += listener.queues.insert(*socket, 0).unwrap_or(0);
            }
        }
        if accepted > 0 {
            fake.moved = now;
            fake.busy_until = fake.busy_until.max(now + fake.habit.busy);
        }
    }

    pub(super) fn queued(&self, fake: &Fake) -> u32 {
        let queue = |(listener, socket): &(ListenerId, SocketId)| {
            let listener = self.listeners.get(listener).filter(|listener| !listener.shared);
            listener.and_then(|listener| listener.queues.get(socket)).copied().unwrap_or(0)
        };
        fake.holds.iter().map(queue).sum()
    }

    /// It has a request in flight.
    fn is_busy(&self, fake: &Fake) -> bool {
        let ends = fake.ends_kept && fake.habit.on_stop == OnStop::EndsKept;
        let kept = fake.habit.kept && !ends && fake.quiet_from.is_none_or(|at| at > self.now);
        kept || fake.busy_until > fake.frozen.unwrap_or(self.now)
    }

    fn seen(&mut self, worker: WorkerId) -> Look {
        let stopped = !self.dice.roll().is_multiple_of(4);
        let fake = &self.fakes[&worker];
        Look {
            queued: self.queued(fake),
            handshaking: 0,
            busy: u32::from(self.is_busy(fake)),
            idle: 1,
            visible: fake.habit.looks != Looks::Blind,
            still: stopped && fake.frozen.is_some(),
            on_stop: fake.habit.on_stop,
        }
    }

    /// Its main process ends. What is left of its group is killed, or may finish.
    pub(in super::super) fn die(&mut self, worker: WorkerId, exit: Exit) {
        let fake = self.known(worker);
        let (told_to_stop, finish) = (fake.told, fake.habit.children);
        fake.ended = Some(exit);
        fake.life = Life::Ended;
        let kill = self.leftovers.step(leftovers::Event::Ended { worker, told_to_stop });
        assert_eq!(kill.is_some(), !told_to_stop, "who was told to stop may finish, no other");
        if finish.is_zero() || exit == Exit::Signal(9) {
            return self.group_gone(worker);
        }
        let after = if kill.is_some() { self.soon(3) } else { finish };
        self.deed(worker, after, Deed::Gone);
    }

    /// Nothing of it lives any more.
    fn group_gone(&mut self, worker: WorkerId) {
        let queued = self.queued(&self.fakes[&worker]);
        let fake = self.known(worker);
        fake.life = Life::Dead;
        fake.frozen = None;
        let exit = fake.ended.expect("its main process ended first");
        let reap = self.leftovers.step(leftovers::Event::Seen { worker, empty: true });
        assert_eq!(reap, Some(leftovers::Action::Reap(worker)), "reaped once, at its end");
        let last_lines = vec![format!("last words of {worker}")];
        self.tell(worker, Cue::Exited { exit, last_lines, queued });
    }

    fn tell(&mut self, worker: WorkerId, cue: Cue) {
        self.feed(Event::Worker { worker, cue });
    }
}
