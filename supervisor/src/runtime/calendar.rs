//! Looks at the clock for `cron_restart`, and tells the core the next time and each that is due.
//! `policy::schedule` says what a look means; `config::schedule` knows the calendar.

use std::time::Duration;

use config::schedule::Schedule;

use super::context::Context;
use crate::base::time::Time;
use crate::policy::schedule::{self, Verdict};
use crate::primary::event::{Event, Scheduled};
use crate::sys::clock;

/// The longest time between two looks: the wall clock may be set, or run on while the machine
/// sleeps.
const EVERY: Duration = Duration::from_secs(10);
/// The shortest one.
const LEAST: Duration = Duration::from_millis(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    /// The pattern and the zone.
    wanted: Option<(String, Option<String>)>,
    /// What was read from them. `None`: nothing is wanted, or it cannot be read.
    schedule: Option<Schedule>,
    /// The next look.
    due: Option<Time>,
}

impl Calendar {
    /// When to look next.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.due
    }

    /// Looks at the clock if it is time to, or if the configuration has changed. `planned`: what
    /// the core was told last, by this primary or by one before.
    pub(super) fn look(&mut self, at: &mut Context<'_>, now: Time, planned: Option<&Scheduled>) {
        let (cron, zone) = (&at.spec.cron_restart, &at.spec.cron_timezone);
        let known = self.wanted.as_ref().map(|(cron, zone)| (cron, zone));
        let changed = known != cron.as_ref().map(|cron| (cron, zone));
        if !changed && self.due.is_none_or(|due| due > now) {
            return;
        }
        if changed {
            let wanted = cron.clone().map(|cron| (cron, zone.clone()));
            self.read(at, wanted);
        }
        let (Some((cron, zone)), Some(schedule)) = (&self.wanted, &self.schedule) else {
            if planned.is_some() {
                at.inbox.push_back(Event::Schedule { planned: None, is_due: false });
            }
            return;
        };
        let same = |planned: &&Scheduled| planned.cron == *cron && planned.zone == *zone;
        let before = planned.filter(same).and_then(|planned| planned.next);
        let wall = clock::unix_ms();
        let Verdict { is_due, next } = schedule::look(before, wall, schedule.after(wall));
        self.due = next.map(|next| {
            let span = Duration::from_millis(next.saturating_sub(wall));
            now + span.clamp(LEAST, EVERY)
        });
        if is_due || next != before {
            let planned = Some(Scheduled { cron: cron.clone(), zone: zone.clone(), next });
            at.inbox.push_back(Event::Schedule { planned, is_due });
        }
    }

    fn read(&mut self, at: &mut Context<'_>, wanted: Option<(String, Option<String>)>) {
        self.due = None;
        let schedule = wanted.as_ref().map(|(cron, zone)| Schedule::new(cron, zone.as_deref()));
        if let (Some(Err(why)), Some((cron, _))) = (&schedule, &wanted) {
            at.note(format!("cron_restart {cron:?} is ignored: {why}"));
        }
        (self.wanted, self.schedule) = (wanted, schedule.and_then(Result::ok));
    }
}
