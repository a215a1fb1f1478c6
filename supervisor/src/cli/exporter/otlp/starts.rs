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
    /// When the last look was.
    last_look: u64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    value: f64,
    start: u64,
    /// When the app was started.
    app: u64,
}

impl<Key: Eq + Hash> Starts<Key> {
    pub(super) fn new() -> Self {
        Self { known: HashMap::new(), next: HashMap::new(), last_look: 0 }
    }

    /// Since when this counter counts, if it has this value `now` and its app was started at `app`.
    /// All times are of one unit.
    pub(super) fn of(&mut self, key: Key, value: f64, app: u64, now: u64) -> u64 {
        let start = match self.known.get(&key) {
            Some(known) if known.app != app => app,
            Some(known) if value < known.value => self.last_look,
            Some(known) => known.start,
            None => app,
        };
        // The clock may have been set back.
        let start = start.min(now);
        self.next.insert(key, Known { value, start, app });
        start
    }

    /// Ends a look: counters that it did not show are forgotten.
    pub(super) fn looked(&mut self, now: u64) {
        self.known = std::mem::take(&mut self.next);
        self.last_look = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_stays_until_the_count_begins_anew() {
        let mut starts = Starts::new();
        let mut look = |value, app, now| {
            let start = starts.of("hits", value, app, now);
            starts.looked(now);
            start
        };
        assert_eq!(look(5.0, 100, 200), 100);
        assert_eq!(look(5.0, 100, 300), 100);
        assert_eq!(look(9.0, 100, 400), 100);
        // It shrank after the last look, and goes on from there.
        assert_eq!(look(2.0, 100, 500), 400);
        assert_eq!(look(3.0, 100, 600), 400);
        // Another app of the same name.
        assert_eq!(look(7.0, 650, 700), 650);
        // A clock that was set back.
        assert_eq!(look(8.0, 650, 640), 640);
    }

    #[test]
    fn what_is_not_shown_is_forgotten() {
        let mut starts = Starts::new();
        starts.of("hits", 5.0, 100, 200);
        starts.looked(200);
        starts.looked(300);
        assert!(starts.known.is_empty() && starts.next.is_empty());
        assert_eq!(starts.of("hits", 1.0, 100, 400), 100);
    }
}
