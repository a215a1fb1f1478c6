//! The fake runtime: carries out actions and turns their effects into the events of later turns.

use config::change::SpecChange;
use config::cpus::Cpus;
use ipc::control::FailureKind;

use crate::primary::sim::*;
use crate::primary::worker::state::LAST;

impl Sim {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::OpenListeners { spec } => self.open_listeners(&spec),
            Action::Merge { merge, running, change } => self.merge(merge, &running, &change),
            Action::RunHook { hook, kind, worker, spec, .. } => {
                self.run_hook(hook, kind, worker, &spec);
            }
            Action::Spawn { worker, spec, lend, .. } => {
                self.check_prepared(worker, &spec);
                let habit = Habit::of(&spec.command, &mut self.dice);
                self.fork(worker, habit, lend);
            }
            Action::Lend { ticket, worker, listener, socket } => {
                self.lend(ticket, worker, listener, socket);
            }
            Action::Steer { listener, targets } => {
                let known = self.listeners.get_mut(&listener).expect("steering nothing");
                assert!(!known.shared && !known.gated, "steering a shared or gated listener");
                assert!(!targets.is_empty() && targets.is_sorted(), "bad targets {targets:?}");
                let again = known.steered == targets && !self.resuming;
                assert!(!again, "steering to where it is steered");
                known.steered = targets;
            }
            Action::Gate { listener } => {
                self.listeners.get_mut(&listener).expect("gating nothing").gated = true;
            }
            Action::CloseListener { listener } => self.close_listener(listener),
            // Nothing here knows another way.
            Action::Stop { worker } => self.signal_worker(worker, 15, true),
            Action::Signal { worker, signal, group } => self.signal_worker(worker, signal, group),
            Action::Kill { worker } => self.kill(worker),
            Action::EndKept { worker, ends } => self.end_kept(worker, ends),
            Action::Look { worker } => self.look(worker),
            Action::Gauge { worker } => self.deed(worker, Duration::from_millis(2), Deed::Gauged),
            Action::Release { worker } => self.release(worker),
            Action::Abandon { worker } => self.abandon(worker),
            Action::Answer { client, reply } => {
                self.check_steering();
                self.take_answer(client, reply);
            }
            Action::AnswerStatus { client } => {
                let status = self.primary.status(self.now);
                self.check_entries(&status);
                self.take_answer(client, Reply::Status(Box::new(status)));
            }
            Action::AnswerSpec { client } => {
                let spec = AppSpec::clone(self.primary.spec());
                self.take_answer(client, Reply::Spec(Box::new(spec)));
            }
            Action::Send { client, .. } | Action::Bus { client, .. } => {
                self.take_answer(client, Reply::done("sent".to_owned()));
            }
            Action::BusDrain { worker } => self.known(worker).bus_drains = true,
            Action::NoteQuiet { command, quiet } => _ = self.quiet.insert(command, quiet),
            Action::ReloadEnded { outcome } => self.count_reload(outcome),
            Action::Subscribe { client } => self.check_subscriber(client),
            Action::Publish(notice) => {
                self.check_steering();
                self.hear(notice);
            }
            Action::ReopenLogs { client: Some(client) } => {
                self.take_answer(client, Reply::done("opened again".to_owned()));
            }
            Action::Upgrade { .. } | Action::ReopenLogs { client: None } => {}
            Action::Exit { code } => {
                assert_eq!(self.exit, None, "a second exit");
                self.exit = Some(code);
            }
        }
    }

    fn kill(&mut self, worker: WorkerId) {
        if self.hooks.contains_key(&worker) {
            return self.kill_hook(worker);
        }
        self.check_hung(worker);
        let now = self.now;
        let fake = self.known(worker);
        assert_ne!(fake.life, Life::Forked, "killing what may not run yet");
        fake.told = true;
        if fake.habit.undying {
            fake.killed.get_or_insert(now);
            return;
        }
        let after = self.soon(3);
        self.deed(worker, after, Deed::Killed);
    }

    /// The primary knows it no longer, although it lives.
    fn abandon(&mut self, worker: WorkerId) {
        if self.hooks.contains_key(&worker) {
            return self.abandon_hook(worker);
        }
        let (now, mortal) = (self.now, self.mortal.is_some());
        let fake = self.known(worker);
        let killed = fake.killed.map_or(Duration::ZERO, |killed| now.since(killed));
        assert!(mortal || killed >= LAST, "worker {worker} is abandoned {killed:?} after its kill");
        fake.life = Life::Released;
        fake.holds.clear();
    }

    fn release(&mut self, worker: WorkerId) {
        if self.hooks.contains_key(&worker) {
            return self.release_hook(worker);
        }
        // What was to come before it was never begun.
        if self.is_unheard_of(worker) {
            return;
        }
        let fake = self.known(worker);
        let is_gone = matches!(fake.life, Life::Dead | Life::Awaited);
        assert!(is_gone, "releasing a live worker");
        fake.life = Life::Released;
        fake.holds.clear();
    }

    fn lend(&mut self, ticket: Ticket, worker: WorkerId, listener: ListenerId, socket: SocketId) {
        let fake = self.known(worker);
        let asked = fake.tickets.remove(&ticket);
        assert_eq!(asked, Some(listener), "a socket that was not asked for");
        self.hold(worker, listener, socket);
        let fake = &self.fakes[&worker];
        if fake.life != Life::Runs {
            return;
        }
        // A slot socket is put into its place by `listen`, and the program has another until then.
        let open = &self.listeners[&listener];
        if fake.habit.asks && open.shared && open.listening.contains(&socket) {
            self.serve(worker, listener, socket);
        } else {
            let after = self.soon(2);
            self.deed(worker, after, Deed::Listen { listener, socket });
        }
    }

    /// A probe of a worker has this result.
    pub(in crate::primary) fn answer_probe(
        &mut self,
        worker: WorkerId,
        probe: ProbeKind,
        result: ProbeResult,
    ) {
        if probe == ProbeKind::Readiness && !matches!(result, ProbeResult::Failed(_)) {
            self.ledger.passed.insert(worker);
        }
        self.feed(Event::Worker { worker, cue: Cue::Probed { probe, result } });
    }

    /// Files called `broken` cannot be read, and no others exist.
    fn merge(&mut self, merge: MergeId, running: &AppSpec, change: &SpecChange) {
        let merged = match change.file.as_deref() {
            Some(_) => Err("cannot read the file".to_owned()),
            None => change.merge(None, running, &Cpus::read()),
        };
        let result = merged
            .map(|spec| spec.map(Box::new))
            .map_err(|reason| Refusal { kind: FailureKind::Usage, reason });
        let after = self.soon(50);
        self.cause(after, Due::Merged(merge, result));
    }

    fn check_subscriber(&self, client: ClientId) {
        assert!(self.clients.contains_key(&client), "an unknown subscriber");
    }

    fn end_kept(&mut self, worker: WorkerId, ends: bool) {
        let resuming = self.resuming;
        let fake = self.known(worker);
        let again = fake.ends_kept == ends && !resuming;
        assert!(!again, "worker {worker} is told twice whether kept connections end");
        fake.ends_kept = ends;
    }

    /// A worker that an action may name.
    pub(super) fn known(&mut self, worker: WorkerId) -> &mut Fake {
        let fake = self.fakes.get_mut(&worker).expect("an action for a worker that never was");
        assert_ne!(fake.life, Life::Released, "an action for a worker that was released");
        fake
    }

    fn open_listeners(&mut self, spec: &AppSpec) {
        let wanted: Vec<(String, String)> = spec
            .listen
            .iter()
            .map(|listen| (listen.address.to_string(), listen.name.clone()))
            .filter(|(address, _)| self.listener_at(address).is_none())
            .collect();
        let after = self.soon(3);
        if let Some((address, _)) = wanted.iter().find(|(address, _)| self.taken.contains(address))
        {
            let reason = format!("cannot listen on {address}: address in use");
            self.cause(after, Due::Opened(Err(reason)));
            return;
        }
        let opened = wanted.into_iter().map(|(a, name)| self.new_listener(a, Some(name))).collect();
        self.cause(after, Due::Opened(Ok(opened)));
    }

    pub(super) fn new_listener(&mut self, address: String, name: Option<String>) -> OpenedListener {
        let id = ListenerId(self.next_listener);
        self.next_listener += 1;
        let shared = address.ends_with(":7000");
        let listener = FakeListener {
            address: address.clone(),
            name: name.clone(),
            shared,
            steered: Vec::new(),
            gated: false,
            listening: BTreeSet::new(),
            queues: BTreeMap::new(),
        };
        self.listeners.insert(id, listener);
        OpenedListener { id, address, name, shared }
    }

    pub(in crate::primary) fn listener_at(&self, address: &str) -> Option<ListenerId> {
        self.listeners.iter().find(|(_, l)| l.address == address).map(|(id, _)| *id)
    }

    /// Refuses the `bind` of a worker that hangs in it; the worker then leaves.
    fn close_listener(&mut self, listener: ListenerId) {
        let holds = |fake: &Fake| fake.listens.iter().any(|(held, _)| *held == listener);
        let serves = |fake: &&Fake| fake.life == Life::Runs && !fake.told && holds(fake);
        let served_by = self.fakes.values().find(serves);
        assert!(served_by.is_none(), "closing what {served_by:?} serves");
        self.listeners.remove(&listener).expect("closing nothing");
        for fake in self.fakes.values_mut() {
            fake.holds.retain(|(held, _)| *held != listener);
            fake.listens.retain(|(held, _)| *held != listener);
        }
        let hanging = |fake: &Fake| fake.tickets.values().any(|asked| *asked == listener);
        let hanging: Vec<WorkerId> =
            self.fakes.iter().filter(|(_, fake)| hanging(fake)).map(|(id, _)| *id).collect();
        for worker in hanging {
            let fake = self.fakes.get_mut(&worker).expect("listed");
            fake.tickets.retain(|_, asked| *asked != listener);
            self.deed(worker, Duration::from_millis(1), Deed::Die(Exit::Code(98)));
        }
    }

    fn fork(&mut self, worker: WorkerId, habit: Habit, lend: Vec<(ListenerId, SocketId)>) {
        let outcome = match habit.spawns {
            Spawns::Fine => Deed::Run,
            Spawns::Permanently => Deed::CannotRun { permanent: true },
            Spawns::Temporarily => Deed::CannotRun { permanent: false },
        };
        let fake = self.new_fake(habit, Life::Forked);
        let before = self.fakes.insert(worker, fake);
        let lost = before.as_ref().is_none_or(|fake| {
            fake.life == Life::Awaited || (self.resuming && fake.life == Life::Dead)
        });
        assert!(lost, "a worker id was used twice");
        for (listener, socket) in lend {
            self.hold(worker, listener, socket);
            self.known(worker).listens.push((listener, socket));
            self.listeners.get_mut(&listener).expect("lent").listening.insert(socket);
        }
        let after = self.soon(4);
        self.deed(worker, after, outcome);
    }

    pub(super) fn new_fake(&self, habit: Habit, life: Life) -> Fake {
        Fake {
            habit,
            life,
            ended: None,
            told: false,
            killed: None,
            looked_at: false,
            bus_drains: false,
            ends_kept: false,
            frozen: None,
            held: Vec::new(),
            tickets: BTreeMap::new(),
            holds: Vec::new(),
            listens: Vec::new(),
            busy_until: self.now,
            quiet_from: None,
            moved: self.now,
            gauged: self.now,
        }
    }

    /// A socket is lent to one live worker at a time.
    pub(super) fn hold(&mut self, worker: WorkerId, listener: ListenerId, socket: SocketId) {
        let known = self.listeners.get_mut(&listener).expect("lending of nothing");
        known.queues.entry(socket).or_default();
        let pair = (listener, socket);
        if !known.shared {
            let other = self.fakes.iter().find(|(id, f)| **id != worker && f.holds.contains(&pair));
            assert!(other.is_none(), "{pair:?} is lent to {worker} and to {other:?}");
        }
        let fake = self.known(worker);
        if !fake.holds.contains(&pair) {
            fake.holds.push(pair);
        }
    }

    fn signal_worker(&mut self, worker: WorkerId, signal: i32, group: bool) {
        let (now, calm, resuming) = (self.now, self.soon(20), self.resuming);
        let fake = self.known(worker);
        assert_ne!(fake.life, Life::Forked, "a signal for what may not run yet");
        if !group {
            return;
        }
        match signal {
            19 => {
                let before = fake.frozen.replace(now);
                assert_eq!(before, None, "worker {worker} is frozen already");
            }
            18 if resuming && fake.frozen.is_none() => {}
            18 => self.thaw(worker),
            15 if fake.frozen.is_some() => {
                fake.told = true;
                // A program without a handler stops at once; another one goes on for a while.
                if fake.habit.deaf {
                    return;
                }
                fake.held = vec![Deed::Die(Exit::Signal(15))];
            }
            15 => {
                assert!(!fake.told || resuming, "a second stop signal for worker {worker}");
                fake.told = true;
                if fake.habit.deaf {
                    return;
                }
                match fake.habit.on_stop {
                    OnStop::Dies | OnStop::EndsKept => {
                        self.deed(worker, calm, Deed::Die(Exit::Signal(15)));
                    }
                    OnStop::Handles | OnStop::RuntimeHandles => {
                        fake.quiet_from = Some(now + calm);
                        // Of a connection that is never quiet, a request is always in flight.
                        let kept = if fake.habit.kept { fake.habit.busy } else { Duration::ZERO };
                        let after = calm + fake.busy_until.since(now).max(kept);
                        self.deed(worker, after, Deed::Die(Exit::Code(0)));
                    }
                }
            }
            other => panic!("signal {other} for worker {worker}"),
        }
    }

    fn thaw(&mut self, worker: WorkerId) {
        let now = self.now;
        let fake = self.known(worker);
        let since = fake.frozen.take().expect("SIGCONT for a worker that is not frozen");
        if fake.busy_until > since {
            fake.busy_until = fake.busy_until + now.since(since);
        }
        for deed in std::mem::take(&mut fake.held) {
            self.deed(worker, Duration::from_micros(5), deed);
        }
    }

    fn look(&mut self, worker: WorkerId) {
        let (prompt, late) = (self.soon(1), self.soon(400));
        let fake = self.known(worker);
        let parts = !std::mem::replace(&mut fake.looked_at, true);
        let dies = fake.habit.dies_draining && parts;
        let looks = fake.habit.looks;
        if parts {
            self.check_parting(worker);
        }
        if dies {
            self.leave_waiting(worker);
            self.deed(worker, prompt, Deed::Die(Exit::Code(7)));
            return;
        }
        match looks {
            Looks::Never => {}
            Looks::Prompt | Looks::Blind => self.deed(worker, prompt, Deed::Looked),
            Looks::Late => self.deed(worker, late, Deed::Looked),
        }
    }

    /// Leaves connections that came while the worker was still steered to.
    pub(in crate::primary) fn leave_waiting(&mut self, worker: WorkerId) {
        let Some((listener, socket)) = self.fakes[&worker].listens.first().copied() else { return };
        // A socket that got no connection can leave none. If the end of the worker was not seen,
        // nothing more is known.
        let known = self.primary.sockets.iter().find(|known| known.opened.id == listener);
        let used = known.is_some_and(|l| l.sockets().any(|(id, s)| id == socket && s.used));
        if let Some(listener) = self.listeners.get_mut(&listener)
            && !listener.shared
            && (used || self.mortal.is_none())
        {
            *listener.queues.entry(socket).or_default() += 3;
        }
    }

    fn take_answer(&mut self, client: ClientId, reply: Reply) {
        let now = self.now;
        let client = self.clients.get_mut(&client).expect("an answer for an unknown client");
        assert!(!client.gone, "an answer for a client that is gone: {reply:?}");
        assert!(client.answer.is_none(), "a second answer: {reply:?}");
        assert!(!client.endless, "an answer for a client that only listens: {reply:?}");
        assert!(now >= client.asked);
        client.answer = Some(reply);
    }

    pub(super) fn happen(&mut self, due: Due) {
        match due {
            Due::Merged(merge, result) => self.feed(Event::Merged { merge, result }),
            Due::Opened(result) => self.feed(Event::ListenersOpened { result }),
            Due::Hook(hook, deed) => self.act_hook(hook, deed),
            Due::Deed(worker, deed) => {
                let life = self.fakes.get(&worker).map(|fake| fake.life);
                match life {
                    Some(Life::Forked | Life::Runs) => self.act(worker, deed),
                    Some(Life::Ended) => self.act_leftovers(worker, deed),
                    Some(Life::Awaited | Life::Dead | Life::Released) | None => {}
                }
            }
        }
    }
}
