//! What the measurements say: medians, spread, ratios within a round, and what beats what. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::trial::kind::Kind;

/// Rounds below which a difference may be chance.
const FEW: usize = 3;
/// A percentile of fewer requests than this many for each one above it is chance.
const ENOUGH: u64 = 10;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum What {
    /// A new connection for each request.
    NewConnections,
    /// Requests over kept connections.
    KeptConnections,
}

impl What {
    pub(super) const ALL: [Self; 2] = [Self::NewConnections, Self::KeptConnections];
}

/// One measurement of one setup. CPU times are microseconds for each answer.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Sample {
    pub(super) round: u32,
    pub(super) answered: u64,
    pub(super) per_second: f64,
    /// Milliseconds; `None`: too few requests for it.
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) p999_ms: Option<f64>,
    /// Requests without a complete and correct answer.
    pub(super) errors: BTreeMap<Kind, u64>,
    /// Requests that this machine had no port or descriptor for.
    pub(super) no_room: u64,
    /// Kept connections that the server closed.
    pub(super) closed: u64,
    pub(super) client_us: f64,
    pub(super) app_us: f64,
    /// Of everything that is neither the client nor the app.
    pub(super) outside_us: f64,
}

impl Sample {
    /// Whether every request was answered. A server that drops requests is fast.
    pub(super) fn is_valid(&self) -> bool {
        self.answered > 0 && self.errors.is_empty() && self.no_room == 0
    }

    /// Whether the client used more of the CPUs than what it measured.
    fn is_client_limited(&self) -> bool {
        self.client_us > self.app_us + self.outside_us
    }
}

/// The percentile `of` 1000, if this many requests are enough for it.
pub(super) fn is_enough(requests: u64, of: u64) -> bool {
    requests.saturating_mul(1000 - of) >= ENOUGH * 1000
}

/// A median with the least and the most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    /// That of these values; `None`: there are none.
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[half - 1], sorted[half]),
            _ => sorted[half],
        };
        Some(Self { median, least, most })
    }
}

/// How a setup compares with the base, over all rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Against {
    /// It was faster in every round.
    Faster,
    /// It was slower in every round.
    Slower,
    /// Neither, or there are too few rounds to tell.
    Unclear,
}

impl Against {
    fn of(ratios: &[f64]) -> Self {
        match ratios {
            few if few.len() < FEW => Self::Unclear,
            all if all.iter().all(|ratio| *ratio > 1.0) => Self::Faster,
            all if all.iter().all(|ratio| *ratio < 1.0) => Self::Slower,
            _ => Self::Unclear,
        }
    }
}

/// What the rounds of one setup come to.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Summary {
    /// Whether every request of every round was answered.
    pub(super) valid: bool,
    pub(super) client_limited: bool,
    pub(super) per_second: Option<Spread>,
    /// To the base, of the same rounds. `None` for the base itself, and where one is not valid.
    pub(super) ratio: Option<Spread>,
    pub(super) against_base: Option<Against>,
    pub(super) p50_ms: Option<Spread>,
    pub(super) p99_ms: Option<Spread>,
    pub(super) p999_ms: Option<Spread>,
    pub(super) outside_us: Option<Spread>,
    pub(super) errors: BTreeMap<Kind, u64>,
    pub(super) no_room: u64,
    /// Whether the server closed kept connections all the time.
    pub(super) keeps_nothing: bool,
}

impl Summary {
    /// That of these rounds, compared with those of the base.
    pub(super) fn of(what: What, rounds: &[Sample], base: Option<&[Sample]>) -> Self {
        let spread = |value: fn(&Sample) -> f64| Spread::of(rounds.iter().map(value));
        let known = |value: fn(&Sample) -> Option<f64>| Spread::of(rounds.iter().filter_map(value));
        let mut errors = BTreeMap::new();
        for (kind, count) in rounds.iter().flat_map(|sample| &sample.errors) {
            *errors.entry(*kind).or_default() += count;
        }
        let valid = !rounds.is_empty() && rounds.iter().all(Sample::is_valid);
        let ratios = base.filter(|_| valid).map(|base| ratios(rounds, base)).unwrap_or_default();
        let limited = rounds.iter().filter(|sample| sample.is_client_limited()).count();
        let sum = |value: fn(&Sample) -> u64| rounds.iter().map(value).sum::<u64>();
        Self {
            valid,
            client_limited: limited * 2 > rounds.len(),
            per_second: spread(|sample| sample.per_second),
            ratio: Spread::of(ratios.iter().copied()),
            against_base: (!ratios.is_empty()).then(|| Against::of(&ratios)),
            p50_ms: known(|sample| sample.p50_ms),
            p99_ms: known(|sample| sample.p99_ms),
            p999_ms: known(|sample| sample.p999_ms),
            outside_us: spread(|sample| sample.outside_us),
            errors,
            no_room: sum(|sample| sample.no_room),
            keeps_nothing: what == What::KeptConnections
                && sum(|sample| sample.closed) * 2 > sum(|sample| sample.answered),
        }
    }
}

/// The ratios of the rounds that both have. A base that is not valid gives none.
fn ratios(rounds: &[Sample], base: &[Sample]) -> Vec<f64> {
    let of = |sample: &Sample| {
        let base = base.iter().find(|one| one.round == sample.round && one.is_valid())?;
        (base.per_second > 0.0).then(|| sample.per_second / base.per_second)
    };
    rounds.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rates: &[f64]) -> Vec<Sample> {
        let one = |(at, rate): (usize, &f64)| Sample {
            round: u32::try_from(at).unwrap(),
            answered: 100,
            per_second: *rate,
            app_us: 2.0,
            client_us: 1.0,
            ..Sample::default()
        };
        rates.iter().enumerate().map(one).collect()
    }

    fn summary(rates: &[f64], base: &[f64]) -> Summary {
        Summary::of(What::NewConnections, &samples(rates), Some(&samples(base)))
    }

    #[test]
    fn medians_and_spread() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0].into_iter()).unwrap().median, 2.0);
        let even = Spread::of([4.0, 1.0, 2.0, 3.0].into_iter()).unwrap();
        assert_eq!((even.median, even.least, even.most), (2.5, 1.0, 4.0));
        assert_eq!(Spread::of(std::iter::empty()), None);
    }

    #[test]
    fn ratios_are_those_within_a_round() {
        // The machine got three times slower; the ratio did not change.
        let found = summary(&[110.0, 55.0, 33.0], &[100.0, 50.0, 30.0]);
        let ratio = found.ratio.unwrap();
        assert!((ratio.least - 1.1).abs() < 1e-9 && (ratio.most - 1.1).abs() < 1e-9, "{ratio:?}");
        assert_eq!(found.against_base, Some(Against::Faster));
    }

    #[test]
    fn one_round_the_other_way_and_few_rounds_say_nothing() {
        let against = |rates: &[f64]| summary(rates, &[1.0; 4]).against_base.unwrap();
        assert_eq!(against(&[2.0, 2.0, 0.9]), Against::Unclear);
        assert_eq!(against(&[2.0, 2.0]), Against::Unclear);
        assert_eq!(against(&[0.5, 0.5, 0.5]), Against::Slower);
    }

    #[test]
    fn errors_make_a_row_invalid_and_not_fast() {
        let mut rounds = samples(&[900.0, 900.0]);
        rounds[1].errors.insert(Kind::Reset, 3);
        let base = samples(&[100.0, 100.0]);
        let found = Summary::of(What::NewConnections, &rounds, Some(&base));
        assert!(!found.valid);
        assert_eq!((found.ratio, found.against_base), (None, None));
        assert_eq!(found.errors[&Kind::Reset], 3);
        assert!(!Summary::of(What::NewConnections, &[], Some(&base)).valid);
        // Nor is anything compared with such a base.
        let found = Summary::of(What::NewConnections, &base, Some(&rounds));
        assert_eq!(found.ratio.unwrap().median, 1.0 / 9.0);
        assert_eq!(found.against_base, Some(Against::Unclear), "one round is left");
    }

    #[test]
    fn a_client_that_takes_more_than_the_server_is_the_limit() {
        let mut rounds = samples(&[1.0; 3]);
        let of = |rounds: &[Sample]| Summary::of(What::NewConnections, rounds, None).client_limited;
        assert!(!of(&rounds));
        rounds[0].client_us = 9.0;
        assert!(!of(&rounds));
        rounds[1].client_us = 9.0;
        assert!(of(&rounds));
    }

    #[test]
    fn a_percentile_needs_requests_above_it() {
        assert!(is_enough(1000, 990) && !is_enough(999, 990));
        assert!(is_enough(10_000, 999) && !is_enough(9_999, 999));
        assert!(is_enough(20, 500) && !is_enough(19, 500));
    }

    #[test]
    fn a_server_that_closes_every_connection_keeps_none() {
        let mut rounds = samples(&[1.0]);
        rounds[0].closed = 100;
        assert!(Summary::of(What::KeptConnections, &rounds, None).keeps_nothing);
        assert!(!Summary::of(What::NewConnections, &rounds, None).keeps_nothing);
    }
}
