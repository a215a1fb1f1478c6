//! What a control client or a signal may ask, and what the primary refuses at once.

use config::instances::MAX_WORKERS;
use ipc::control::{FailureKind, Request};
use ipc::talk::BusRequest;

use super::action::Action;
use super::event::PrimarySignal;
use super::jobs::state::{Count, Wish};
use super::messages;
use super::slots::slot::Seat;
use super::worker::Worker;
use super::worker::state::State;
use super::{Phase, Primary, Step};
use crate::base::ids::{ClientId, Slot};

impl Primary {
    pub(super) fn request(&mut self, client: ClientId, request: Request, step: &mut Step<'_>) {
        match request {
            Request::Status => step.act(Action::AnswerStatus { client }),
            Request::Spec => step.act(Action::AnswerSpec { client }),
            Request::WaitReady => {
                step.act(Action::Subscribe { client });
                self.wait(client, step.now);
            }
            Request::Start => {
                step.act(Action::Subscribe { client });
                self.request_start(client, step);
            }
            Request::Stop { fast } => {
                step.act(Action::Subscribe { client });
                self.stop(fast, None, Some(client), step);
            }
            Request::Delete { fast } => {
                step.act(Action::Subscribe { client });
                self.stop(fast, Some(0), Some(client), step);
            }
            Request::Restart { hard, spec } => {
                step.act(Action::Subscribe { client });
                self.enqueue(Wish::Replace { hard, spec, pool: None }, Some(client), step);
            }
            Request::Reload { spec, pool } => {
                step.act(Action::Subscribe { client });
                self.enqueue(Wish::Replace { hard: false, spec, pool }, Some(client), step);
            }
            Request::Configure { change, method } => {
                step.act(Action::Subscribe { client });
                self.enqueue(Wish::Configure { change, method }, Some(client), step);
            }
            Request::ReplaceWorker { slot } => {
                step.act(Action::Subscribe { client });
                self.enqueue(Wish::ReplaceWorker { slot: Slot(slot) }, Some(client), step);
            }
            Request::Rollback => self.request_rollback(client, step),
            Request::Rollout { command } => self.request_rollout(client, &command, step),
            Request::Scale { wanted: 0, .. } => {
                refuse(client, messages::scale_to_none(&self.serving), step);
            }
            Request::Scale { wanted, .. } if wanted > MAX_WORKERS => {
                refuse(client, messages::scale_too_far(&self.serving, MAX_WORKERS), step);
            }
            Request::Scale { wanted, because, pool } => {
                step.act(Action::Subscribe { client });
                let wish = Wish::Scale { to: Count::Exactly(wanted), because, pool };
                self.enqueue(wish, Some(client), step);
            }
            Request::Send { message, slot } => step.act(Action::Send { client, message, slot }),
            Request::Bus(request) => {
                if let BusRequest::Share { shared } = &request {
                    self.share(shared.as_deref());
                }
                step.act(Action::Bus { client, request });
            }
            Request::Signal { signal, slot } => self.request_signal(client, signal, slot, step),
            Request::ReopenLogs => step.act(Action::ReopenLogs { client: Some(client) }),
            Request::Upgrade { binary } => {
                step.act(Action::Subscribe { client });
                step.act(Action::Upgrade { client, binary });
            }
            Request::Subscribe => step.act(Action::Subscribe { client }),
        }
    }

    pub(super) fn signal(&mut self, signal: PrimarySignal, step: &mut Step<'_>) {
        match signal {
            PrimarySignal::Stop => {
                let again = matches!(self.phase, Phase::Stopping(_));
                self.stop(again, Some(0), None, step);
            }
            PrimarySignal::StopFast => self.stop(true, Some(0), None, step),
            PrimarySignal::Reload => {
                self.enqueue(Wish::Replace { hard: false, spec: None, pool: None }, None, step);
            }
            PrimarySignal::ReopenLogs => step.act(Action::ReopenLogs { client: None }),
            PrimarySignal::More => self.nudge(Count::OneMore, step),
            PrimarySignal::Fewer => self.nudge(Count::OneFewer, step),
        }
    }

    fn nudge(&mut self, to: Count, step: &mut Step<'_>) {
        let because = "asked for by a signal".to_owned();
        self.enqueue(Wish::Scale { to, because, pool: None }, None, step);
    }

    fn request_start(&mut self, client: ClientId, step: &mut Step<'_>) {
        if let Phase::Stopping(stopping) = &self.phase {
            step.answer(client, stopping.refusal(&self.serving));
        } else if self.is_alive() {
            refuse(client, messages::runs_already(&self.serving, self.ready_count()), step);
        } else {
            self.founding = false;
            self.start(self.serving.clone(), step);
            self.wait(client, step.now);
        }
    }

    fn request_signal(
        &mut self,
        client: ClientId,
        signal: i32,
        slot: Option<u16>,
        step: &mut Step<'_>,
    ) {
        if !(1..=64).contains(&signal) {
            refuse(client, messages::no_such_signal(signal), step);
            return;
        }
        if let Some(slot) = slot
            && !self.wanted().any(|(known, _)| known == Slot(slot))
        {
            refuse(client, messages::no_such_slot(&self.serving, slot), step);
            return;
        }
        let is_meant = |worker: &&Worker| match slot {
            None => true,
            Some(slot) => {
                self.slots.get(&Slot(slot)).is_some_and(|state| state.seat == Seat::Held(worker.id))
            }
        };
        let has_program = |worker: &&Worker| !matches!(worker.state, State::Spawning { .. });
        let mut sent = 0;
        for worker in self.workers.values().filter(is_meant).filter(has_program) {
            step.act(Action::Signal { worker: worker.id, signal, group: false });
            sent += 1;
        }
        step.answer(client, messages::signalled(&self.serving, signal, sent));
    }
}

fn refuse(client: ClientId, reason: String, step: &mut Step<'_>) {
    step.answer(client, messages::failed(FailureKind::Usage, reason, &[]));
}
