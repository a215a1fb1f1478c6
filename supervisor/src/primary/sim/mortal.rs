//! The primary dies at a random moment of a turn, and loses what came in since its last snapshot. A
//! successor restores that snapshot, hears what the runtime can find out, and goes on.

use super::super::resume::Facts;
use super::twins::restored;
use super::*;
use crate::primary::worker::state::State;

/// How a primary dies.
#[derive(Debug)]
pub(super) struct Mortal {
    dice: Jitter,
    /// It dies once in this many turns.
    once_in: u64,
    pub(super) deaths: u64,
}

/// What becomes of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lives,
    /// The primary dies before it writes what follows from the event.
    Forgets,
    /// The primary has written that, and dies before it has carried everything out.
    Leaves,
}

impl Sim {
    pub(super) fn mortal(mut self, once_in: u64) -> Self {
        self.mortal = Some(Mortal { dice: Jitter::new(self.seed ^ 0xdead), once_in, deaths: 0 });
        self
    }

    fn fate(&mut self) -> Fate {
        let Some(Mortal { dice, once_in, .. }) = &mut self.mortal else { return Fate::Lives };
        match dice.roll() % (*once_in * 4) {
            0 => Fate::Forgets,
            1..4 => Fate::Leaves,
            _ => Fate::Lives,
        }
    }

    /// Returns whether the event is lost with the primary. If so, a successor has come back.
    pub(super) fn is_forgotten(&mut self, event: &Event) -> bool {
        let forgotten = !matches!(event, Event::Begin) && self.fate() == Fate::Forgets;
        if forgotten {
            let unheard =
                if let Event::Request { client, .. } = event { Some(*client) } else { None };
            self.come_back(false, unheard);
        }
        forgotten
    }

    /// Carries out the actions of a turn, or dies over it. Returns whether the primary lived.
    pub(super) fn carry_out(&mut self, mut actions: Vec<Action>) {
        actions.sort_by_key(Action::stage);
        let count = match (self.fate(), &mut self.mortal) {
            (Fate::Leaves, Some(mortal)) => {
                let all = u64::try_from(actions.len()).expect("few actions");
                usize::try_from(mortal.dice.roll() % (all + 1)).expect("few actions")
            }
            (Fate::Lives | Fate::Forgets | Fate::Leaves, _) => usize::MAX,
        };
        let done = actions.len() == count;
        for (at, action) in actions.into_iter().enumerate() {
            if at < count {
                self.remember(Past::Action(action.clone()));
                self.perform(action);
            } else if let Action::Publish(notice) = action {
                // No client heard the notice, but it was true.
                self.hear(notice);
            } else if let Action::ReloadEnded { outcome } = action {
                self.count_reload(outcome);
            }
        }
        self.resuming = false;
        if count != usize::MAX && self.exit.is_none() {
            self.come_back(done, None);
        }
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.mortal.as_mut().map_or(0, |mortal| mortal.dice.roll())
    }

    fn come_back(&mut self, carried_out: bool, unheard: Option<ClientId>) {
        self.remember(Past::Death { carried_out });
        if let Some(mortal) = &mut self.mortal {
            mortal.deaths += 1;
        }
        self.now = self.now + Duration::from_micros(1 + self.roll() % 3_000_000);
        // What the dead primary had decided was right when it decided.
        self.check_recycling();
        self.lose();
        self.suffer();
        self.primary = restored(&self.primary);
        self.restore_policies();
        let (facts, events) = self.find_out();
        let facts = Facts { carried_out: carried_out && self.roll().is_multiple_of(2), ..facts };
        let mut actions = Vec::new();
        self.primary.resume(self.now, facts, &mut actions);
        self.hang_up(unheard);
        for event in events {
            self.remember(Past::Event(event.clone()));
            self.primary.step(self.now, event, &mut actions);
        }
        self.primary.step(self.now, Event::Turn, &mut actions);
        self.steps += 1;
        self.resuming = true;
        self.carry_out(actions);
    }

    /// Drops what only the dead process knew.
    fn lose(&mut self) {
        self.due.retain(|_, due| {
            !matches!(
                due,
                Due::Opened(_) | Due::Merged(..) | Due::Deed(_, Deed::Looked | Deed::Gauged)
            )
        });
    }

    /// Closes the connections of clients that get no answer any more; `unheard`: one whose request
    /// was lost.
    fn hang_up(&mut self, unheard: Option<ClientId>) {
        let awaited = self.primary.awaited();
        let waiting = self.clients.iter_mut().filter(|(_, client)| client.answer.is_none());
        for (id, client) in waiting.filter(|(id, client)| !client.gone && !awaited.contains(id)) {
            assert!(client.endless || Some(*id) == unheard, "not answered: {}", client.request);
            client.gone = true;
        }
    }

    /// Lets things happen while there is no primary.
    fn suffer(&mut self) {
        let living: Vec<WorkerId> = self
            .fakes
            .iter()
            .filter(|(_, fake)| fake.life == Life::Runs)
            .map(|(id, _)| *id)
            .collect();
        for worker in living {
            if self.roll().is_multiple_of(24) {
                self.known(worker).life = Life::Dead;
            }
        }
        self.suffer_hooks();
    }

    /// What the runtime finds: all open listeners, the live workers, and the exits of most dead
    /// ones.
    fn find_out(&mut self) -> (Facts, Vec<Event>) {
        let mut facts = Facts::default();
        let mut events = Vec::new();
        self.leftovers = Leftovers::default();
        let opened = |(id, l): (&ListenerId, &FakeListener)| OpenedListener {
            id: *id,
            address: l.address.clone(),
            name: l.name.clone(),
            shared: l.shared,
        };
        let waits = |(_, client): &(&ClientId, &Client)| client.answer.is_none() && !client.gone;
        facts.clients = self.clients.iter().filter(waits).map(|(id, _)| *id).collect();
        facts.listeners = self.listeners.iter().map(opened).collect();
        for id in self.fakes.keys().copied().collect::<Vec<_>>() {
            match self.fakes[&id].life {
                Life::Released => {}
                // It has no process, and the core has let go of it.
                Life::Awaited if !self.primary.workers.contains_key(&id) => {
                    self.known(id).life = Life::Released;
                }
                Life::Awaited => {}
                Life::Dead => {
                    let queued = self.queued(&self.fakes[&id]);
                    let told = !self.roll().is_multiple_of(4);
                    self.known(id).frozen = None;
                    if told {
                        let last_lines = vec![format!("last words of {id}")];
                        let cue = Cue::Exited { exit: Exit::Code(1), last_lines, queued };
                        events.push(Event::Worker { worker: id, cue });
                        facts.workers.insert(id);
                    } else if !self.primary.workers.contains_key(&id) {
                        // Nothing is left of it that the core could release.
                        let fake = self.known(id);
                        fake.holds.clear();
                        fake.life = Life::Released;
                    }
                }
                Life::Forked => _ = facts.workers.insert(id),
                Life::Ended => {
                    facts.workers.insert(id);
                    self.leftovers.step(leftovers::Event::Resumed { worker: id });
                }
                Life::Runs => {
                    facts.workers.insert(id);
                    self.reveal(id, &mut events);
                }
            }
        }
        self.find_hooks(&mut facts, &mut events);
        (facts, events)
    }

    /// What a living worker shows of itself.
    fn reveal(&mut self, worker: WorkerId, events: &mut Vec<Event>) {
        let mut cues = vec![Cue::Spawned];
        let lent = self.primary.workers.get(&worker).map(|worker| worker.lent.clone());
        let fake = self.known(worker);
        for (listener, socket) in fake.holds.clone() {
            if lent.as_ref().is_some_and(|lent| lent.contains(&listener)) {
                continue;
            }
            cues.push(if fake.listens.contains(&(listener, socket)) {
                Cue::Listening { listener, socket }
            } else {
                Cue::Closed { listener, socket }
            });
        }
        let asked: Vec<ListenerId> = std::mem::take(&mut fake.tickets).into_values().collect();
        for listener in asked {
            let ticket = Ticket(self.next_ticket);
            self.next_ticket += 1;
            self.known(worker).tickets.insert(ticket, listener);
            cues.push(Cue::BindAsked { listener, ticket, another: false });
        }
        events.extend(cues.into_iter().map(|cue| Event::Worker { worker, cue }));
    }

    /// Checks that nothing waits for an event that will not come.
    pub(super) fn check_calm(&mut self) {
        self.until("everything is done", |sim| {
            let spawning = |worker: &super::super::worker::Worker| {
                matches!(worker.state, State::Spawning { .. })
            };
            sim.exit.is_some()
                || (sim.primary.job.is_none()
                    && sim.primary.queue.is_empty()
                    && sim.primary.merging.is_none()
                    && !sim.primary.anyone_retires()
                    && !sim.primary.workers.values().any(spawning))
        });
    }
}
