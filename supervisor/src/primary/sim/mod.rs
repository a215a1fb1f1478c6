//! A world for the core: a fake runtime that turns actions into later events, fake programs, and a
//! clock that jumps to the next event. After every step the laws are checked.

pub(super) mod chaos;
mod driver;
pub(super) mod fakes;
pub(super) mod habit;
pub(super) mod hooks;
pub(super) mod laws;
pub(super) mod mortal;
mod policies;
pub(super) mod twins;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use config::spec::{AppSpec, ListenAddress};
use ipc::control::{Notice, Reply, Request};

use super::Primary;
use super::action::{Action, ReloadOutcome, Target};
use super::event::{
    Cue, Event, Gauge, Look, Notification, OpenedListener, PrimarySignal, ProbeKind, ProbeResult,
    Refusal, Scheduled, Used,
};
use super::slots::restart_policy::Jitter;
use crate::base::exit::Exit;
use crate::base::ids::{
    ClientId, CommandKey, Generation, ListenerId, MergeId, SocketId, Ticket, WorkerId,
};
use crate::base::on_stop::OnStop;
use crate::base::time::Time;
use crate::policy::leftovers::{self, Leftovers};
use habit::{Habit, Looks, Moment, Spawns};
use hooks::{FakeHook, HookDeed};
use laws::Ledger;
use mortal::Mortal;
use policies::Policies;
use twins::Twin;

/// When each world begins.
const BORN: Time = Time(1_000_000_000);
/// How many events and actions are shown when a law is broken.
const REMEMBERED: usize = 300;

pub(super) struct Sim {
    pub(super) primary: Primary,
    pub(super) now: Time,
    pub(super) seed: u64,
    pub(super) steps: u64,
    dice: Jitter,
    /// What is due, by time and in the order of its causes.
    due: BTreeMap<(Time, u64), Due>,
    causes: u64,
    pub(super) fakes: BTreeMap<WorkerId, Fake>,
    pub(super) hooks: BTreeMap<WorkerId, FakeHook>,
    pub(super) listeners: BTreeMap<ListenerId, FakeListener>,
    next_listener: u32,
    pub(super) clients: BTreeMap<ClientId, Client>,
    next_client: u64,
    next_ticket: u64,
    pub(super) notices: Vec<Notice>,
    pub(super) exit: Option<u8>,
    /// How many workers ended with a request in flight after they were told to stop.
    pub(super) cut: u32,
    /// Addresses that cannot be opened.
    pub(super) taken: Vec<String>,
    /// Which commands were noted as quiet, and which of them no longer are.
    pub(super) quiet: BTreeMap<CommandKey, bool>,
    ledger: Ledger,
    policies: Policies,
    twin: Option<Twin>,
    mortal: Option<Mortal>,
    leftovers: Leftovers,
    /// The primary has just come back, and repeats what may have been done already.
    resuming: bool,
    past: VecDeque<(Time, Past)>,
}

/// An event of the past, kept for the report when a law is broken.
enum Past {
    Event(Event),
    Action(Action),
    Death { carried_out: bool },
}

/// An event of the future.
#[derive(Debug)]
enum Due {
    Deed(WorkerId, Deed),
    Hook(WorkerId, HookDeed),
    Opened(Result<Vec<OpenedListener>, String>),
    Merged(MergeId, Result<Option<Box<AppSpec>>, Refusal>),
}

/// A deed of a fake worker, or a finding about it.
#[derive(Debug)]
enum Deed {
    Run,
    CannotRun {
        permanent: bool,
    },
    Bind(u16),
    Listen {
        listener: ListenerId,
        socket: SocketId,
    },
    Say(Notification),
    RefuseValues,
    Accept,
    /// It closes a server and lives on.
    Close {
        listener: ListenerId,
        socket: SocketId,
    },
    /// It says that it leaves, and does.
    Leave,
    Die(Exit),
    /// SIGKILL, which does not wait for SIGCONT.
    Killed,
    /// The last process of its group ends, after its main process.
    Gone,
    Looked,
    Gauged,
}

#[derive(Debug)]
pub(super) struct Fake {
    habit: Habit,
    pub(super) life: Life,
    /// How its main process ended.
    ended: Option<Exit>,
    /// The primary told it to go.
    pub(super) told: bool,
    /// When it was killed, if that does not end it.
    killed: Option<Time>,
    pub(super) looked_at: bool,
    /// The bus was told that it drains.
    bus_drains: bool,
    /// It ends each kept connection with its next response.
    pub(super) ends_kept: bool,
    /// By SIGSTOP, since then.
    pub(super) frozen: Option<Time>,
    /// What it would have done while it was frozen.
    held: Vec<Deed>,
    tickets: BTreeMap<Ticket, ListenerId>,
    pub(super) holds: Vec<(ListenerId, SocketId)>,
    listens: Vec<(ListenerId, SocketId)>,
    busy_until: Time,
    /// It was told to stop, and its kept connections end then.
    quiet_from: Option<Time>,
    /// When it last took a connection, or began.
    pub(super) moved: Time,
    /// When it was last gauged.
    gauged: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// A hook runs before it.
    Awaited,
    Forked,
    Runs,
    /// Its main process has ended, and others of its group live.
    Ended,
    /// The runtime reported its end, or that it could not be started.
    Dead,
    Released,
}

#[derive(Debug)]
pub(super) struct FakeListener {
    pub(super) address: String,
    name: Option<String>,
    pub(super) shared: bool,
    pub(super) steered: Vec<Target>,
    gated: bool,
    /// The sockets that listen in the kernel.
    pub(in crate::primary) listening: BTreeSet<SocketId>,
    /// Waiting connections, by socket.
    pub(super) queues: BTreeMap<SocketId, u32>,
}

#[derive(Debug)]
pub(super) struct Client {
    request: String,
    pub(super) asked: Time,
    pub(super) answer: Option<Reply>,
    pub(super) gone: bool,
    /// The client only listens.
    endless: bool,
}

impl Sim {
    pub(super) fn new(spec: AppSpec, seed: u64) -> Self {
        Self {
            primary: Primary::new(Arc::new(spec), seed),
            now: BORN,
            seed,
            steps: 0,
            dice: Jitter::new(!seed),
            due: BTreeMap::new(),
            causes: 0,
            fakes: BTreeMap::new(),
            hooks: BTreeMap::new(),
            listeners: BTreeMap::new(),
            next_listener: 0,
            clients: BTreeMap::new(),
            next_client: 0,
            next_ticket: 0,
            notices: Vec::new(),
            exit: None,
            cut: 0,
            taken: Vec::new(),
            quiet: BTreeMap::new(),
            ledger: Ledger::default(),
            policies: Policies::new(),
            twin: None,
            mortal: None,
            leftovers: Leftovers::default(),
            resuming: false,
            past: VecDeque::new(),
        }
    }

    /// A world in which the app has begun.
    pub(super) fn begun(spec: AppSpec, seed: u64) -> Self {
        let mut sim = Self::new(spec, seed);
        sim.begin();
        sim
    }

    pub(super) fn begin(&mut self) {
        self.feed(Event::Begin);
    }

    /// When the app began.
    pub(super) fn born(&self) -> Time {
        BORN
    }

    pub(super) fn ask(&mut self, request: Request) -> ClientId {
        let client = ClientId(self.next_client);
        self.next_client += 1;
        let endless = matches!(request, Request::Subscribe);
        let (asked, text) = (self.now, format!("{request:?}"));
        let kept = Client { request: text, asked, answer: None, gone: false, endless };
        self.clients.insert(client, kept);
        self.feed(Event::Request { client, request });
        client
    }

    pub(super) fn leave(&mut self, client: ClientId) {
        self.clients.get_mut(&client).expect("a client").gone = true;
        self.feed(Event::ClientGone { client });
    }

    pub(super) fn signal(&mut self, signal: PrimarySignal) {
        self.feed(Event::Signal(signal));
    }

    /// Kills a worker from outside (kill -9).
    pub(super) fn murder(&mut self, worker: WorkerId) {
        if self.fakes[&worker].life == Life::Runs {
            self.die(worker, Exit::Signal(9));
        }
    }

    /// A connection comes. A worker that listens there will accept it.
    pub(super) fn connect(&mut self, listener: ListenerId) {
        let roll = self.dice.roll();
        let Some(listening) = self.listeners.get_mut(&listener) else { return };
        if listening.shared {
            *listening.queues.entry(SocketId(0)).or_default() += 1;
            return self.offer(listener);
        }
        let steered = u64::try_from(listening.steered.len()).expect("few targets");
        if steered == 0 || listening.gated {
            return;
        }
        let target = listening.steered[usize::try_from(roll % steered).expect("an index")];
        *listening.queues.entry(target.socket).or_default() += 1;
        let pair = (listener, target.socket);
        let accepts = |fake: &Fake| fake.life == Life::Runs && fake.listens.contains(&pair);
        let holder = self.fakes.iter().find(|(_, fake)| accepts(fake));
        if let Some(holder) = holder.map(|(id, _)| *id) {
            let after = self.soon(2);
            self.deed(holder, after, Deed::Accept);
        }
    }

    /// Lets the workers on a shared socket race for the connections that wait there.
    fn offer(&mut self, listener: ListenerId) {
        let pair = (listener, SocketId(0));
        let listens = |fake: &Fake| fake.life == Life::Runs && fake.listens.contains(&pair);
        let all = self.fakes.iter().filter(|(_, fake)| listens(fake)).map(|(id, _)| *id);
        for worker in all.collect::<Vec<_>>() {
            let after = self.soon(2);
            self.deed(worker, after, Deed::Accept);
        }
    }

    /// Lets the next event happen. `false`: there is none.
    pub(super) fn tick(&mut self) -> bool {
        let deadline = self.primary.deadline();
        let caused = self.due.keys().next().copied();
        match (caused, deadline) {
            _ if self.exit.is_some() => false,
            (None, None) => false,
            (Some(key), _) if deadline.is_none_or(|at| key.0 <= at) => {
                self.now = self.now.max(key.0);
                if let Some(due) = self.due.remove(&key) {
                    self.happen(due);
                }
                true
            }
            (_, Some(at)) => {
                self.now = self.now.max(at);
                self.feed(Event::Turn);
                true
            }
            (Some(_), None) => unreachable!("what an action caused comes at a known time"),
        }
    }

    /// Ticks until `done` holds, which must happen within 15 simulated minutes.
    pub(super) fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let latest = self.now + Duration::from_secs(900);
        while !done(self) {
            assert!(self.now <= latest, "not within 15 minutes: {what}");
            assert!(self.tick(), "nothing more happens before: {what}");
        }
    }

    /// Ticks for the given time.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        let next = |sim: &Self| {
            let caused = sim.due.keys().next().map(|key| key.0);
            caused.into_iter().chain(sim.primary.deadline()).min()
        };
        while next(self).is_some_and(|at| at <= end) && self.tick() {}
        self.now = end;
    }

    /// Ticks until the client has its answer.
    pub(super) fn answer(&mut self, client: ClientId) -> Reply {
        let answered = |sim: &Self| sim.clients[&client].answer.is_some();
        self.until("an answer", answered);
        self.clients[&client].answer.clone().expect("answered")
    }

    /// Feeds one event and the turn that ends the loop's round, then carries out the actions in
    /// order.
    pub(super) fn feed(&mut self, event: Event) {
        self.remember(Past::Event(event.clone()));
        self.announce_to_policies(&event);
        if self.is_forgotten(&event) {
            self.step_policies();
            return self.check();
        }
        let mut actions = Vec::new();
        self.primary.step(self.now, event.clone(), &mut actions);
        self.primary.step(self.now, Event::Turn, &mut actions);
        self.step_twin(&event, &actions);
        self.steps += 2;
        self.carry_out(actions);
        self.step_policies();
        self.check();
    }

    fn remember(&mut self, past: Past) {
        if self.past.len() == REMEMBERED {
            self.past.pop_front();
        }
        self.past.push_back((self.now, past));
    }

    fn cause(&mut self, after: Duration, due: Due) {
        self.causes += 1;
        self.due.insert((self.now + after, self.causes), due);
    }

    fn deed(&mut self, worker: WorkerId, after: Duration, deed: Deed) {
        self.cause(after, Due::Deed(worker, deed));
    }

    /// A random time of up to this many milliseconds, and at least a few microseconds.
    fn soon(&mut self, millis: u64) -> Duration {
        Duration::from_micros(5 + self.dice.roll() % (millis * 1000))
    }
}

impl fmt::Display for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event) => write!(f, "{event:?}"),
            Self::Death { carried_out } => {
                write!(f, "-- the primary dies ({carried_out}) and comes back")
            }
            Self::Action(Action::Spawn { worker, slot, generation, spec, lend, .. }) => {
                let command = spec.command.join(" ");
                write!(f, "    spawn {worker}: {slot}/{generation} {command} {lend:?}")
            }
            Self::Action(Action::Publish(notice)) => {
                let Notice { event, worker, slot, message, .. } = notice;
                write!(f, "    {event:?} {worker:?} {slot:?}: {message}")
            }
            Self::Action(action) => write!(f, "    {action:?}"),
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (at, text) in &self.past {
                eprintln!("{:>14.6}  {text}", Duration::from_nanos(at.0).as_secs_f64());
            }
            for worker in self.primary.workers.values() {
                eprintln!("{}: slot {}, {:?}", worker.id, worker.slot, worker.state);
            }
            eprintln!("to see it again: SIM_SEED={} cargo test -p supervisor sim", self.seed);
        }
    }
}

/// An app of this command.
pub(super) fn app(command: &str, wanted: u16) -> AppSpec {
    let command = command.split(' ').map(str::to_owned).collect();
    let mut spec = AppSpec::new("web", command, "/srv/web".into());
    spec.wanted = wanted;
    spec
}

/// The same with a configured address.
pub(super) fn listening(mut spec: AppSpec, port: u16) -> AppSpec {
    let address = ListenAddress::Tcp(([127, 0, 0, 1], port).into());
    spec.listen.push(config::spec::ListenSpec { name: format!("p{port}"), address });
    spec
}
