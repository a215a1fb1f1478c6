//! How many workers the load asks for, with `instances = "MIN..MAX"`.
//!
//! More at once, fewer slowly. Workers are added when connections wait for them ([`QUEUED`]) or
//! they are busy ([`BUSY`]) for [`PRESSED`]: an app that is too small loses requests. They are
//! taken away one quarter at a time, and only if those that are left would not be busy ([`CALM`],
//! well below [`BUSY`]) over a whole cool-down. If the load shows soon after that there are too few
//! again, the next cool-downs take twice as long each time: a load that comes and goes does not
//! make workers come and go.
//!
//! CPU that is used says how many workers can be busy at most on this machine, so workers that wait
//! for a CPU do not ask for more of them.

use std::time::Duration;

use crate::base::time::Time;

/// The time between two looks at the load.
pub(crate) const EVERY: Duration = Duration::from_millis(500);
/// The shortest time between a change and more workers.
const UP_COOLDOWN: Duration = Duration::from_secs(2);
/// How long the load must be high before there are more workers.
const PRESSED: Duration = Duration::from_secs(1);
/// Connections that wait, for each worker, from which on there are too few workers.
const QUEUED: u32 = 1;
/// How many of them are a reason for one worker more.
const QUEUED_FOR_ONE: u32 = 4;
/// How many times as many workers there are after a step because of them, at most.
const MOST_TIMES: u16 = 4;
/// Percent of a CPU that a worker uses on average, from which on there are too few.
const BUSY: f32 = 75.0;
/// What a worker is to use when there are enough of them.
const GOOD: f32 = 60.0;
/// What the workers that are left may use at most on average when there are fewer.
const CALM: f32 = 50.0;
/// By how much a load that comes and goes lengthens the cool-down at most.
const MOST_BACKOFF: u32 = 16;

/// How many workers there may be, and how soon there may be fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) min: u16,
    pub(crate) max: u16,
    pub(crate) cooldown: Duration,
}

/// What was seen of all workers together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Load {
    /// How many are wanted now.
    pub(crate) wanted: u16,
    /// All of them are ready, and nothing else changes the app.
    pub(crate) settled: bool,
    /// Connections that wait for them.
    pub(crate) backlog: u32,
    /// CPU that they use, 100 = one CPU.
    pub(crate) cpu: f32,
}

/// Another number of workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) to: u16,
    pub(crate) because: String,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Autoscale {
    /// The number that was wanted at the last look, and since when.
    wanted: Option<(u16, Time)>,
    pressed_since: Option<Time>,
    calm_since: Option<Time>,
    /// When there were fewer workers for the last time.
    shrunk: Option<Time>,
    /// By how much the cool-down is lengthened.
    backoff: u32,
}

impl Default for Autoscale {
    fn default() -> Self {
        let (wanted, pressed_since, calm_since, shrunk) = (None, None, None, None);
        Self { wanted, pressed_since, calm_since, shrunk, backoff: 1 }
    }
}

impl Autoscale {
    /// Takes a look at the load. Returns another number of workers, if there is to be one.
    pub(crate) fn look(&mut self, now: Time, bounds: Bounds, load: Load) -> Option<Verdict> {
        let changed = match self.wanted {
            Some((wanted, since)) if wanted == load.wanted => since,
            // Someone may have changed it by hand.
            _ => {
                self.wanted = Some((load.wanted, now));
                now
            }
        };
        // A worker that is replaced says nothing about the load before and after.
        if !load.settled {
            return None;
        }
        if let Some(to) = out_of_bounds(bounds, load.wanted) {
            let because = format!("{} to {} are configured", bounds.min, bounds.max);
            return (now.since(changed) >= UP_COOLDOWN).then_some(Verdict { to, because });
        }
        let pressure = pressure(bounds, load);
        let fewer = if pressure.is_some() { None } else { fewer(bounds, load) };
        let pressed = since(&mut self.pressed_since, pressure.is_some(), now);
        let calm = since(&mut self.calm_since, fewer.is_some(), now);
        let cooldown = bounds.cooldown.max(EVERY) * self.backoff;
        if let Some(verdict) = pressure
            && verdict.to > load.wanted
            && pressed >= PRESSED
            && now.since(changed) >= UP_COOLDOWN
        {
            self.grows(now, cooldown);
            return Some(verdict);
        }
        let verdict = fewer.filter(|_| calm >= cooldown && now.since(changed) >= cooldown)?;
        self.shrinks(now, cooldown);
        Some(verdict)
    }

    /// There are too few workers. If there were more a short time ago, the next cool-down is
    /// longer.
    fn grows(&mut self, now: Time, cooldown: Duration) {
        if self.shrunk.take().is_some_and(|shrunk| now.since(shrunk) < cooldown * 2) {
            self.backoff = (self.backoff * 2).min(MOST_BACKOFF);
        }
        (self.pressed_since, self.calm_since) = (None, None);
    }

    fn shrinks(&mut self, now: Time, cooldown: Duration) {
        let lasted = self.shrunk.is_none_or(|shrunk| now.since(shrunk) >= cooldown * 2);
        self.backoff = if lasted { (self.backoff / 2).max(1) } else { self.backoff };
        self.shrunk = Some(now);
        (self.pressed_since, self.calm_since) = (None, None);
    }
}

/// How long it has been so.
fn since(start: &mut Option<Time>, is_so: bool, now: Time) -> Duration {
    *start = is_so.then(|| start.unwrap_or(now));
    start.map_or(Duration::ZERO, |start| now.since(start))
}

fn out_of_bounds(bounds: Bounds, wanted: u16) -> Option<u16> {
    let within = wanted.clamp(bounds.min, bounds.max);
    (within != wanted).then_some(within)
}

/// How many workers are needed, if the load is high.
fn pressure(bounds: Bounds, load: Load) -> Option<Verdict> {
    let Load { wanted, backlog, cpu, .. } = load;
    let each = cpu / f32::from(wanted.max(1));
    let (queued, busy) = (backlog >= u32::from(wanted) * QUEUED, each >= BUSY);
    let because = match (queued, busy) {
        (false, false) => return None,
        (true, _) => format!("{backlog} connections wait for {wanted} workers"),
        (false, true) => format!("{wanted} workers use {each:.0}% of a CPU each"),
    };
    let needed = if queued {
        let more = u16::try_from(backlog / QUEUED_FOR_ONE).unwrap_or(u16::MAX);
        let most = wanted.saturating_mul(MOST_TIMES);
        wanted.saturating_add(more.max(wanted.div_ceil(2))).min(most)
    } else {
        enough(cpu, GOOD).clamp(wanted + 1, wanted.saturating_mul(2))
    };
    Some(Verdict { to: needed.clamp(bounds.min, bounds.max), because })
}

/// How many workers would do, if fewer would.
fn fewer(bounds: Bounds, load: Load) -> Option<Verdict> {
    let Load { wanted, backlog, cpu, .. } = load;
    let step = (wanted / 4).max(1);
    let to = enough(cpu, CALM).max(wanted.saturating_sub(step)).max(bounds.min);
    // A look meets now and then a connection that is about to be accepted.
    if backlog * 4 >= u32::from(wanted) || to >= wanted {
        return None;
    }
    let waits = match backlog {
        0 => "no connection waits".to_owned(),
        1 => "1 connection waits".to_owned(),
        more => format!("{more} connections wait"),
    };
    let because = format!("{waits}, and {wanted} workers use {cpu:.0}% of a CPU");
    Some(Verdict { to, because })
}

/// How many workers that use so much each use this CPU together.
fn enough(cpu: f32, each: f32) -> u16 {
    let count = (cpu.max(0.0) / each).ceil();
    // A float becomes the nearest number that there is.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as said")]
    let count = count as u16;
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(20);
    const BOUNDS: Bounds = Bounds { min: 2, max: 8, cooldown: COOLDOWN };

    /// Workers that serve so much each, under a load that changes.
    struct App {
        policy: Autoscale,
        now: Time,
        wanted: u16,
        /// How many workers the load keeps busy.
        load: f32,
        cpus: f32,
        backlog: f32,
        /// Until when the app starts workers.
        starts_until: Time,
        changes: Vec<(Time, u16, u16)>,
    }

    impl App {
        fn new(cpus: f32) -> Self {
            let (now, wanted, load, backlog) = (Time(0), 2, 0.0, 0.0);
            let policy = Autoscale::default();
            let (starts_until, changes) = (now, Vec::new());
            Self { policy, now, wanted, load, cpus, backlog, starts_until, changes }
        }

        fn pass(&mut self, span: Duration) {
            let end = self.now + span;
            while self.now < end {
                self.now = self.now + EVERY;
                let capacity = f32::from(self.wanted).min(self.cpus);
                let served = self.load.min(capacity);
                self.backlog = (self.backlog + (self.load - capacity) * 10.0).clamp(0.0, 4096.0);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "small"
                )]
                let backlog = self.backlog as u32;
                let settled = self.now >= self.starts_until;
                let (wanted, cpu) = (self.wanted, served * 100.0);
                let load = Load { wanted, settled, backlog, cpu };
                if let Some(verdict) = self.policy.look(self.now, BOUNDS, load) {
                    assert!(settled, "never during another change");
                    self.change(verdict.to);
                }
            }
        }

        fn change(&mut self, to: u16) {
            assert!((BOUNDS.min..=BOUNDS.max).contains(&to) && to != self.wanted, "{to}");
            if let Some((last, ..)) = self.changes.last() {
                let cooldown = if to > self.wanted { UP_COOLDOWN } else { COOLDOWN };
                assert!(self.now.since(*last) >= cooldown, "{:?}", self.changes);
            }
            self.changes.push((self.now, self.wanted, to));
            self.wanted = to;
            self.starts_until = self.now + EVERY;
        }
    }

    #[test]
    fn a_step_of_load_leads_to_the_most_within_seconds_and_back() {
        let mut app = App::new(64.0);
        for round in 0..2 {
            app.load = 20.0;
            app.pass(Duration::from_secs(5));
            assert_eq!(app.wanted, 8, "round {round}: {:?}", app.changes);
            app.load = 0.0;
            app.backlog = 0.0;
            app.pass(Duration::from_secs(600));
            assert_eq!(app.wanted, 2, "round {round}: {:?}", app.changes);
        }
        assert_eq!(app.changes.len(), 2 * (1 + 5), "{:?}", app.changes);
    }

    #[test]
    fn a_steady_load_changes_nothing_any_more() {
        for load in [0.0, 0.5, 1.2, 1.9, 2.5, 3.3, 4.7, 5.9, 6.5, 7.9] {
            let mut app = App::new(64.0);
            app.load = load;
            app.pass(Duration::from_secs(600));
            let (wanted, changes) = (app.wanted, app.changes.len());
            app.pass(Duration::from_secs(6000));
            assert_eq!((app.wanted, app.changes.len()), (wanted, changes), "{load}");
            assert!(f32::from(wanted) >= load, "{load} keeps more busy than {wanted}");
        }
    }

    #[test]
    fn workers_that_wait_for_a_cpu_ask_for_no_more_of_them() {
        let mut app = App::new(2.0);
        app.load = 1.9;
        app.pass(Duration::from_secs(600));
        assert!(app.wanted <= 4, "{:?}", app.changes);
    }

    #[test]
    fn a_load_that_comes_and_goes_does_not_make_workers_come_and_go() {
        let mut app = App::new(64.0);
        // Always a little longer than a cool-down.
        for _ in 0..100 {
            app.load = 6.0;
            app.pass(Duration::from_secs(10));
            (app.load, app.backlog) = (0.0, 0.0);
            app.pass(COOLDOWN + Duration::from_secs(15));
        }
        let late = app.changes.iter().filter(|(at, ..)| *at > Time(0) + COOLDOWN * 100).count();
        assert!(late <= 20, "{late} changes: {:?}", app.changes);
    }

    #[test]
    fn random_loads_keep_every_law() {
        let mut seed = 7_u64;
        for cpus in [1.0, 2.0, 64.0] {
            let mut app = App::new(cpus);
            for _ in 0..2000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let dice = u16::try_from(seed >> 48).unwrap();
                app.load = f32::from(dice % 120) / 10.0;
                app.pass(EVERY * u32::from(dice % 97));
            }
        }
    }

    #[test]
    fn a_number_that_was_set_by_hand_is_led_back_into_the_bounds() {
        let mut policy = Autoscale::default();
        let load = Load { wanted: 12, settled: true, backlog: 0, cpu: 0.0 };
        assert_eq!(policy.look(Time(0), BOUNDS, load), None);
        let verdict = policy.look(Time(0) + UP_COOLDOWN, BOUNDS, load).unwrap();
        assert_eq!((verdict.to, verdict.because.as_str()), (8, "2 to 8 are configured"));
    }

    #[test]
    fn the_reasons() {
        let load = Load { wanted: 2, settled: true, backlog: 40, cpu: 30.0 };
        let why = |load| pressure(BOUNDS, load).map(|verdict| (verdict.to, verdict.because));
        assert_eq!(why(load), Some((8, "40 connections wait for 2 workers".to_owned())));
        let few = Load { backlog: 3, ..load };
        assert_eq!(why(few).map(|(to, _)| to), Some(3));
        let busy = Load { backlog: 0, cpu: 170.0, ..load };
        assert_eq!(why(busy), Some((3, "2 workers use 85% of a CPU each".to_owned())));
        assert_eq!(why(Load { backlog: 1, cpu: 149.0, ..load }), None);
        let calm = fewer(BOUNDS, Load { wanted: 8, settled: true, backlog: 0, cpu: 40.0 }).unwrap();
        assert_eq!(calm.to, 6);
        assert_eq!(calm.because, "no connection waits, and 8 workers use 40% of a CPU");
    }
}
