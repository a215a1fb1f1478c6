//! Carries out. The only loop.
//!
//! One turn: wait for the first ready source or the core's deadline; read each ready source, up
//! to its limit, into the inbox; read the clock once and give every event to the core; carry out
//! what it says, in order. What that produces goes into the inbox of the next turn, which then
//! begins at once. Nothing here decides about policy.

mod bus;
mod control;
mod handover;
mod intercept;
mod listeners;
mod node;
mod output;
mod perform;
mod probe;
mod service_manager;
mod snapshot;
mod source;
mod sources;
mod start;
mod workers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use ipc::control::{Notice, NoticeKind};

pub(crate) use output::console::LogFormat;
pub(crate) use snapshot::check_state;
pub(crate) use snapshot::upgrade::CAN_GO_ON;
pub(crate) use start::{LaunchError, Mode, run, run_on};

use self::bus::Bus;
use self::bus::loss_journal::LossJournal;
use self::control::Clients;
use self::handover::HandOff;
use self::handover::abandoned_sockets::AbandonedSockets;
use self::handover::proxy_header::ProxyHeaders;
use self::handover::reclaimed_connections::ReclaimedConnections;
use self::listeners::Listeners;
use self::output::logs::Logs;
use self::probe::drain::Table;
use self::service_manager::Manager;
use self::service_manager::fdstore::FdStore;
use self::snapshot::upgrade::{UpgradeCheck, Upgrading};
use self::snapshot::{Children, Written};
use self::source::Source;
use self::workers::record::Recorder;
use crate::base::ids::{ListenerId, Ticket, WorkerId};
use crate::base::time::Time;
use crate::home::Home;
use crate::keeper::Link;
use crate::limits::NOTES;
use crate::primary::Primary;
use crate::primary::action::Action;
use crate::primary::event::{Cue, Event};
use crate::protocol::node::HandOffId;
use crate::sys::poller::{Poller, Ready};
use crate::sys::procfs::Sampler;
use crate::sys::seccomp::{Answer, Notification};
use crate::sys::signals::Signals;
use crate::sys::{clock, spawn};

/// How often the rest of a process group is looked for once its main process has ended.
const LINGER_LOOK: Duration = Duration::from_millis(5);
/// How long clients may take to read their last answer when the primary ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The primary's outside.
#[derive(Debug)]
pub(crate) struct Runtime {
    core: Primary,
    /// When the core is to be asked again, if nothing happens before.
    core_due: Option<Time>,
    poller: Poller,
    signals: Signals,
    /// Our parent, and that of the workers.
    keeper: Link,
    /// Says that the name is ours.
    lock: File,
    /// In front of a person or a service manager: how worker output is shown there.
    console_format: Option<LogFormat>,
    /// So many primaries died before this one.
    deaths: u32,
    written: Written,
    /// Before that, the state is only written for what the core did: writing a large one for each
    /// of many small changes (a worker subscribes to ten thousand topics) would be all we do.
    snapshot_after: Time,
    /// The state is no longer what was written, although the core had nothing to do.
    stale: bool,
    /// Workers that wait for the state to be written before they go on to their exec.
    waiting_to_go: Vec<WorkerId>,
    /// Intercepted calls that came in this turn.
    heard: Vec<(WorkerId, Notification)>,
    /// Answers to intercepted calls that wait for the same.
    late_answers: Vec<(WorkerId, u64, Answer)>,
    /// When it is looked whether workers have read what a predecessor sent.
    settling: snapshot::Settling,
    /// Another build is asked whether it can take over.
    rehearsal: Option<UpgradeCheck>,
    /// It does: whoever comes next says so.
    upgrading: Option<Upgrading>,
    /// What a new primary has to do again.
    first: Vec<Action>,
    /// Everything that the core wanted was done.
    carried_out: bool,
    inbox: VecDeque<Event>,
    children: Children,
    listeners: Listeners,
    clients: Clients,
    logs: Logs,
    log_paths: Vec<String>,
    home: Home,
    recorder: Recorder,
    sampler: Sampler,
    /// The service manager that started us.
    manager: Option<Manager>,
    /// What it keeps of our sockets.
    store: FdStore,
    started: Time,
    tickets: u64,
    /// Which listener answers which ask of Node workers.
    node_places: BTreeMap<String, ListenerId>,
    /// Connections on their way to workers.
    hand_offs: BTreeMap<HandOffId, (WorkerId, HandOff)>,
    next_hand_off: u64,
    /// Connections that wait for their PROXY header.
    proxied: ProxyHeaders,
    /// When slow workers are looked for.
    slow_due: Option<Time>,
    /// When the channels of busy workers are read.
    answers_due: Option<Time>,
    /// Some channel has bytes that were looked at.
    channels_looked_at: bool,
    /// For what workers' channels hold.
    channel_bytes: Vec<u8>,
    /// Slot sockets that nobody listens on although their worker lives.
    orphans: AbandonedSockets,
    /// Connections that a predecessor had accepted.
    foundlings: ReclaimedConnections,
    /// What waits for the workers on the bus.
    loss_journal: LossJournal,
    /// What the workers say to each other.
    bus: Bus,
    /// When the kernel was last asked how many connections each worker holds.
    held_counted: Option<Time>,
    /// When accepting is tried again after it failed.
    accept_again: Option<Time>,
    /// Workers whose main process has ended while others of its group live.
    lingering: BTreeSet<WorkerId>,
    /// This turn's view of the kernel's connections.
    table: Option<Table>,
    /// Said once, then shown in the status.
    notes: BTreeSet<String>,
    exit: Option<u8>,
}

impl Runtime {
    /// The loop, until the core says `Exit`. An error means that it cannot even wait any more.
    fn turn_until_exit(&mut self) -> io::Result<u8> {
        let first = std::mem::take(&mut self.first);
        self.carry_out(first);
        loop {
            let ready = self.wait()?;
            for event in ready {
                if let Some(source) = Source::from_token(event.token) {
                    self.take(source, event.readable || event.hangup, event.writable, event.hangup);
                }
            }
            self.write_bus_to_all();
            self.look_for_groups();
            self.look_after_hand_overs(clock::now());
            self.look_after_settling(clock::now());
            self.look_after_rehearsal(clock::now());
            self.report_dropped_lines();
            self.table = None;
            self.tell_manager(self.inbox.is_empty());
            self.turn_bus();
            // Connections that are handed over are none of the core's business.
            if self.inbox.is_empty() && self.core_due.is_none_or(|due| clock::now() < due) {
                if self.stale && self.snapshot_after <= clock::now() {
                    self.write_snapshot();
                }
                if let Some(code) = self.exit {
                    return Ok(code);
                }
                self.heard.clear();
                self.done_with_channels();
                continue;
            }
            let actions = self.step();
            self.core_due = self.core.deadline();
            self.keep_access();
            self.carry_out(actions);
            self.turn_bus();
            self.keep_record();
            self.keep_store();
            self.tell_manager(true);
            if let Some(code) = self.exit {
                return Ok(code);
            }
        }
    }

    /// Waits for the first ready source or the next deadline.
    fn wait(&mut self) -> io::Result<Vec<Ready>> {
        let patience = self.patience();
        if self.bus.busy_poll.looks() && patience.is_none_or(|time| time > bus::busy_poll::MOMENT) {
            let until = clock::now() + bus::busy_poll::MOMENT;
            loop {
                let ready = self.poller.wait(Some(Duration::ZERO))?;
                let seen = !ready.is_empty();
                if seen || clock::now() >= until {
                    self.bus.busy_poll.saw(seen);
                    if seen {
                        return Ok(ready);
                    }
                    break;
                }
            }
        }
        self.poller.wait(patience)
    }

    /// Gives the core everything that came, under one reading of the clock.
    fn step(&mut self) -> Vec<Action> {
        let now = clock::now();
        let mut actions = Vec::new();
        while let Some(event) = self.inbox.pop_front() {
            self.core.step(now, event, &mut actions);
        }
        self.core.step(now, Event::Turn, &mut actions);
        actions
    }

    /// How long the poller may wait.
    fn patience(&self) -> Option<Duration> {
        if !self.inbox.is_empty() || self.bus_is_restless() {
            return Some(Duration::ZERO);
        }
        let now = clock::now();
        let manager = self.manager.as_ref().and_then(Manager::deadline);
        let bus = self.bus.deadline();
        let (hands, rehearsal) = (self.hand_over_deadline(), self.rehearsal_deadline());
        let snapshot = self.stale.then_some(self.snapshot_after);
        let all = [self.core_due, hands, self.settling.due, rehearsal, snapshot, manager, bus];
        let deadlines = all.into_iter().flatten();
        let deadline = deadlines.min().map(|deadline| deadline.since(now));
        let linger = (!self.lingering.is_empty()).then_some(LINGER_LOOK);
        deadline.into_iter().chain(linger).min()
    }

    /// Does what the core wants. A successor goes on from either writing: from the first it does
    /// again what may not have been done.
    fn carry_out(&mut self, actions: Vec<Action>) {
        self.carried_out = actions.is_empty();
        self.write_snapshot();
        self.heard.clear();
        self.done_with_channels();
        self.answer_late();
        if actions.is_empty() {
            // The state that was just written knows all workers, those of a predecessor too.
            return self.let_go();
        }
        for action in actions {
            self.perform(action);
        }
        self.carried_out = true;
        self.write_snapshot();
        self.let_go();
    }

    /// Workers that the state knows now go on to their exec.
    fn let_go(&mut self) {
        for worker in std::mem::take(&mut self.waiting_to_go) {
            if let Some(report) = self.children.get(&worker).and_then(|c| c.report.as_ref()) {
                spawn::go(report.as_fd());
            }
        }
    }

    /// Calls whose consequence the state knows now go on.
    fn answer_late(&mut self) {
        for (worker, call, answer) in std::mem::take(&mut self.late_answers) {
            self.answer_call(worker, call, answer);
        }
    }

    fn keep_record(&mut self) {
        if let Err(error) = self.recorder.update(&self.home, self.core.spec(), &self.children) {
            self.note(format!("cannot write the record of the workers: {error}"));
        }
    }

    fn report_dropped_lines(&mut self) {
        let dropped = self.logs.take_dropped();
        if dropped > 0 {
            self.note("log lines were dropped: the log files cannot be written".to_owned());
        }
        if self.logs.console.take_dropped() > 0 {
            self.note("lines were dropped: whoever reads our output does not keep up".to_owned());
        }
    }

    fn cue(&mut self, worker: WorkerId, cue: Cue) {
        self.inbox.push_back(Event::Worker { worker, cue });
    }

    fn next_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Something a person should know that the core need not.
    fn warn(&mut self, message: String) {
        self.publish(Notice::of_app(NoticeKind::Warning, message));
    }

    /// As `warn`, but only the first time, and shown in the status from then on. Beyond the bound
    /// (a worker may say ever new nonsense) nothing is kept, nor said.
    fn note(&mut self, message: String) {
        if self.notes.len() < NOTES && self.notes.insert(message.clone()) {
            self.warn(message);
        }
    }
}
