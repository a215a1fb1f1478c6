//! How many lines of each slot are kept, and what the log says about the others.

use std::collections::BTreeMap;
use std::time::Duration;

use config::spec::LogRate;
use ipc::token_bucket::TokenBucket;

use crate::base::stream::Stream;
use crate::base::time::Time;

/// How long dropped lines are counted before the log has their number.
const SPAN: Duration = Duration::from_secs(1);

/// Lines that were dropped, of which the log says nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) slot: u16,
    pub(crate) stream: Stream,
    pub(crate) lines: u64,
}

/// The slots that have written since a limit holds.
#[derive(Debug, Default)]
pub(crate) struct LineRates {
    limit: LogRate,
    buckets: BTreeMap<u16, TokenBucket<Time>>,
    /// By slot and whether it is stderr: the lines, and when the first of them was dropped.
    unsaid: BTreeMap<(u16, bool), (u64, Time)>,
    /// All lines that were dropped, by slot.
    total: BTreeMap<u16, u64>,
}

impl LineRates {
    /// How many of these lines are kept, the first ones; the others count as dropped.
    pub(crate) fn admit(
        &mut self,
        now: Time,
        (slot, stream): (u16, Stream),
        lines: u32,
        limit: &LogRate,
    ) -> u32 {
        if limit.lines == 0 {
            self.buckets.clear();
            return lines;
        }
        let (rate, burst) = (f64::from(limit.lines), f64::from(limit.most()));
        if self.limit != *limit {
            self.limit = limit.clone();
            self.buckets.values_mut().for_each(|bucket| bucket.resize(rate, burst, now));
        }
        let new = || TokenBucket::new(rate, burst, now);
        let kept = self.buckets.entry(slot).or_insert_with(new).take_up_to(lines, now);
        let dropped = u64::from(lines - kept);
        if dropped > 0 {
            let key = (slot, matches!(stream, Stream::Err));
            self.unsaid.entry(key).or_insert((0, now)).0 += dropped;
            *self.total.entry(slot).or_default() += dropped;
        }
        kept
    }

    /// What the log has to say now.
    pub(crate) fn take_dropped(&mut self, now: Time) -> Vec<Dropped> {
        let due = self.unsaid.extract_if(.., |_, (_, since)| now.since(*since) >= SPAN);
        let dropped = due.map(|((slot, is_err), (lines, _))| {
            let stream = if is_err { Stream::Err } else { Stream::Out };
            Dropped { slot, stream, lines }
        });
        dropped.collect()
    }

    /// When the log has something to say.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.unsaid.values().map(|(_, since)| *since + SPAN).min()
    }

    /// The lines that were dropped since the primary started, by slot.
    pub(crate) fn total(&self) -> &BTreeMap<u16, u64> {
        &self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: LogRate = LogRate { lines: 10, burst: 20 };

    fn at(ms: u64) -> Time {
        Time(1) + Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_passes_and_what_follows_is_counted_and_said_once() {
        let mut rates = LineRates::default();
        let out = (0, Stream::Out);
        assert_eq!(rates.admit(at(0), out, 15, &LIMIT), 15);
        assert_eq!(rates.admit(at(0), (1, Stream::Out), 15, &LIMIT), 15, "each slot has its own");
        assert_eq!(rates.admit(at(0), out, 15, &LIMIT), 5);
        assert_eq!(rates.admit(at(100), (0, Stream::Err), 3, &LIMIT), 1);
        assert_eq!((rates.take_dropped(at(999)), rates.deadline()), (vec![], Some(at(1000))));
        let dropped = |stream, lines| Dropped { slot: 0, stream, lines };
        assert_eq!(rates.take_dropped(at(1000)), [dropped(Stream::Out, 10)]);
        assert_eq!(rates.take_dropped(at(1100)), [dropped(Stream::Err, 2)]);
        assert_eq!((rates.take_dropped(at(9000)), rates.deadline()), (vec![], None));
        assert_eq!(rates.total(), &BTreeMap::from([(0, 12)]));
    }

    #[test]
    fn another_limit_holds_at_once() {
        let mut rates = LineRates::default();
        let out = (0, Stream::Out);
        assert_eq!(rates.admit(at(0), out, 1000, &LogRate::default()), 1000, "no limit");
        assert_eq!(rates.admit(at(0), out, 30, &LIMIT), 20);
        let higher = LogRate { lines: 100, burst: 0 };
        assert_eq!(rates.admit(at(500), out, 2000, &higher), 5, "these came back until now");
        assert_eq!(rates.admit(at(20_500), out, 2000, &higher), 1000, "ten seconds' worth");
    }
}
