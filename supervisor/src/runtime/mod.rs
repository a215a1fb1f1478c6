//! Carries out. The only loop.
//!
//! One turn: wait for the first ready source or the core's deadline; read each ready source, up
//! to its limit, into the inbox; read the clock once and give every event to the core; carry out
//! what it says, in order. What that produces goes into the inbox of the next turn, which then
//! begins at once. Nothing here decides about policy: `primary` and the machines of `policy` do.
//!
//! Each room keeps its own state, and is lent what the rooms share (`context`) for each call.

mod autoscale;
mod bus;
mod calendar;
mod closed_sockets;
mod context;
mod contracts;
mod control;
mod error_text;
mod event_loop;
mod family;
mod file_watch;
mod files;
mod handover;
mod health;
mod helper;
mod intercept;
mod lasting_helper;
mod lease;
mod listeners;
mod low_ports;
mod merges;
mod node;
mod notes;
mod notifications;
mod on_stop;
mod output;
mod own_sockets;
mod perform;
mod probe;
mod service_manager;
mod shutdown;
mod snapshot;
mod source;
mod sources;
mod start;
mod upgrade;
mod workers;

use std::io;
use std::time::Duration;

use ipc::control::Request;

pub(crate) use crate::policy::log_retention::{Limits, RotatedFile, plan as tidy_plan};
pub(crate) use crate::primary::event::Refusal;
pub(crate) use file_watch::{Order as WatchOrder, Report as WatchReport};
pub(crate) use health::{
    Answer as ProbeAnswer, Ask as ProbeAsk, Found as ProbeFound, Question as ProbeQuestion,
};
pub(crate) use lasting_helper::MOST_BYTES as MESSAGE_BYTES;
pub(crate) use merges::{Answer, Question};
pub(crate) use output::console::LogFormat;
pub(crate) use output::housekeeping::{Found, LogIdentity, TidyAnswer, TidyQuestion};
pub(crate) use output::json_line;
pub(crate) use snapshot::check_state;
pub(crate) use snapshot::upgrade::CAN_GO_ON;
pub(crate) use start::{LaunchError, Mode, run, run_on};

use self::autoscale::AutoscaleWatch;
use self::bus::Bus;
use self::calendar::Calendar;
use self::context::context;
use self::control::Clients;
use self::event_loop::EventLoop;
use self::file_watch::FileWatch;
use self::handover::HandOver;
use self::health::Health;
use self::intercept::Intercept;
use self::lease::Lease;
use self::listeners::Listeners;
use self::merges::Merges;
use self::node::Node;
use self::notes::Notes;
use self::output::housekeeping::Housekeeping;
use self::output::logs::Logs;
use self::probe::Probes;
use self::service_manager::Manager;
use self::snapshot::pieces::Children;
use self::snapshot::succession::Succession;
use self::source::Source;
use self::workers::pid_files::PidFiles;
use self::workers::record::Recorder;
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::keeper::Link;
use crate::policy::closed_sockets::ClosedSockets;
use crate::policy::own_sockets::OwnSocketsWatch;
use crate::primary::Primary;
use crate::primary::action::Action;
use crate::primary::event::{Cue, Event};
use crate::sys::poller::Ready;
use crate::sys::{clock, daemon, terminal};

/// How long clients may take to read their last answer when the primary ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The primary's outside.
#[derive(Debug)]
pub(crate) struct Runtime {
    core: Primary,
    events: EventLoop,
    /// Our parent, and that of the workers.
    keeper: Link,
    children: Children,
    listeners: Listeners,
    /// The lease of the leader.
    lease: Lease,
    /// Intercepted calls.
    intercept: Intercept,
    /// Sockets that workers have closed.
    closed_sockets: ClosedSockets,
    /// Sockets on which workers listen and that the supervisor did not lend.
    own_sockets: OwnSocketsWatch,
    /// Node's cluster protocol.
    node: Node,
    /// Connections that the primary accepts for workers.
    handover: HandOver,
    /// What the workers say to each other.
    bus: Bus,
    clients: Clients,
    /// Changes that wait for their new spec.
    merges: Merges,
    logs: Logs,
    /// What looks after rotated log files.
    housekeeping: Housekeeping,
    recorder: Recorder,
    /// The files in which other programs find the pids of the workers.
    pid_files: PidFiles,
    /// The primaries before this one, and what the next one needs.
    succession: Succession,
    /// What is seen of the workers.
    probes: Probes,
    /// The probes that the configuration asks for.
    health: Health,
    /// The schedule of `cron_restart`.
    calendar: Calendar,
    /// The load, where the number of workers follows it.
    autoscale: AutoscaleWatch,
    /// The files that `watch` names.
    file_watch: FileWatch,
    /// The service manager that started us.
    manager: Manager,
    notes: Notes,
}

impl Runtime {
    /// The loop, until the core says `Exit`. An error means that it cannot even wait any more.
    /// `first`: what a predecessor may not have done.
    fn turn_until_exit(&mut self, first: Vec<Action>) -> io::Result<u8> {
        self.carry_out(first);
        let mut has_started = false;
        loop {
            for event in self.wait()? {
                if let Some(source) = Source::from_token(event.token) {
                    self.take(source, event.readable || event.hangup, event.writable, event.hangup);
                }
            }
            self.look_after(clock::now());
            self.turn_bus();
            self.answer_lookers();
            // Connections that are handed over are none of the core's business.
            if self.events.is_calm() {
                if self.succession.writer.due().is_some_and(|due| due <= clock::now()) {
                    self.write_snapshot();
                }
                self.hand_over_to_upgrade();
                if let Some(code) = self.events.exit {
                    return Ok(code);
                }
                self.heard_all();
                if !has_started && self.core.has_started() {
                    has_started = true;
                    daemon::give_memory_back();
                }
                continue;
            }
            let actions = self.step();
            self.events.core_due = self.core.deadline();
            self.clients.keep_access(context!(self), self.recorder.home());
            self.keep_pid_files();
            self.carry_out(actions);
            self.turn_bus();
            self.keep_record();
            self.keep_log_files();
            let is_ending = self.core.is_ending();
            self.manager.keep_store(&self.keeper, context!(self), is_ending);
            self.manager.tell(&self.keeper, &self.core, true);
            self.hand_over_to_upgrade();
            if let Some(code) = self.events.exit {
                return Ok(code);
            }
        }
    }

    /// Waits for what comes next. A primary that makes way takes nothing more in.
    fn wait(&mut self) -> io::Result<Vec<Ready>> {
        if self.succession.upgrade.is_decided() {
            return Ok(Vec::new());
        }
        let patience = self.patience();
        self.events.wait(patience, &mut self.bus.busy_poll)
    }

    /// What the rooms have to do in each turn, or when their time has come.
    fn look_after(&mut self, now: Time) {
        self.bus.write_to_all(context!(self));
        self.look_for_groups();
        self.stop_those_left();
        self.look_after_withdrawn(now);
        self.look_for_closed_sockets(now);
        self.look_for_own_sockets(now);
        self.look_after_hand_overs(now);
        self.look_after_settling(now);
        self.look_after_upgrade(now);
        self.watch_limits(now);
        self.look_after_health(now);
        let planned = self.core.scheduled();
        self.calendar.look(context!(self), now, planned);
        self.autoscale.look(context!(self), now, || self.core.is_settled());
        self.look_after_file_watch(now);
        self.intercept.reap();
        if let Some(meaning) = self.events.terminal.look(now, terminal::lives) {
            self.hang_up(meaning);
        }
        self.clients.end_idle(context!(self), now);
        if self.recorder.due() <= now {
            self.keep_files();
        }
        self.events.inbox.extend(self.merges.give_up(now));
        self.logs.say_dropped(now);
        output::write_unended(context!(self), &mut self.logs, now);
        self.logs.take_complaints().into_iter().for_each(|complaint| self.note(complaint));
        let complaint = self.housekeeping.look(&self.events.poller, &mut self.logs, now);
        complaint.into_iter().for_each(|complaint| self.warn(complaint));
        self.probes.new_turn();
        self.pass_on();
        self.manager.tell(&self.keeper, &self.core, self.events.inbox.is_empty());
    }

    fn look_after_hand_overs(&mut self, now: Time) {
        let at = context!(self);
        self.handover.end_header_waits(at, now);
        self.node.read_answers(&mut self.handover, at, now);
        if self.handover.throttle().is_again(now) {
            self.clients.hear_again(at, self.handover.throttle());
            self.handover.resume_all(at);
        }
        self.handover.look_after_slow(at, now);
    }

    /// Answers the clients that ask for the status. While nothing happens, the core need not be
    /// asked, and no successor need know: a client whose primary dies before asks the next one.
    fn answer_lookers(&mut self) {
        let is_calm = self.events.is_calm();
        for client in std::mem::take(&mut self.events.lookers) {
            if is_calm {
                self.answer_looker(client);
            } else {
                self.events.inbox.push_back(Event::Request { client, request: Request::Status });
            }
        }
    }

    /// The end of a turn for the bus and for what is measured.
    fn turn_bus(&mut self) {
        self.share_values();
        self.probes.growing.watch(context!(self));
        self.bus.turn(&mut self.clients, context!(self));
        self.publish_news();
    }

    /// Finds out whether there is a service manager. `up`: a primary before told it that the app
    /// is up.
    fn find_manager(&mut self, up: bool) {
        if let Err(why) = self.manager.find(self.succession.started, &self.keeper, up) {
            self.note(why);
        }
    }

    /// What the rooms have for others: notices are published, and what Node programs told is heard.
    fn pass_on(&mut self) {
        for (worker, told) in self.node.take_told() {
            self.take_told(worker, told);
        }
        self.publish_news();
    }

    /// Gives the core everything that came, under one reading of the clock.
    fn step(&mut self) -> Vec<Action> {
        let now = clock::now();
        let mut actions = Vec::new();
        while let Some(event) = self.events.inbox.pop_front() {
            if matches!(event, Event::Worker { cue: Cue::Listening { .. }, .. }) {
                self.closed_sockets.listens(now);
            }
            self.core.step(now, event, &mut actions);
        }
        self.core.step(now, Event::Turn, &mut actions);
        actions
    }

    /// How long the poller may wait.
    fn patience(&self) -> Option<Duration> {
        if !self.events.inbox.is_empty() || self.bus.is_restless() {
            return Some(Duration::ZERO);
        }
        let now = clock::now();
        let all = [
            self.events.core_due,
            self.events.terminal.deadline(),
            self.children.leftovers.deadline(now),
            self.left_to_parents_until(),
            self.handover.deadline(),
            self.intercept.withdrawn_due,
            self.closed_sockets.deadline(),
            self.own_sockets.deadline(),
            self.succession.settles,
            self.succession.upgrade.deadline(),
            self.succession.writer.due(),
            self.manager.deadline(),
            self.merges.deadline(),
            self.housekeeping.deadline(),
            self.logs.deadline(),
            self.bus.deadline(),
            Some(self.recorder.due()),
            self.clients.deadline(),
            self.probes.growing.deadline(),
            self.probes.limits.deadline(),
            self.calendar.deadline(),
            self.health.deadline(),
            self.file_watch_deadline(),
            self.autoscale.deadline(),
        ];
        all.into_iter().flatten().min().map(|deadline| deadline.since(now))
    }

    /// Does what the core wants. A successor goes on from either writing: from the first it does
    /// again what may not have been done.
    fn carry_out(&mut self, mut actions: Vec<Action>) {
        actions.sort_by_key(Action::stage);
        self.succession.writer.carried_out = actions.is_empty();
        self.write_snapshot();
        self.heard_all();
        self.intercept.answer_late(context!(self));
        if actions.is_empty() {
            // The state that was just written knows all workers, those of a predecessor too.
            return self.succession.writer.let_go(&self.children);
        }
        for action in actions {
            self.perform(action);
            self.pass_on();
        }
        self.succession.writer.carried_out = true;
        self.write_snapshot();
        self.intercept.answer_late(context!(self));
        self.succession.writer.let_go(&self.children);
    }

    /// What came in this turn is in the state, or has no consequence: nobody need read it again.
    fn heard_all(&mut self) {
        self.intercept.settled();
        self.node.done_with_channels(&mut self.children);
    }

    /// Before anybody gets the answer that the workers are ready, or have ended.
    fn keep_pid_files(&mut self) {
        for complaint in self.pid_files.update(self.core.spec(), &self.children) {
            self.note(complaint);
        }
    }

    fn keep_record(&mut self) {
        if let Err(error) = self.recorder.update(self.core.spec(), &self.children) {
            self.note(format!("cannot write the record of the workers: {error}"));
        }
    }

    fn cue(&mut self, worker: WorkerId, cue: Cue) {
        self.events.inbox.push_back(Event::Worker { worker, cue });
    }

    /// Something a person should know that the core need not.
    fn warn(&mut self, message: String) {
        self.notes.warn(message);
        self.publish_news();
    }

    /// As `warn`, but only the first time, and shown in the status from then on.
    fn note(&mut self, message: String) {
        self.notes.note(message);
        self.publish_news();
    }
}
