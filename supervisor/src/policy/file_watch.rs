//! When files that have changed lead to a reload.
//!
//! The reload begins when no file has changed for a while (`watch_delay`). What changes while the
//! app is being changed waits for the end of that, and then leads to one reload, however many
//! changes there were. While the app is stopped nothing counts: the next start reads all files.
//!
//! A program that writes into a folder that it watches is reloaded for ever. This shows when the
//! same files change during one reload after the other.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::time::Time;

/// Files that are named to people. Further ones are counted.
const NAMED: usize = 5;
/// Files that change all the time delay the reload by at most this many times the delay.
const MOST_DELAYS: u32 = 10;
/// Reloads in a row during which the same files changed, after which they are suspected to be
/// written by the program. A person who edits a file may save it during one or two.
const SUSPICIOUS: u32 = 4;
/// By how much the time of a change in the file system may be behind the clock (a tick of the
/// kernel); milliseconds.
const COARSE_MS: u64 = 10;

/// Whether the app can be reloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stance {
    /// No worker runs, and none is to.
    Stopped,
    /// It is being changed: a reload would wait.
    Busy,
    /// A reload would begin at once.
    Free,
}

/// Files that have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// The names of some of them, in their order.
    pub(crate) named: BTreeSet<String>,
    /// How many there are beside these. A file that changed more than once may count as often.
    pub(crate) more: u32,
}

impl Changes {
    /// Adds further ones.
    pub(crate) fn extend(&mut self, other: Self) {
        self.more = self.more.saturating_add(other.more);
        for name in other.named {
            if self.named.len() < NAMED || self.named.contains(&name) {
                self.named.insert(name);
            } else {
                self.more = self.more.saturating_add(1);
            }
        }
    }

    /// Whether nothing has changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty() && self.more == 0
    }
}

/// The changes that have not led to a reload yet.
#[derive(Debug, Default)]
pub(crate) struct FileWatch {
    pending: Option<Pending>,
    /// Up to when all changes are known, or have no consequence; milliseconds since 1970.
    known_until: Option<u64>,
    /// The same for the changes that have led to a reload.
    done_until: Option<u64>,
    /// When the app was last seen being changed.
    busy_at: Option<Time>,
    circle: Circle,
}

/// Reloads that may be one the cause of the other.
#[derive(Debug, Default)]
struct Circle {
    /// How many there were in a row.
    reloads: u32,
    /// The files that changed during each of them.
    files: BTreeSet<String>,
}

impl Circle {
    /// One more reload. `during_another`: the files began to change during the one before.
    /// `Some`: the files that the program seems to write, once.
    fn turn(&mut self, changes: &Changes, during_another: bool) -> Option<BTreeSet<String>> {
        if self.reloads > 0 {
            self.files.retain(|name| changes.named.contains(name));
        }
        if !during_another || (self.reloads > 0 && self.files.is_empty()) {
            *self = Self::default();
        }
        if during_another && self.reloads == 0 {
            self.files.clone_from(&changes.named);
        }
        self.reloads = if during_another { self.reloads.saturating_add(1) } else { 0 };
        (self.reloads == SUSPICIOUS).then(|| self.files.clone())
    }
}

/// A reload is to begin.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// Because of these files.
    pub(crate) changes: Changes,
    /// The program seems to write these itself, which is to be told.
    pub(crate) written: Option<BTreeSet<String>>,
}

#[derive(Debug)]
struct Pending {
    changes: Changes,
    first: Time,
    last: Time,
}

impl FileWatch {
    /// As a primary before left it. `done_until`: see [`Self::done_until`].
    pub(crate) fn resumed(done_until: Option<u64>) -> Self {
        Self { known_until: done_until, done_until, ..Self::default() }
    }

    /// Begins with the files as they are at `unix_ms`, unless an earlier time is known.
    pub(crate) fn begin(&mut self, unix_ms: u64) {
        self.known_until.get_or_insert(unix_ms);
        self.done_until.get_or_insert(unix_ms);
    }

    /// Forgets everything: the files are not watched any more.
    pub(crate) fn end(&mut self) {
        *self = Self::default();
    }

    /// From when on changes must be looked for that were not reported; milliseconds since 1970.
    pub(crate) fn unknown_since(&self) -> Option<u64> {
        self.known_until.map(|known| known.saturating_sub(COARSE_MS))
    }

    /// Up to when all changes have led to a reload; milliseconds since 1970.
    pub(crate) fn done_until(&self) -> Option<u64> {
        self.done_until
    }

    /// A report of the files that have changed. It knows all changes up to `unix_ms`.
    pub(crate) fn report(&mut self, now: Time, changes: Changes, unix_ms: u64) {
        self.known_until = Some(unix_ms);
        if changes.is_empty() {
            if self.pending.is_none() {
                self.done_until = Some(unix_ms);
            }
            return;
        }
        let fresh = || Pending { changes: Changes::default(), first: now, last: now };
        let pending = self.pending.get_or_insert_with(fresh);
        pending.changes.extend(changes);
        pending.last = now;
    }

    /// When the reload is due. `delay`: how long no file must have changed.
    pub(crate) fn deadline(&self, stance: Stance, delay: Duration) -> Option<Time> {
        let Pending { first, last, .. } = self.pending.as_ref()?;
        match stance {
            // The end of that wakes the loop.
            Stance::Busy => None,
            Stance::Stopped => Some(*first),
            Stance::Free => Some((*last + delay).min(*first + delay.saturating_mul(MOST_DELAYS))),
        }
    }

    /// The changes for which a reload is to begin now.
    pub(crate) fn due(&mut self, now: Time, stance: Stance, delay: Duration) -> Option<Due> {
        if stance == Stance::Busy {
            self.busy_at = Some(now);
        }
        self.deadline(stance, delay).filter(|at| *at <= now)?;
        let Pending { changes, first, .. } = self.pending.take()?;
        self.done_until = self.known_until;
        let written = self.circle.turn(&changes, self.busy_at >= Some(first));
        (stance == Stance::Free).then_some(Due { changes, written })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(200);
    const TICK: Duration = Duration::from_millis(50);
    const START: Time = Time(1_000_000_000);

    fn due(names: &[&str]) -> Due {
        Due { changes: changed(names), written: None }
    }

    fn changed(names: &[&str]) -> Changes {
        Changes { named: names.iter().map(|name| (*name).to_owned()).collect(), more: 0 }
    }

    #[test]
    fn a_reload_begins_when_no_file_has_changed_for_a_while() {
        let mut watch = FileWatch::default();
        assert_eq!(watch.deadline(Stance::Free, DELAY), None);
        watch.report(START, changed(&["a.js"]), 1);
        watch.report(START + TICK, changed(&["b.js", "a.js"]), 2);
        let at = START + TICK + DELAY;
        assert_eq!(watch.deadline(Stance::Free, DELAY), Some(at));
        assert_eq!(watch.due(START + DELAY, Stance::Free, DELAY), None);
        assert_eq!(watch.due(at, Stance::Free, DELAY), Some(due(&["a.js", "b.js"])));
        assert_eq!(watch.due(at + DELAY, Stance::Free, DELAY), None, "once");
    }

    #[test]
    fn files_that_change_all_the_time_do_not_put_it_off_for_ever() {
        let (mut watch, mut now) = (FileWatch::default(), START);
        let mut reloads = 0;
        for _ in 0..400 {
            watch.report(now, changed(&["a.js"]), 1);
            reloads += u32::from(watch.due(now, Stance::Free, DELAY).is_some());
            now = now + TICK;
        }
        // 400 ticks are 20 s, and ten delays are 2 s.
        assert!((9..=10).contains(&reloads), "{reloads}");
    }

    #[test]
    fn changes_during_a_reload_lead_to_one_more() {
        let (mut watch, mut now) = (FileWatch::default(), START);
        for _ in 0..100 {
            watch.report(now, changed(&["a.js"]), 1);
            assert_eq!(watch.deadline(Stance::Busy, DELAY), None, "the loop sleeps");
            assert_eq!(watch.due(now, Stance::Busy, DELAY), None);
            now = now + TICK;
        }
        assert_eq!(watch.due(now, Stance::Free, DELAY), Some(due(&["a.js"])));
        assert_eq!(watch.due(now + 10 * DELAY, Stance::Free, DELAY), None);
    }

    #[test]
    fn what_changes_while_the_app_is_stopped_is_forgotten() {
        let mut watch = FileWatch::default();
        watch.report(START, changed(&["a.js"]), 1);
        assert_eq!(watch.deadline(Stance::Stopped, DELAY), Some(START), "at once");
        assert_eq!(watch.due(START, Stance::Stopped, DELAY), None);
        assert_eq!(watch.due(START + DELAY, Stance::Free, DELAY), None);
    }

    #[test]
    fn a_bounded_number_of_files_is_named() {
        let names: Vec<String> = (0..200).map(|number| format!("{number:03}.js")).collect();
        let mut watch = FileWatch::default();
        for name in &names {
            watch.report(START, changed(&[name]), 1);
        }
        let due = watch.due(START + DELAY, Stance::Free, DELAY).unwrap().changes;
        assert_eq!((due.named.len(), due.more), (NAMED, 195));
        assert!(due.named.contains("000.js"));
    }

    #[test]
    fn a_successor_looks_for_what_has_led_to_no_reload() {
        let mut watch = FileWatch::default();
        watch.begin(5_000);
        watch.begin(9_000);
        assert_eq!((watch.unknown_since(), watch.done_until()), (Some(4_990), Some(5_000)));
        watch.report(START, changed(&["a.js"]), 6_000);
        // Another process that watches the files needs only look for what this one did not see.
        assert_eq!(watch.unknown_since(), Some(5_990));
        // Another primary does not know of the change yet.
        let other = FileWatch::resumed(watch.done_until());
        assert_eq!(other.unknown_since(), Some(4_990));
        watch.due(START + DELAY, Stance::Free, DELAY).unwrap();
        assert_eq!(watch.done_until(), Some(6_000));
        watch.report(START + DELAY, Changes::default(), 7_000);
        assert_eq!(watch.done_until(), Some(7_000));
        watch.end();
        assert_eq!((watch.unknown_since(), watch.done_until()), (None, None));
    }

    /// Files change during a reload, or after it; the files that are told as written.
    fn reload(watch: &mut FileWatch, now: &mut Time, names: &[&str], during: bool) -> Option<Due> {
        if during {
            watch.due(*now, Stance::Busy, DELAY);
        }
        watch.report(*now, changed(names), 1);
        watch.due(*now + TICK, if during { Stance::Busy } else { Stance::Free }, DELAY);
        *now = *now + 10 * DELAY;
        watch.due(*now, Stance::Free, DELAY)
    }

    #[test]
    fn files_that_the_program_writes_itself_are_told_once() {
        let (mut watch, mut now) = (FileWatch::default(), START);
        let names: [&[&str]; 3] = [&["a.js", "cache.db"], &["cache.db"], &["b.js", "cache.db"]];
        let mut told = Vec::new();
        for turn in 0..20 {
            let due = reload(&mut watch, &mut now, names[turn % 3], true).unwrap();
            told.extend(due.written.map(|files| (turn, files)));
        }
        assert_eq!(told, [(3, BTreeSet::from(["cache.db".to_owned()]))]);
        // It ends, and begins again.
        reload(&mut watch, &mut now, &["cache.db"], false).unwrap();
        let again = |_| reload(&mut watch, &mut now, &["cache.db"], true).unwrap().written;
        assert_eq!((0..10).filter_map(again).count(), 1);
    }

    #[test]
    fn edits_between_reloads_and_of_different_files_are_no_circle() {
        let (mut watch, mut now) = (FileWatch::default(), START);
        for turn in 0..20 {
            let due = reload(&mut watch, &mut now, &["a.js"], turn % 4 != 0).unwrap();
            assert_eq!(due.written, None, "{turn}");
        }
        for turn in 0..20 {
            let name = format!("{turn}.js");
            let due = reload(&mut watch, &mut now, &[&name], true).unwrap();
            assert_eq!(due.written, None, "{turn}");
        }
    }
}
