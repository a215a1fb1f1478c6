//! The metrics that workers measured and pushed, by slot: a replacement continues the count.
//!
//! The relay refuses series beyond a limit for each slot.

use std::collections::BTreeMap;

use ipc::bus::MetricKind;
use serde::{Deserialize, Serialize};

use super::limits::{BUCKETS, SERIES};

/// One series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// Sorted.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) slot: u16,
}

/// The value of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Value {
    Gauge(f64),
    Counter(f64),
    Histogram { buckets: [u64; BUCKETS.len()], sum: f64, count: u64 },
}

/// One series with its unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) unit: String,
    pub(crate) value: Value,
}

/// All series of an app.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    all: BTreeMap<Key, Series>,
    per_slot: BTreeMap<u16, usize>,
    /// How many pushes were refused.
    pub(crate) refused: u64,
}

impl Metrics {
    /// Takes one push. `false`: refused, because the slot has too many series or the name has
    /// another kind.
    pub(crate) fn push(&mut self, key: Key, kind: MetricKind, value: f64, unit: String) -> bool {
        let slot = key.slot;
        let known = self.all.contains_key(&key);
        let count = self.per_slot.entry(slot).or_default();
        if !known && *count >= SERIES {
            self.refused += 1;
            return false;
        }
        *count += usize::from(!known);
        let series = self.all.entry(key).or_insert_with(|| Series {
            unit,
            value: match kind {
                MetricKind::Gauge => Value::Gauge(0.0),
                MetricKind::Counter => Value::Counter(0.0),
                MetricKind::Histogram => {
                    Value::Histogram { buckets: [0; BUCKETS.len()], sum: 0.0, count: 0 }
                }
            },
        });
        match (&mut series.value, kind) {
            (Value::Gauge(known), MetricKind::Gauge) => *known = value,
            (Value::Counter(known), MetricKind::Counter) => *known += value,
            (Value::Histogram { buckets, sum, count }, MetricKind::Histogram) => {
                if let Some(at) = BUCKETS.iter().position(|bound| value <= *bound) {
                    buckets[at] += 1;
                }
                *sum += value;
                *count += 1;
            }
            _ => {
                self.refused += 1;
                return false;
            }
        }
        true
    }

    /// Puts back a series of an earlier relay.
    pub(crate) fn put_back(&mut self, key: Key, series: Series) {
        *self.per_slot.entry(key.slot).or_default() += 1;
        self.all.insert(key, series);
    }

    /// Forgets the gauges of a slot: its worker is gone, and they no longer hold.
    pub(crate) fn worker_gone(&mut self, slot: u16) {
        let before = self.all.len();
        self.all.retain(|key, series| key.slot != slot || !matches!(series.value, Value::Gauge(_)));
        if let Some(count) = self.per_slot.get_mut(&slot) {
            *count -= before - self.all.len();
        }
    }

    /// Every series, in order of name and labels.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Key, &Series)> {
        self.all.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, slot: u16) -> Key {
        Key { name: name.to_owned(), labels: Vec::new(), slot }
    }

    #[test]
    fn kinds() {
        let mut metrics = Metrics::default();
        for value in [2.0, 3.0] {
            assert!(metrics.push(key("c", 0), MetricKind::Counter, value, String::new()));
            assert!(metrics.push(key("g", 0), MetricKind::Gauge, value, String::new()));
            assert!(metrics.push(key("h", 0), MetricKind::Histogram, value, String::new()));
        }
        assert!(!metrics.push(key("c", 0), MetricKind::Gauge, 1.0, String::new()));
        let values: Vec<_> = metrics.all().map(|(_, series)| series.value.clone()).collect();
        assert_eq!(values[..2], [Value::Counter(5.0), Value::Gauge(3.0)]);
        let Value::Histogram { buckets, sum, count } = &values[2] else { panic!("{values:?}") };
        assert_eq!((buckets[10], buckets[11], *sum, *count), (1, 1, 5.0, 2));
        metrics.worker_gone(0);
        assert_eq!(metrics.all().count(), 2);
        assert_eq!(metrics.refused, 1);
    }

    #[test]
    fn the_series_of_a_slot_are_bounded() {
        let mut metrics = Metrics::default();
        let mut taken = 0;
        for number in 0..SERIES * 2 {
            let name = format!("m{number}");
            taken +=
                usize::from(metrics.push(key(&name, 1), MetricKind::Gauge, 1.0, String::new()));
        }
        assert_eq!((taken, metrics.all().count()), (SERIES, SERIES));
        assert!(metrics.push(key("other", 2), MetricKind::Gauge, 1.0, String::new()));
        metrics.worker_gone(1);
        assert!(metrics.push(key("new", 1), MetricKind::Gauge, 1.0, String::new()));
    }
}
