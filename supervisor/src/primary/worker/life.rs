//! One worker: its states, and what each of them answers to each cue.
//!
//! ```text
//! Spawning ─Spawned─► Starting ─ready──► Ready ──retired──► Draining ──drained──► Killing ─► gone
//!     │                  │                 │                                         ▲
//!     └─SpawnFailed─►gone└─ not ready ─────┴─── hung, or told to stop ───────────────┘
//! ```
//!
//! Gone is not a state: a worker that is gone is no longer in the primary's table, and later events
//! about it find no worker. A worker that dies by itself goes there at once, from any state.
//!
//! A worker knows neither its role in its slot nor the other workers. It says by [`Change`] what
//! its owner must act on.

use ipc::control::NoticeKind;

use super::early;
use super::hang::Watch;
use super::state::{Change, LAST, State};
use crate::base::exit::Exit;
use crate::base::time::Time;
use crate::primary::action::Action;
use crate::primary::event::{Cue, Gauge, Notification};
use crate::primary::messages;
use crate::primary::sockets::Sockets;
use crate::primary::step::Step;
use crate::primary::worker::Worker;
use crate::primary::worker::end::{Cause, End, EndKind};

impl Worker {
    /// Takes one cue in.
    pub(in crate::primary) fn cue(&mut self, cue: Cue, step: &mut Step<'_>) -> Change {
        match self.state {
            State::Spawning { doomed } => self.spawning(doomed, cue, step),
            State::Starting { .. } => self.starting(cue, step),
            State::Ready => self.ready(cue, step),
            State::Draining(_) => self.draining(cue, step),
            State::Killing { .. } => self.killing(cue, step.now),
        }
    }

    /// Cues about what a program does may arrive before the cue that it runs.
    fn spawning(&mut self, doomed: bool, cue: Cue, step: &mut Step<'_>) -> Change {
        match cue {
            Cue::Spawned if doomed => {
                step.act(Action::Kill { worker: self.id });
                self.state = State::killed(step.now, Cause::Told);
                Change::Nothing
            }
            Cue::Spawned => {
                let ready_by = step.now + self.plan.spec.times.ready_timeout;
                self.state = State::Starting { since: step.now, ready_by };
                step.publish(messages::about(
                    self,
                    NoticeKind::WorkerStarted,
                    "started".to_owned(),
                ));
                self.judge(step.now)
            }
            Cue::SpawnFailed { .. } if doomed => Change::Gone(End::never_was()),
            Cue::SpawnFailed { reason, permanent } => {
                Change::Gone(End::not_started(reason, permanent))
            }
            Cue::BindAsked { listener, ticket, another } => {
                Change::Asks { listener, ticket, another }
            }
            Cue::BindRefused { address, reason } => self.refused(&address, &reason, step),
            Cue::Listening { listener, socket } => self.listens(listener, socket, step.now),
            Cue::Closed { listener, socket } => self.closes(listener, socket),
            Cue::ListensOnUnix { path } => self.listens_on_unix(path),
            Cue::OwnSockets(own) => self.has_own(own),
            Cue::Leaving => self.leaves(),
            Cue::RefusesValues { reason } => Change::RefusesValues { reason },
            Cue::Notified(notification) => self.notes(notification),
            Cue::Exited { exit, last_lines, queued } if doomed => {
                Change::Gone(End::told(exit, last_lines, queued))
            }
            Cue::Exited { exit, last_lines, queued } => {
                Change::Gone(End::died(exit, last_lines, queued))
            }
            Cue::OutOfMemory => self.ran_out_of_memory(),
            Cue::Looked(_) | Cue::Gauged(_) | Cue::Used(_) | Cue::Probed { .. } => Change::Nothing,
        }
    }

    fn refused(&mut self, address: &str, reason: &str, step: &mut Step<'_>) -> Change {
        let text = format!("it could not have {address}: {reason}");
        step.publish(messages::about(self, NoticeKind::BindRefused, text.clone()));
        self.refused = Some(text);
        Change::Nothing
    }

    fn starting(&mut self, cue: Cue, step: &mut Step<'_>) -> Change {
        match cue {
            Cue::Spawned | Cue::Looked(_) | Cue::Gauged(_) | Cue::Used(_) => Change::Nothing,
            Cue::Probed { probe, result } => {
                self.probed(probe, result);
                self.judge(step.now)
            }
            Cue::OutOfMemory => self.ran_out_of_memory(),
            Cue::SpawnFailed { reason, permanent } => {
                Change::Gone(End::not_started(reason, permanent))
            }
            Cue::BindAsked { listener, ticket, another } => {
                Change::Asks { listener, ticket, another }
            }
            Cue::BindRefused { address, reason } => self.refused(&address, &reason, step),
            Cue::Listening { listener, socket } => self.listens(listener, socket, step.now),
            Cue::Closed { listener, socket } => self.closes(listener, socket),
            Cue::ListensOnUnix { path } => self.listens_on_unix(path),
            Cue::OwnSockets(own) => {
                self.has_own(own);
                self.judge(step.now)
            }
            Cue::Leaving => self.leaves(),
            Cue::RefusesValues { reason } => Change::RefusesValues { reason },
            Cue::Notified(notification) => match notification {
                Notification::Ready => {
                    self.notes(notification);
                    self.judge(step.now)
                }
                Notification::Extend(by) => self.extend(step.now + by),
                Notification::WatchdogTrigger => self.hung(step),
                Notification::Stopping | Notification::Status(_) | Notification::Watchdog => {
                    self.notes(notification)
                }
            },
            Cue::Exited { exit, last_lines, queued } => {
                Change::Gone(End::died(exit, last_lines, queued))
            }
        }
    }

    fn ready(&mut self, cue: Cue, step: &mut Step<'_>) -> Change {
        match cue {
            Cue::Spawned | Cue::Looked(_) => Change::Nothing,
            Cue::Gauged(gauge) => self.gauged(gauge, step),
            Cue::Used(used) => self.uses(used),
            Cue::Probed { probe, result } => {
                self.probed(probe, result);
                Change::Nothing
            }
            Cue::OutOfMemory => self.ran_out_of_memory(),
            Cue::SpawnFailed { reason, permanent } => {
                Change::Gone(End::not_started(reason, permanent))
            }
            Cue::BindAsked { listener, ticket, another } => {
                Change::Asks { listener, ticket, another }
            }
            Cue::BindRefused { address, reason } => self.refused(&address, &reason, step),
            Cue::Listening { listener, socket } => self.listens(listener, socket, step.now),
            Cue::Closed { listener, socket } => self.closes(listener, socket),
            Cue::ListensOnUnix { path } => self.listens_on_unix(path),
            Cue::OwnSockets(own) => self.has_own(own),
            Cue::Leaving => self.leaves(),
            Cue::RefusesValues { reason } => Change::RefusesValues { reason },
            Cue::Notified(notification) => match notification {
                Notification::WatchdogTrigger => self.hung(step),
                Notification::Ready
                | Notification::Stopping
                | Notification::Status(_)
                | Notification::Watchdog
                | Notification::Extend(_) => self.notes(notification),
            },
            Cue::Exited { exit, last_lines, queued } => {
                Change::Gone(End::died(exit, last_lines, queued))
            }
        }
    }

    /// The worker is on its way out: however it ends, that is what the primary wanted.
    fn draining(&mut self, cue: Cue, step: &mut Step<'_>) -> Change {
        match cue {
            Cue::Spawned
            | Cue::Gauged(_)
            | Cue::Used(_)
            | Cue::Probed { .. }
            | Cue::RefusesValues { .. } => Change::Nothing,
            Cue::OutOfMemory => self.ran_out_of_memory(),
            Cue::SpawnFailed { .. } => Change::Gone(End::never_was()),
            Cue::BindAsked { listener, ticket, another } => {
                Change::Asks { listener, ticket, another }
            }
            Cue::BindRefused { address, reason } => self.refused(&address, &reason, step),
            Cue::Listening { listener, socket } => self.listens(listener, socket, step.now),
            Cue::Closed { listener, socket } => self.closes(listener, socket),
            Cue::ListensOnUnix { path } => self.listens_on_unix(path),
            Cue::OwnSockets(own) => self.has_own(own),
            Cue::Leaving => self.leaves(),
            Cue::Notified(notification) => match notification {
                Notification::WatchdogTrigger => {
                    self.kill(Cause::Told, step);
                    Change::Nothing
                }
                Notification::Ready
                | Notification::Stopping
                | Notification::Status(_)
                | Notification::Watchdog
                | Notification::Extend(_) => self.notes(notification),
            },
            Cue::Exited { exit, last_lines, queued } => {
                self.ended_draining(exit, step.now);
                Change::Gone(End::told(exit, last_lines, queued))
            }
            Cue::Looked(look) => {
                if let State::Draining(drain) = &mut self.state
                    && !drain.is_held()
                {
                    let next = drain.looked(look, step.now);
                    self.go_on_draining(next, step);
                    self.lose_patience(look.on_stop, step);
                }
                Change::Nothing
            }
        }
    }

    fn killing(&mut self, cue: Cue, now: Time) -> Change {
        match cue {
            Cue::Spawned
            | Cue::Looked(_)
            | Cue::Gauged(_)
            | Cue::Used(_)
            | Cue::Probed { .. }
            | Cue::OutOfMemory
            | Cue::BindRefused { .. }
            | Cue::RefusesValues { .. } => Change::Nothing,
            Cue::SpawnFailed { .. } => Change::Gone(End::never_was()),
            // Answered even now: a program that hangs in `bind` cannot run its signal handler.
            Cue::BindAsked { listener, ticket, another } => {
                Change::Asks { listener, ticket, another }
            }
            Cue::Listening { listener, socket } => self.listens(listener, socket, now),
            Cue::Closed { listener, socket } => self.closes(listener, socket),
            Cue::ListensOnUnix { path } => self.listens_on_unix(path),
            Cue::OwnSockets(own) => self.has_own(own),
            Cue::Leaving => self.leaves(),
            Cue::Notified(notification) => self.notes(notification),
            Cue::Exited { exit, last_lines, queued } => {
                if let State::Killing { since, cause: Cause::Told, .. } = self.state
                    && self.cut > 0
                {
                    self.finished = early::finished(exit, now.since(since), false);
                }
                Change::Gone(self.ended(exit, last_lines, queued))
            }
        }
    }

    /// Looks at the deadlines.
    pub(in crate::primary) fn turn(&mut self, sockets: &Sockets, step: &mut Step<'_>) -> Change {
        if self.may_serve()
            && let Some((listener, socket)) = self.take_counted(step.now)
        {
            return self.listens(listener, socket, step.now);
        }
        match &mut self.state {
            State::Spawning { .. } => Change::Nothing,
            State::Ready => {
                if self.watch.as_mut().is_some_and(|watch| watch.is_due(step.now)) {
                    step.act(Action::Gauge { worker: self.id });
                }
                Change::Nothing
            }
            State::Starting { ready_by, .. } => {
                let late = *ready_by <= step.now;
                let change = self.judge(step.now);
                if late && !matches!(self.state, State::Ready) {
                    let reason = messages::not_ready(self, sockets);
                    self.kill(Cause::Failed(reason), step);
                }
                change
            }
            State::Draining(drain) if drain.is_held() => {
                if drain.held_until().is_some_and(|at| at <= step.now) {
                    drain.release(step.now);
                }
                Change::Nothing
            }
            State::Draining(drain) if drain.until <= step.now => {
                let message = drain.cut_short(step.now);
                self.cut = drain.in_flight();
                let told = drain.told;
                step.publish(messages::about(self, NoticeKind::Warning, message));
                let patience = self.plan.spec.times.kill_timeout;
                match told.map(|told| told + patience) {
                    None => self.stop(patience, step),
                    Some(latest) if latest > step.now => self.stop(latest.since(step.now), step),
                    Some(_) => self.kill(Cause::Told, step),
                }
                Change::Nothing
            }
            State::Draining(drain) => {
                let next = drain.due(step.now);
                self.go_on_draining(next, step);
                Change::Nothing
            }
            State::Killing { .. } => self.kill_or_leave(step),
        }
    }

    /// Kills a worker that was told to stop, once its time is over; and leaves one behind that
    /// lives on all the same.
    fn kill_or_leave(&mut self, step: &mut Step<'_>) -> Change {
        let State::Killing { deadline, killed, .. } = &mut self.state else {
            return Change::Nothing;
        };
        match (*deadline, *killed) {
            (Some(at), _) if at > step.now => {}
            (Some(_), _) => {
                (*deadline, *killed) = (None, Some(step.now));
                step.act(Action::Kill { worker: self.id });
            }
            // An earlier build killed it and did not write down when.
            (None, None) => *killed = Some(step.now),
            (None, Some(at)) if at + LAST <= step.now => return Change::Gone(self.left_behind()),
            (None, Some(_)) => {}
        }
        Change::Nothing
    }

    /// When [`Worker::turn`] is to be called next.
    pub(in crate::primary) fn deadline(&self) -> Option<Time> {
        let counts_at = self.next_counts_at().filter(|_| self.may_serve());
        let of_state = match &self.state {
            State::Spawning { .. } => None,
            State::Ready => self.watch.as_ref().and_then(Watch::deadline),
            State::Starting { since, ready_by } => {
                Some(self.ready_at(*since).map_or(*ready_by, |at| at.min(*ready_by)))
            }
            State::Draining(drain) => Some(drain.deadline()),
            State::Killing { deadline: Some(at), .. } => Some(*at),
            State::Killing { killed, .. } => Some(killed.map_or(Time(0), |at| at + LAST)),
        };
        of_state.into_iter().chain(counts_at).min()
    }

    /// Its program runs, and the primary has not told it to go.
    fn may_serve(&self) -> bool {
        match self.state {
            State::Starting { .. } | State::Ready => true,
            State::Spawning { .. } | State::Draining(_) | State::Killing { .. } => false,
        }
    }

    /// Ready now?
    pub(in crate::primary) fn judge(&mut self, now: Time) -> Change {
        match self.state {
            State::Starting { since, .. } if self.ready_at(since).is_some_and(|at| at <= now) => {
                self.state = State::Ready;
                self.ready_since = Some(now);
                self.watch = Watch::new(now, self.plan.spec.times.hang_timeout);
                Change::Ready
            }
            State::Starting { .. }
            | State::Spawning { .. }
            | State::Ready
            | State::Draining(_)
            | State::Killing { .. } => Change::Nothing,
        }
    }

    /// It ended while it drained: told to stop because its connections stayed busy, or by itself.
    fn ended_draining(&mut self, exit: Exit, now: Time) {
        let State::Draining(drain) = &self.state else { return };
        let Some(told) = drain.told else { return };
        let quiet = drain.seen.is_some_and(|look| look.visible && look.busy == 0);
        self.finished = early::finished(exit, now.since(told), quiet);
        self.proved = self.finished == Some(true) && early::proves(now.since(told), quiet);
        if self.finished == Some(false) {
            self.cut = drain.in_flight();
        }
    }

    fn hung(&mut self, step: &mut Step<'_>) -> Change {
        self.kill(Cause::Failed("watchdog triggered".to_owned()), step);
        Change::Nothing
    }

    fn gauged(&mut self, gauge: Gauge, step: &mut Step<'_>) -> Change {
        let stood = self.watch.as_mut().and_then(|watch| watch.gauged(gauge, step.now));
        if let Some(stood) = stood {
            self.kill(Cause::Failed(messages::hung(gauge.waiting, stood)), step);
        }
        Change::Nothing
    }

    fn extend(&mut self, until: Time) -> Change {
        self.notifies = true;
        if let State::Starting { ready_by, .. } = &mut self.state {
            *ready_by = (*ready_by).max(until);
        }
        Change::Nothing
    }

    /// Nothing waits for it any more, though it lives.
    fn left_behind(&mut self) -> End {
        End { lives_on: true, queued: None, ..self.ended(Exit::Unknown, Vec::new(), 0) }
    }

    fn ended(&mut self, exit: Exit, last_lines: Vec<String>, queued: u32) -> End {
        let told = State::killed(self.started, Cause::Told);
        match std::mem::replace(&mut self.state, told) {
            State::Killing { cause: Cause::Failed(reason), .. } => {
                End { kind: EndKind::Failed(reason), ..End::told(exit, last_lines, queued) }
            }
            State::Killing { cause: Cause::Told, .. }
            | State::Spawning { .. }
            | State::Starting { .. }
            | State::Ready
            | State::Draining(_) => End::told(exit, last_lines, queued),
        }
    }
}
