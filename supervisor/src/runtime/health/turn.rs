//! What the probes have to do in each turn of the loop, and what the answers mean to the core.

use std::collections::BTreeMap;
use std::time::Duration;

use super::questions::{Answer, Found};
use super::{Obstacle, spec_of, unknown};
use crate::base::time::Time;
use crate::policy::probe_schedule::{Key, ProbeSchedule};
use crate::primary::event::{Cue, ProbeResult};
use crate::runtime::Runtime;
use crate::runtime::context::context;
use crate::runtime::workers::Child;
use crate::sys::clock;

/// Answers that are read in a turn.
const ANSWERS_PER_TURN: usize = 64;

impl Runtime {
    /// Makes the probes that are due.
    pub(in crate::runtime) fn look_after_health(&mut self, now: Time) {
        self.watch_health(now);
        if self.health.schedule.is_overdue(now) {
            self.health.lose(context!(self), now);
        }
        self.health.prober.reap();
        for key in self.health.schedule.due(now) {
            self.probe(now, key);
        }
    }

    /// Finds out what is to be probed.
    fn watch_health(&mut self, now: Time) {
        let is_probed = |child: &&Child| {
            let spec = &child.spec;
            child.ended.is_none() && (spec.readiness.ask.is_some() || spec.liveness.ask.is_some())
        };
        let children = self.children.values().filter(is_probed);
        let all: BTreeMap<Key, Duration> = children
            .flat_map(|child| {
                let probes = self.core.probes_of(child.id);
                probes.map(|kind| ((child.id, kind), spec_of(&child.spec, kind).delay))
            })
            .collect();
        let was_idle = self.health.is_idle();
        if all.is_empty() && was_idle {
            return;
        }
        self.health.schedule.retain(|key| all.contains_key(&key));
        self.health.silent.retain(|key| all.contains_key(key));
        all.into_iter().for_each(|(key, delay)| self.health.schedule.watch(now, key, delay));
        if self.health.is_idle() {
            self.health.prober.dismiss(&self.events.poller, now);
        }
    }

    fn probe(&mut self, now: Time, key: Key) {
        let (worker, kind) = key;
        let Some(spec) = self.children.get(&worker).map(|child| child.spec.clone()) else { return };
        let probe = spec_of(&spec, kind);
        let asked = match self.health.prober.is_up(&self.events.poller, now) {
            true => self.health.ask(context!(self), now, key, probe),
            false if self.health.prober.is_hopeless() => {
                Err(unknown("the process that probes ends at once"))
            }
            // It is due when that process can be asked again.
            false => return,
        };
        match asked {
            Ok(()) => {}
            Err(Obstacle::Soon) => self.health.schedule.postpone(now, key),
            // A worker that starts will listen soon: the core hears of it once.
            Err(Obstacle::NotListening(why)) if !self.core.is_worker_ready(worker) => {
                self.health.schedule.postpone(now, key);
                if self.health.silent.insert(key) {
                    self.cue(worker, Cue::Probed { probe: kind, result: ProbeResult::Failed(why) });
                }
            }
            Err(Obstacle::NotListening(why)) => {
                self.has_probed(now, key, ProbeResult::Failed(why));
            }
            Err(Obstacle::Result(result)) => self.has_probed(now, key, result),
        }
    }

    /// The process that probes has answered, or ended.
    pub(in crate::runtime) fn take_probes(&mut self) {
        let now = clock::now();
        for _ in 0..ANSWERS_PER_TURN {
            let Answer { id, found } = match self.health.prober.receive() {
                Ok(Some(answer)) => answer,
                Ok(None) => return,
                Err(_) => return self.health.lose(context!(self), now),
            };
            self.health.end_connection(context!(self), id);
            let Some(key) = self.health.schedule.answered(id) else { continue };
            let result = match found {
                Found::Passed => ProbeResult::Passed,
                Found::Failed(why) => ProbeResult::Failed(why),
                Found::Unknown(why) => ProbeResult::Unknown(why),
            };
            self.has_probed(now, key, result);
        }
    }

    fn has_probed(&mut self, now: Time, key: Key, result: ProbeResult) {
        let (worker, probe) = key;
        let Some(child) = self.children.get(&worker) else { return };
        let starting = !self.core.is_worker_ready(worker);
        let period = ProbeSchedule::period(spec_of(&child.spec, probe).period, starting);
        self.health.schedule.rest(now, key, period);
        self.cue(worker, Cue::Probed { probe, result });
    }
}
