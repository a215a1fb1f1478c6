//! Work on several apps at the same time: how many at once, and their results in order.
//!
//! An app that hangs takes one place of the bound and delays no other app. Where the user may have
//! no further thread, the apps are done one after the other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use config::cpus::Cpus;

/// Apps at once for each usable CPU, where a command mostly waits for them.
const WAITS_PER_CPU: usize = 64;
/// The most of them.
const MAX_WAITS: usize = 256;
/// Apps at once for each usable CPU, where new workers start beside old ones.
const REPLACES_PER_CPU: usize = 4;

/// Threads that begin. Apps that answer at once, as to `list`, need no more of them.
const FIRST_THREADS: usize = 4;
/// There are twice as many threads after this time without a result.
const PATIENCE: Duration = Duration::from_millis(2);

/// What a command does with each of its apps, which decides how many it does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// It mostly waits: 64 for each usable CPU, at most 256.
    Waits,
    /// New workers start beside old ones, so the apps need more memory for that time: 4 for each
    /// usable CPU.
    Replaces,
}

impl Work {
    /// How many apps are worked on at the same time.
    fn width(self, cpus: usize) -> usize {
        match self {
            Self::Waits => (WAITS_PER_CPU * cpus).min(MAX_WAITS),
            Self::Replaces => REPLACES_PER_CPU * cpus,
        }
    }
}

/// Calls `act` with each item, several at the same time, and gives each result to `take` in the
/// order of the items, as soon as those before it are there. A single item needs no thread.
pub(crate) fn side_by_side<T: Sync, R: Send>(
    work: Work,
    items: &[T],
    act: impl Fn(&T) -> R + Sync,
    take: impl FnMut(&T, R),
) {
    let width = match items.len() {
        0 | 1 => 0,
        several => several.min(work.width(usize::from(Cpus::read().count).max(1))),
    };
    at_once(width, items, act, take);
}

/// Like [`side_by_side`], with at most `width` threads. What no thread has begun is done here.
fn at_once<T: Sync, R: Send>(
    width: usize,
    items: &[T],
    act: impl Fn(&T) -> R + Sync,
    mut take: impl FnMut(&T, R),
) {
    let next = AtomicUsize::new(0);
    let begin = || {
        let index = next.fetch_add(1, Ordering::Relaxed);
        items.get(index).map(|item| (index, item))
    };
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        // Starts threads until there are `many`. `None`: there may be no more of them.
        let begin_threads = |sender: mpsc::Sender<(usize, R)>, there: usize, many: usize| {
            for _ in there..many {
                let (sender, begin, act) = (sender.clone(), &begin, &act);
                let thread = thread::Builder::new().spawn_scoped(scope, move || {
                    while let Some((index, item)) = begin() {
                        if sender.send((index, act(item))).is_err() {
                            return;
                        }
                    }
                });
                thread.ok()?;
            }
            (many < width).then_some(sender)
        };
        let mut threads = width.min(FIRST_THREADS);
        let mut sender = begin_threads(sender, 0, threads);
        let (mut early, mut due) = (BTreeMap::new(), 0);
        while due < items.len() {
            // Without a sender here, this ends when no thread is left.
            let wait = if sender.is_some() { PATIENCE } else { Duration::MAX };
            match results.recv_timeout(wait) {
                Ok((index, result)) => _ = early.insert(index, result),
                Err(RecvTimeoutError::Timeout) => {
                    let many = (2 * threads).min(width);
                    sender = sender.and_then(|sender| begin_threads(sender, threads, many));
                    threads = many;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while let Some(result) = early.remove(&due) {
                take(&items[due], result);
                due += 1;
            }
        }
    });
    while let Some((_, item)) = begin() {
        take(item, act(item));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn results_come_in_order_however_long_each_takes() {
        let items: Vec<usize> = (0..20).collect();
        for width in [0, 1, 3, 20] {
            let mut seen = Vec::new();
            at_once(width, &items, |item| item * 2, |item, result| seen.push((*item, result)));
            assert_eq!(seen, items.iter().map(|item| (*item, item * 2)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn as_many_run_at_once_as_the_width_says() {
        // Each waits until all three are there: two at a time would never end.
        let barrier = Barrier::new(3);
        let mut count = 0;
        at_once(3, &[(), (), ()], |()| _ = barrier.wait(), |_, ()| count += 1);
        assert_eq!(count, 3);
    }

    #[test]
    fn the_bounds_follow_the_cpus() {
        assert_eq!([1, 2, 64].map(|cpus| Work::Waits.width(cpus)), [64, 128, 256]);
        assert_eq!([1, 2, 64].map(|cpus| Work::Replaces.width(cpus)), [4, 8, 256]);
    }
}
