//! Decides. Events in, actions out; no clock, no fd, no file, no log call inside.
//!
//! A step has two halves. First the event changes its object: one worker, or one request. Then the
//! primary settles: it looks at everything it knows and draws the consequences (the running job
//! goes on, empty seats are filled, listeners are steered, waiting clients are answered). The
//! second half does not ask what the event was, so the order in which news arrives does not matter.
//!
//! - `worker`: the states of one worker, what it holds, how it leaves;
//! - `slots`: the worker of each slot, and what follows when a worker dies;
//! - `sockets`: which socket is lent to which worker, and which sockets get new connections;
//! - `jobs`: start, stop, scale, merge, rollout, rollback, hard restart, new shared values;
//! - `hooks`: commands of the user's at moments of a worker's life;
//! - `health`: which workers get no connections because their readiness fails;
//! - `recycle`: workers that are well and have reached a limit;
//! - `request`: what a client may ask, and what the primary refuses at once;
//! - `snapshot`, `resume`: how the core outlives its process;
//! - `status`, `messages`: what people read.

#![deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]

pub(crate) mod action;
pub(crate) mod event;
mod given;
mod health;
mod held_back;
mod hooks;
mod jobs;
mod messages;
mod own_tcp;
mod own_unix;
mod plan;
mod quiet;
mod rate;
mod recycle;
mod request;
pub(crate) mod resume;
mod slots;
mod snapshot;
mod sockets;
mod status;
mod step;
mod text;
mod unlike;
mod worker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use config::spec::AppSpec;
use ipc::control::Status;

use crate::base::ids::{CommandKey, Generation, PoolIndex, Slot, WorkerId};
use crate::base::time::Time;
use crate::primary::plan::Plan;
use action::Action;
use event::{Cue, Event, OpenedListener, Scheduled};
use given::Given;
use held_back::HeldBack;
use hooks::state::Hooks;
use jobs::state::{HardRestart, Merging, Pending, Rollout, Scaling, Stopping, Waiter, Warm};
use quiet::QuietCommands;
use recycle::state::{Recycle, Recycling};
use slots::pools::Pools;
use slots::restart_policy::Jitter;
use slots::slot::SlotState;
use sockets::Sockets;
use sockets::steering::Crew;
use step::Step;
use worker::Worker;
use worker::state::Change;

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod scripts;
#[cfg(test)]
mod sim;

/// How often one step looks for due deadlines: more often than a worker has states.
const ROUNDS: usize = 8;

/// Everything that the core knows and has decided about one app.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Primary {
    /// The plans that serve, or are to serve.
    serving: Pools,
    /// The highest generation so far.
    newest: Generation,
    /// The highest [`Plan::edition`] so far.
    editions: u32,
    phase: Phase,
    /// The change of the whole app that is under way; one at a time.
    job: Option<Job>,
    /// The generation before a switch, while it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warm: Option<Warm>,
    /// Why the last one that stayed does so no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cooled: Option<String>,
    queue: VecDeque<Pending>,
    /// The change whose new spec is being made; one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    merging: Option<Merging>,
    /// The last number of a merge.
    #[serde(default)]
    merges: u64,
    waiters: Vec<Waiter>,
    slots: BTreeMap<Slot, SlotState>,
    workers: BTreeMap<WorkerId, Worker>,
    next_worker: u64,
    #[serde(default, skip_serializing_if = "Hooks::is_default")]
    hooks: Hooks,
    sockets: Sockets,
    dice: Jitter,
    #[serde(default)]
    recycling: Recycling,
    /// What the runtime has planned by the calendar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scheduled: Option<Scheduled>,
    /// This is the first start, and no worker has been ready yet.
    founding: bool,
    /// Not all workers have been ready at the same time since the last start.
    starting: bool,
    /// When to close the listeners that no worker serves.
    sweep_at: Option<Time>,
    /// Until when the worker that opened an address last may open further ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opens_until: Option<Time>,
    /// When a worker opened an address last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opened_at: Option<Time>,
    born: Option<Time>,
    /// The time of the last step. All steps of one turn have the same time.
    stepped: Option<Time>,
    /// The core was restored and is being told what has happened meanwhile. It settles afterwards.
    returning: bool,
    /// The answers that the core gave in this turn.
    given: Vec<Given>,
    /// The restarts of all slots, including slots that no longer exist.
    restarts: u64,
    last_reload: Option<String>,
    /// The last reload, if it was rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_back: Option<HeldBack>,
    /// By pool: whether the last worker that was told to stop while it was busy finished first.
    #[serde(default)]
    finishes: BTreeMap<PoolIndex, bool>,
    /// The pools in which the end of that worker proved that it cut nothing.
    #[serde(default)]
    proven: BTreeSet<PoolIndex>,
    /// The commands that listened on nothing when they ran last.
    #[serde(default)]
    quiet: QuietCommands,
    /// The status that the subscribers know.
    announced: Option<Status>,
    /// The primary ends when no worker runs any more and none will start: its only audience is a
    /// service manager, which must see that.
    ends_with_workers: bool,
}

/// The phase of the app as a whole.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Phase {
    /// `Action::OpenListeners` is under way; the workers start afterwards.
    Opening,
    Running,
    Stopping(Stopping),
    Stopped,
    /// The core has ordered `Action::Exit`, and nothing matters any more.
    Over {
        code: u8,
    },
}

/// A change of the slots as a whole.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Job {
    Rollout(Box<Rollout>),
    Scale(Scaling),
    Hard(HardRestart),
    Recycle(Recycle),
}

impl Primary {
    /// The core of an app that has not begun. `seed` only decides the jitter of delays.
    pub(crate) fn new(spec: Arc<AppSpec>, seed: u64) -> Self {
        let first = Generation(1);
        let plan = Plan { generation: first, edition: 1, spec };
        let mut primary = Self {
            serving: Pools::bare(plan.clone()),
            newest: first,
            editions: 1,
            phase: Phase::Stopped,
            job: None,
            warm: None,
            cooled: None,
            queue: VecDeque::new(),
            merging: None,
            merges: 0,
            waiters: Vec::new(),
            slots: BTreeMap::new(),
            workers: BTreeMap::new(),
            next_worker: 1,
            hooks: Hooks::default(),
            sockets: Sockets::default(),
            dice: Jitter::new(seed),
            recycling: Recycling::default(),
            scheduled: None,
            founding: true,
            starting: false,
            sweep_at: None,
            opens_until: None,
            opened_at: None,
            born: None,
            stepped: None,
            returning: false,
            given: Vec::new(),
            restarts: 0,
            last_reload: None,
            held_back: None,
            finishes: BTreeMap::new(),
            proven: BTreeSet::new(),
            quiet: QuietCommands::default(),
            announced: None,
            ends_with_workers: false,
        };
        // No configuration has too many pools for the range of slots.
        if let Ok(planned) = primary.plan_pools(plan) {
            primary.serving = planned;
        }
        primary
    }

    /// The same core, which ends when its workers have ended.
    pub(crate) fn ending_with_workers(self) -> Self {
        Self { ends_with_workers: true, ..self }
    }

    /// The same core, which remembers those of its commands that an earlier one noted as quiet.
    pub(crate) fn knowing_quiet(mut self, knows: impl Fn(CommandKey) -> bool) -> Self {
        for plan in std::iter::once(&self.serving.app).chain(self.serving.pools.values()) {
            self.quiet.recall(plan, &knows);
        }
        self
    }

    /// Takes one event and returns the actions that follow from it.
    pub(crate) fn step(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Over { .. }) {
            return;
        }
        self.begin_step(now);
        let before = out.len();
        let step = &mut Step { now, out };
        if self.returning && matches!(event, Event::Turn) {
            self.returning = false;
            self.settle(step);
        }
        match event {
            Event::Begin => {
                self.born = Some(now);
                self.start(self.serving.clone(), step);
            }
            Event::Turn => self.meet_deadlines(step),
            Event::Request { client, request } => self.request(client, request, step),
            Event::ClientGone { client } => self.forget(client),
            Event::Signal(signal) => self.signal(signal, step),
            Event::ListenersOpened { result } => self.listeners_opened(result, step),
            Event::Merged { merge, result } => self.merged(merge, result, step),
            Event::Schedule { planned, is_due } => self.schedule(planned, is_due, step),
            Event::FilesChanged { named, more } => self.files_changed(&named, more, step),
            Event::LoadAsks { to, because } => self.scale_by_load(to, because, step),
            Event::ListenerFound(opened) => {
                self.expect_more_addresses(now);
                self.open(opened, None, step);
            }
            Event::Worker { worker, cue } => self.cue(worker, cue, step),
        }
        if !self.returning {
            self.settle(step);
        }
        self.given.extend(out[before..].iter().filter_map(Given::of));
    }

    fn begin_step(&mut self, now: Time) {
        if self.stepped.replace(now) != Some(now) {
            self.sockets.begin_turn();
            self.given.clear();
        }
    }

    /// When [`Event::Turn`] is due if no other event comes first.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let workers = self.workers.values().filter_map(Worker::deadline);
        let slots = self.slots.values().flat_map(SlotState::deadlines);
        let opening = self.opening_until();
        let waits = self.waiters.iter().map(|waiter| waiter.until);
        let waiters = waits.filter(|_| opening.is_none()).chain(opening);
        let job = self.job.as_ref().and_then(|job| match job {
            Job::Rollout(rollout) => {
                let observed = rollout.until().filter(|until| Some(*until) > self.stepped);
                let paused = rollout.paused_until();
                self.commit_at(rollout).or(observed).into_iter().chain(paused).min()
            }
            Job::Scale(scaling) => scaling.until(),
            Job::Hard(hard) => hard.until(),
            Job::Recycle(_) => None,
        });
        let stop = match &self.phase {
            Phase::Stopping(stopping) => stopping.linger(),
            Phase::Over { .. } => return None,
            Phase::Opening | Phase::Running | Phase::Stopped => None,
        };
        let warm = self.warm.as_ref().and_then(|warm| warm.until);
        let own = self.sweep_at.into_iter().chain(self.recycle_at()).chain(self.hooks.deadline());
        let own = own.chain(warm);
        workers.chain(slots).chain(waiters).chain(job).chain(stop).chain(own).min()
    }

    /// The spec that serves.
    pub(crate) fn spec(&self) -> &Arc<AppSpec> {
        &self.serving.spec
    }

    /// Since the last start, the workers have all been ready at once.
    pub(crate) fn has_started(&self) -> bool {
        !self.starting
    }

    /// The generation that a reload under way brings in, and its spec.
    pub(crate) fn coming(&self) -> Option<(Generation, &Arc<AppSpec>)> {
        match &self.job {
            Some(Job::Rollout(rollout)) => Some((rollout.generation(), &rollout.to.spec)),
            Some(Job::Scale(_) | Job::Hard(_) | Job::Recycle(_)) | None => None,
        }
    }

    /// A deadline may make another one due at once, where a configured time is zero.
    fn meet_deadlines(&mut self, step: &mut Step<'_>) {
        for _ in 0..ROUNDS {
            if self.deadline().is_none_or(|at| at > step.now) {
                break;
            }
            self.turn(step);
            self.settle(step);
        }
    }

    fn turn(&mut self, step: &mut Step<'_>) {
        self.end_waits(step.now);
        self.end_late_hooks(step);
        self.cool_if_due(step);
        let due = |worker: &&Worker| worker.deadline().is_some_and(|at| at <= step.now);
        let due: Vec<WorkerId> = self.workers.values().filter(due).map(|w| w.id).collect();
        for id in due {
            if let Some(worker) = self.workers.get_mut(&id) {
                let change = worker.turn(&self.sockets, step);
                self.changed(id, change, step);
            }
        }
    }

    fn cue(&mut self, id: WorkerId, cue: Cue, step: &mut Step<'_>) {
        if let Some(worker) = self.workers.get_mut(&id) {
            let change = worker.cue(cue, step);
            self.changed(id, change, step);
        } else {
            self.hook_cue(id, cue, step);
        }
    }

    fn changed(&mut self, id: WorkerId, change: Change, step: &mut Step<'_>) {
        match change {
            Change::Nothing => {}
            Change::Asks { listener, ticket, another } => {
                self.lend(id, listener, ticket, another, step);
            }
            Change::Listens { listener, socket } => self.listens(id, listener, socket, step),
            Change::Closes { listener, socket } => self.closes(id, listener, socket, step.now),
            Change::Ready => self.became_ready(id, step),
            Change::RefusesValues { reason } => self.values_refused(id, &reason, step),
            Change::Gone(end) => self.gone(id, end, step),
        }
    }

    /// Draws the consequences of everything the core knows.
    fn settle(&mut self, step: &mut Step<'_>) {
        while self.advance(step) {}
        self.fill(step);
        self.sweep(step);
        self.rescue(step);
        self.withdraw(step);
        self.recycle(step);
        self.settle_hooks(step);
        self.end_with_workers(step);
        self.forget_deserted();
        self.steer(step);
        self.answer_waiters(step);
        self.announce(step);
    }

    /// Brings the phase or the job one step further. Returns whether another step may follow.
    fn advance(&mut self, step: &mut Step<'_>) -> bool {
        match (&self.phase, &self.job) {
            (Phase::Opening | Phase::Over { .. }, _) => false,
            (Phase::Stopping(_), _) => self.advance_stop(step),
            (Phase::Stopped, _) | (Phase::Running, None) => self.begin_next(step),
            (Phase::Running, Some(Job::Rollout(_))) => self.advance_rollout(step),
            (Phase::Running, Some(Job::Scale(_))) => self.advance_scale(step),
            (Phase::Running, Some(Job::Hard(_))) => self.advance_hard(step),
            (Phase::Running, Some(Job::Recycle(_))) => self.advance_recycle(step),
        }
    }

    /// Steers new connections to the best sockets.
    fn steer(&mut self, step: &mut Step<'_>) {
        self.note_presence(step.now);
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        let crew = Crew { slots: &self.slots, workers: &self.workers };
        for (id, listener) in self.sockets.steerable() {
            let targets = crew.targets(listener);
            if !targets.is_empty() && targets != listener.steered {
                listener.steer(targets.clone());
                step.act(Action::Steer { listener: id, targets });
            }
        }
    }

    /// Adds a listener that is open now.
    fn open(&mut self, opened: OpenedListener, by: Option<Generation>, step: &mut Step<'_>) {
        let address = opened.address.clone();
        if self.sockets.open(opened, by) {
            step.publish(messages::listener_opened(&address));
        }
    }
}
