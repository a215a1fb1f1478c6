//! Several metrics of one name and one set of labels as one, for every reader the same.

use ipc::bus::MetricKind;
use ipc::talk::Metric;

/// Whether the worker's readiness probe passes.
pub(crate) const READINESS: &str = "supervisor_worker_readiness";
/// Whether its liveness probe passes.
pub(crate) const LIVENESS: &str = "supervisor_worker_liveness";
/// What the names of the supervisor's own metrics begin with.
const OURS: &str = "supervisor_";

/// Adds a metric to one of the same kind, name and labels. While a worker is replaced, its slot has
/// two workers.
pub(crate) fn add(sum: &mut Metric, more: &Metric) {
    match sum.kind {
        // A slot passes its probes if one of its workers does: that one serves.
        MetricKind::Gauge if [READINESS, LIVENESS].contains(&sum.name.as_str()) => {
            sum.value = sum.value.max(more.value);
        }
        // What a gauge of the workers' own means is not known.
        MetricKind::Gauge if !sum.name.starts_with(OURS) => {}
        MetricKind::Gauge | MetricKind::Counter => sum.value += more.value,
        MetricKind::Histogram => {
            sum.value += more.value;
            sum.count = Some(sum.count.unwrap_or(0).saturating_add(more.count.unwrap_or(0)));
            for ((_, total), (_, more)) in sum.buckets.iter_mut().zip(&more.buckets) {
                *total = total.saturating_add(*more);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_added_in_its_way() {
        let sum = |name: &str, kind, (one, other)| {
            let mut sum = Metric::new(name, kind, one);
            add(&mut sum, &Metric::new(name, kind, other));
            sum.value
        };
        for probe in [READINESS, LIVENESS] {
            assert_eq!(sum(probe, MetricKind::Gauge, (0.0, 1.0)), 1.0);
            assert_eq!(sum(probe, MetricKind::Gauge, (1.0, 0.0)), 1.0);
            assert_eq!(sum(probe, MetricKind::Gauge, (0.0, 0.0)), 0.0);
        }
        assert_eq!(sum("supervisor_worker_connections", MetricKind::Gauge, (2.0, 3.0)), 5.0);
        assert_eq!(sum("temperature", MetricKind::Gauge, (20.0, 21.0)), 20.0);
        assert_eq!(sum("hits", MetricKind::Counter, (2.0, 3.0)), 5.0);
    }

    #[test]
    fn histograms_are_added_bucket_by_bucket() {
        let of = |value, count, buckets: [(f64, u64); 2]| Metric {
            count: Some(count),
            buckets: buckets.into(),
            ..Metric::new("took", MetricKind::Histogram, value)
        };
        let mut sum = of(1.5, 3, [(1.0, 1), (2.0, 2)]);
        add(&mut sum, &of(0.5, 1, [(1.0, 1), (2.0, 1)]));
        assert_eq!(sum, of(2.0, 4, [(1.0, 2), (2.0, 3)]));
    }
}
