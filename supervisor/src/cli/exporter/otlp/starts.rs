//! Since when each counter counts: `start_time_unix_nano`.
//!
//! A reader takes a cumulative sum with another start time for a new count from zero, so a start
//! must stay the same while the count goes on: over reloads, deaths of the primary, and the death
//! of this process. The app says when it was started. A count that shrinks began anew since the
//! last look.

use std::collections::HashMap;
use std::hash::Hash;

/// The counters of the last look.
#[derive(Debug)]
pub(super) struct Starts<Key> {
    known: HashMap<Key, Known>,
    /// Those of the look under way.
    next: HashMap<Key, Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    value: f64,
    start: u64,
    app: AppStart,
    /// When the value was seen.
    seen: u64,
}

/// When an app was started. All times are of one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AppStart {
    /// The app says it, and always the same.
    Said(u64),
    /// Told by how long the app has been up: a little different at each look.
    About(u64),
    /// Nothing tells it.
    Unknown,
}

impl AppStart {
    fn time(self) -> Option<u64> {
        match self {
            Self::Said(time) | Self::About(time) => Some(time),
            Self::Unknown => None,
        }
    }

    /// Whether an app that had the start `before` at the time `seen` was started again since.
    fn is_later(self, before: Self, seen: u64) -> bool {
        match (before, self) {
            (Self::Said(before), Self::Said(now)) => before != now,
            _ => self.time().is_some_and(|start| start > seen),
        }
    }
}

impl<Key: Eq + Hash> Starts<Key> {
    pub(super) fn new() -> Self {
        Self { known: HashMap::new(), next: HashMap::new() }
    }

    /// Since when this counter counts, if it has this value `now`. To be asked once for each key in
    /// a look.
    pub(super) fn of(&mut self, key: Key, value: f64, app: AppStart, now: u64) -> u64 {
        let start = match self.known.get(&key) {
            Some(known) if app.is_later(known.app, known.seen) => app.time().unwrap_or(now),
            Some(known) if value < known.value => known.seen,
            Some(known) => known.start,
            None => app.time().unwrap_or(now),
        };
        // The clock may have been set back.
        let start = start.min(now);
        self.next.insert(key, Known { value, start, app, seen: now });
        start
    }

    /// Ends a look: counters that it did not show are forgotten, but for those that `stays` names.
    pub(super) fn looked(&mut self, stays: impl Fn(&Key) -> bool) {
        let before = std::mem::replace(&mut self.known, std::mem::take(&mut self.next));
        for (key, known) in before {
            if stays(&key) {
                self.known.entry(key).or_insert(known);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::AppStart::{About, Said, Unknown};
    use super::*;

    /// Looks at one counter again and again.
    fn looks(all: &[(f64, AppStart, u64)]) -> Vec<u64> {
        let mut starts = Starts::new();
        let look = |&(value, app, now): &(f64, AppStart, u64)| {
            let start = starts.of("hits", value, app, now);
            starts.looked(|_| false);
            start
        };
        all.iter().map(look).collect()
    }

    #[test]
    fn a_start_stays_until_the_count_begins_anew() {
        let all = [
            ((5.0, Said(100), 200), 100),
            ((5.0, Said(100), 300), 100),
            ((9.0, Said(100), 400), 100),
            // It shrank after the last look, and goes on from there.
            ((2.0, Said(100), 500), 400),
            ((3.0, Said(100), 600), 400),
            // Another app of the same name.
            ((7.0, Said(650), 700), 650),
            // A clock that was set back.
            ((8.0, Said(650), 640), 640),
        ];
        assert_eq!(looks(&all.map(|(look, _)| look)), all.map(|(_, start)| start));
    }

    #[test]
    fn without_a_start_that_the_app_says() {
        let all = [
            ((5.0, About(100), 200), 100),
            ((6.0, About(99), 300), 100),
            ((7.0, About(101), 400), 100),
            ((7.0, Unknown, 500), 100),
            // Its next primary says it, or a bit later not.
            ((8.0, Said(98), 600), 100),
            ((8.0, Unknown, 700), 100),
            // It was started again.
            ((9.0, About(750), 800), 750),
            ((3.0, Unknown, 900), 800),
        ];
        assert_eq!(looks(&all.map(|(look, _)| look)), all.map(|(_, start)| start));
        assert_eq!(looks(&[(5.0, Unknown, 200), (6.0, Unknown, 300)]), [200, 200]);
    }

    #[test]
    fn what_is_not_shown_is_forgotten() {
        let mut starts = Starts::new();
        starts.of("hits", 5.0, Said(100), 200);
        starts.of("silent", 5.0, Said(100), 200);
        starts.looked(|_| false);
        starts.looked(|key| *key == "silent");
        assert_eq!((starts.known.len(), starts.next.len()), (1, 0));
        assert_eq!(starts.of("hits", 1.0, Said(100), 400), 100);
        assert_eq!(starts.of("silent", 1.0, Said(100), 400), 200);
    }
}
