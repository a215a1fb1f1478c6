//! Whether memory only grows: a suspicion from a series of sizes.
//!
//! A garbage collector lets a heap grow and fall. A heap that leaks falls less far each time, so
//! the time is cut into six parts, and the lowest size of each part counts. A leak is suspected if
//! each lowest size is above the one before, a line through them (least squares) explains them, and
//! the growth is not small. If the size did not fall lately, the heap may be on its way to its
//! first collection: then it is watched for longer, and must be larger than ever.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::time::Time;

/// A window has this many steps; of each the lowest size is remembered.
const STEP: u32 = 10;
/// How many steps are remembered.
const STEPS: usize = 60;
/// The first part of the window (one of this many) does not count: programs grow as they start.
const WARM_UP: u32 = 5;
/// How many windows the growth must last if the size did not fall in the later half; else one.
const LONGER: u32 = 3;
/// The least growth in bytes, and as a share of the first size.
const LEAST: f64 = 4.0 * 1024.0 * 1024.0;
const LEAST_SHARE: f64 = 0.05;
/// How much of the sizes' variance the line must explain.
const STRAIGHT: f64 = 0.8;
/// Into how many parts the time is cut: fewer than there are steps, since a collection may come
/// less often than once in a step.
const PARTS: usize = 6;
/// The least share of the growth that must have come in the last third of the time.
const LASTING: f64 = 0.3;
/// A size has fallen if it is below this share of the largest before it.
const FALLEN: f64 = 0.9;

/// The sizes of one thing.
#[derive(Debug)]
pub(crate) struct Track {
    window: Duration,
    began: Option<Time>,
    steps: VecDeque<Step>,
    /// The largest since it last fell.
    peak: u64,
    /// The largest from which it ever fell.
    ceiling: u64,
}

/// A part of the time.
#[derive(Debug, Clone, Copy)]
struct Step {
    since: Time,
    lowest: u64,
    fell: bool,
}

/// How fast something grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Growth {
    /// Bytes in an hour.
    pub(crate) per_hour: f64,
    /// How long it has grown.
    pub(crate) over: Duration,
}

impl Track {
    /// `window`: the least time of growth; zero: no leak is ever suspected.
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, began: None, steps: VecDeque::new(), peak: 0, ceiling: 0 }
    }

    /// It has this size now.
    pub(crate) fn push(&mut self, now: Time, bytes: u64) {
        let began = *self.began.get_or_insert(now);
        if self.window.is_zero() || now.since(began) < self.window / WARM_UP {
            return;
        }
        self.peak = self.peak.max(bytes);
        let fell = float(bytes) < float(self.peak) * FALLEN;
        if fell {
            self.ceiling = self.ceiling.max(self.peak);
            self.peak = bytes;
        }
        let step = self.window / STEP;
        match self.steps.back_mut().filter(|last| now.since(last.since) < step) {
            Some(step) => {
                step.lowest = step.lowest.min(bytes);
                step.fell |= fell;
            }
            None => {
                self.steps.push_back(Step { since: now, lowest: bytes, fell });
                if self.steps.len() > STEPS {
                    self.steps.pop_front();
                }
            }
        }
    }

    /// Whether it only grows.
    pub(crate) fn growth(&self) -> Option<Growth> {
        // The last step is not over: its lowest size is yet to come.
        let steps: Vec<Step> = self.steps.iter().rev().skip(1).rev().copied().collect();
        let (first, last) = (steps.first()?, steps.last()?);
        let over = last.since.since(first.since);
        let middle = first.since + over / 2;
        let fell_lately = steps.iter().any(|step| step.fell && step.since >= middle);
        let highest_ever = float(last.lowest) > float(self.ceiling) * (1.0 + LEAST_SHARE);
        let longer = self.window * LONGER;
        if over < self.window || !fell_lately && (over < longer || !highest_ever) {
            return None;
        }
        let lowest = |part: &[Step]| part.iter().min_by_key(|step| step.lowest).copied();
        let part = |at: usize| &steps[at * steps.len() / PARTS..(at + 1) * steps.len() / PARTS];
        let points: Vec<(f64, f64)> = (0..PARTS)
            .filter_map(|at| lowest(part(at)))
            .map(|step| (step.since.since(first.since).as_secs_f64(), float(step.lowest)))
            .collect();
        let (slope, straight) = line(&points)?;
        let grown = slope * over.as_secs_f64();
        let least = LEAST.max(float(first.lowest) * LEAST_SHARE);
        let rises = points.windows(2).all(|pair| pair[1].1 > pair[0].1);
        // A cache that fills grows more and more slowly.
        let [from, .., before, _, to] = points[..] else { return None };
        let lasts = to.1 - before.1 >= (to.1 - from.1) * LASTING;
        (rises && lasts && grown >= least && straight >= STRAIGHT)
            .then_some(Growth { per_hour: slope * 3600.0, over })
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes of memory are far below 2^53")]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

/// The least-squares line's slope, and how much of the variance it explains.
fn line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let count = float(u64::try_from(points.len()).ok()?);
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (px, py) in points {
        xx += (px - x) * (px - x);
        xy += (px - x) * (py - y);
        yy += (py - y) * (py - y);
    }
    (xx > 0.0 && yy > 0.0).then(|| (xy / xx, xy * xy / (xx * yy)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;
    const WINDOW: Duration = Duration::from_secs(600);
    /// How often a size comes.
    const EVERY: u64 = 10;

    /// What is suspected at each moment of so many minutes of a size that is this function of the
    /// minute.
    fn all(minutes: u64, size: impl Fn(f64) -> f64) -> Vec<Option<Growth>> {
        let mut track = Track::new(WINDOW);
        let sizes = (0..minutes * 60).step_by(EVERY as usize).map(|second| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size")]
            let bytes = (size(float(second) / 60.0) * MIB) as u64;
            track.push(Time(second * 1_000_000_000), bytes);
            track.growth()
        });
        sizes.collect()
    }

    /// At the end.
    fn after(minutes: u64, size: impl Fn(f64) -> f64) -> Option<Growth> {
        all(minutes, size).pop().flatten()
    }

    fn ever(minutes: u64, size: impl Fn(f64) -> f64) -> bool {
        all(minutes, size).iter().any(Option::is_some)
    }

    /// Between 0 and 1, of a period in minutes.
    fn saw(minute: f64, period: f64) -> f64 {
        (minute / period).fract()
    }

    /// Something that looks random, between 0 and 1.
    fn noise(minute: f64) -> f64 {
        ((minute * 12.9898).sin() * 43_758.547).fract().abs()
    }

    #[test]
    fn a_slow_leak_under_a_sawtooth() {
        for period in [0.7, 2.0, 5.0] {
            let leak = |m: f64| 50.0 + 12.0 * m / 60.0 + 30.0 * saw(m, period);
            let found = after(40, leak).unwrap_or_else(|| panic!("period {period}"));
            let per_hour = found.per_hour / MIB;
            assert!((9.0..15.0).contains(&per_hour), "{per_hour} MiB/h, period {period}");
            assert!(found.over >= Duration::from_secs(30 * 60));
        }
    }

    #[test]
    fn a_fast_leak_is_found_soon() {
        assert_eq!(after(11, |m| 30.0 + 2.0 * m + 10.0 * saw(m, 0.5)), None);
        let found = after(14, |m| 30.0 + 2.0 * m + 10.0 * saw(m, 0.5)).unwrap();
        assert!((110.0..130.0).contains(&(found.per_hour / MIB)), "{found:?}");
        // Memory of a process never falls: it takes longer.
        assert_eq!(after(30, |m| 30.0 + 2.0 * m), None);
        assert!(after(34, |m| 30.0 + 2.0 * m).is_some());
    }

    #[test]
    fn a_collector_is_no_leak() {
        for period in [0.3, 1.0, 1.7, 4.0, 7.0, 12.0, 25.0] {
            assert!(!ever(130, |m| 50.0 + 60.0 * saw(m, period)), "period {period}");
            let noisy = |m: f64| 50.0 + 60.0 * saw(m, period) + 3.0 * noise(m);
            assert!(!ever(130, noisy), "period {period}, noisy");
        }
        // One whose collections come very late is suspected once at most: then its height is known.
        let slow = |m: f64| 50.0 + 100.0 * saw(m + 10.0, 80.0);
        assert!(all(200, slow).iter().skip(75 * 6).all(Option::is_none));
    }

    #[test]
    fn neither_is_what_settles_or_is_small() {
        assert!(!ever(120, |m| 90.0 - 60.0 * (-m / 3.0).exp()), "a cache that fills");
        assert!(!ever(120, |m| 50.0 + 2.0 * m / 60.0), "2 MiB in an hour");
        assert!(!ever(120, |m| 2000.0 + 20.0 * m / 60.0 + 300.0 * saw(m, 1.0)), "1 % in an hour");
        assert!(!ever(120, |_| 70.0));
        assert!(!ever(60, |m| if m < 30.0 { 50.0 } else { 80.0 }), "one step");
        assert!(!ever(180, |m| 50.0 + 20.0 * (m / 20.0).sin()), "busy and idle hours");
        assert!(!ever(120, |m| 60.0 + 20.0 * noise(m)));
    }

    #[test]
    fn it_is_taken_back() {
        let stops = |m: f64| 50.0 + 0.5 * m.min(50.0) + 10.0 * saw(m, 1.0);
        assert!(after(50, stops).is_some());
        assert!(after(110, stops).is_none());
    }

    #[test]
    fn the_window_is_as_long_as_one_likes() {
        for (window, suspected) in [(0, None), (11, None), (10, Some(())), (60, None)] {
            let mut track = Track::new(Duration::from_secs(window));
            for ms in (0..14_000_u32).step_by(100) {
                let size = 30.0 + f64::from(ms) / 1000.0 + 10.0 * saw(f64::from(ms), 700.0);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a size"
                )]
                track.push(Time(u64::from(ms) * 1_000_000), (size * MIB) as u64);
            }
            assert_eq!(track.growth().map(|_| ()), suspected, "{window} s");
        }
    }

    #[test]
    fn it_stays_small() {
        let mut track = Track::new(WINDOW);
        for second in 0..200_000 {
            track.push(Time(second * 1_000_000_000), second);
        }
        assert!(track.steps.len() <= STEPS);
    }
}
