//! Since when each counter counts: `start_time_unix_nano`.
//!
//! A reader takes a cumulative sum with another start time for a new count from zero, so a start
//! must stay the same while the count goes on: over reloads, deaths of the primary, and the death
//! of this process. The app says when it was started. A count that shrinks began anew since the
//! last look, and so did one that the last look at its app did not show: that of a slot that is new
//! or came back.

use std::collections::HashMap;
use std::hash::Hash;

/// The counters of the last look, by app.
#[derive(Debug)]
pub(super) struct Starts<Key> {
    known: HashMap<String, App<Key>>,
    /// Those of the look under way.
    next: HashMap<String, App<Key>>,
}

#[derive(Debug)]
struct App<Key> {
    /// When it showed all of its counters last, and since when it ran then.
    shown: Option<(u64, AppStart)>,
    counters: HashMap<Key, Known>,
}

impl<Key> Default for App<Key> {
    fn default() -> Self {
        Self { shown: None, counters: HashMap::new() }
    }
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

    /// Since when this counter of an app counts, if it has this value `now`. To be asked once for
    /// each key in a look.
    pub(super) fn of(&mut self, name: &str, key: Key, value: f64, app: AppStart, now: u64) -> u64 {
        let before = self.known.get(name);
        let start = match before.and_then(|before| before.counters.get(&key)) {
            Some(known) if app.is_later(known.app, known.seen) => app.time().unwrap_or(now),
            Some(known) if value < known.value => known.seen,
            Some(known) => known.start,
            None => match before.and_then(|before| before.shown) {
                Some((seen, before)) if !app.is_later(before, seen) => seen,
                Some(_) | None => app.time().unwrap_or(now),
            },
        };
        // The clock may have been set back.
        let start = start.min(now);
        let counters = &mut self.next.entry(name.to_owned()).or_default().counters;
        counters.insert(key, Known { value, start, app, seen: now });
        start
    }

    /// The app shows all of its counters in the look under way.
    pub(super) fn shown(&mut self, name: &str, app: AppStart, now: u64) {
        self.next.entry(name.to_owned()).or_default().shown = Some((now, app));
    }

    /// Ends a look: counters that it did not show are forgotten, but for those of apps that `stays`
    /// names.
    pub(super) fn looked(&mut self, stays: impl Fn(&str) -> bool) {
        let before = std::mem::replace(&mut self.known, std::mem::take(&mut self.next));
        for (name, before) in before.into_iter().filter(|(name, _)| stays(name)) {
            let app = self.known.entry(name).or_default();
            app.shown = app.shown.or(before.shown);
            for (key, known) in before.counters {
                app.counters.entry(key).or_insert(known);
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
            let start = starts.of("web", "hits", value, app, now);
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
    fn what_is_not_shown_is_forgotten_unless_its_app_is_silent() {
        let mut starts = Starts::new();
        starts.of("web", "hits", 5.0, Said(100), 200);
        starts.of("api", "hits", 5.0, Said(100), 200);
        starts.looked(|_| false);
        starts.looked(|app| app == "api");
        assert_eq!((starts.known.len(), starts.next.len()), (1, 0));
        assert_eq!(starts.of("web", "hits", 1.0, Said(100), 400), 100);
        assert_eq!(starts.of("api", "hits", 1.0, Said(100), 400), 200);
    }

    #[test]
    fn what_the_last_look_did_not_show_began_after_it() {
        let mut starts = Starts::new();
        let mut look = |slots: &[(u16, f64)], app, now| {
            let of = |&(slot, value): &(u16, f64)| starts.of("web", slot, value, app, now);
            let all: Vec<u64> = slots.iter().map(of).collect();
            starts.shown("web", app, now);
            starts.looked(|_| false);
            all
        };
        assert_eq!(look(&[(0, 5.0), (1, 7.0)], Said(100), 200), [100, 100]);
        assert_eq!(look(&[(0, 5.0)], Said(100), 300), [100]);
        // Also with more than it had.
        assert_eq!(look(&[(0, 5.0), (1, 9.0)], Said(100), 400), [100, 300]);
        assert_eq!(look(&[(0, 5.0), (1, 9.0)], Said(100), 500), [100, 300]);
        // Another app of the same name.
        assert_eq!(look(&[(0, 1.0), (2, 1.0)], Said(550), 600), [550, 550]);
    }
}
