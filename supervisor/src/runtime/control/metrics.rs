//! What was measured: what workers pushed, and what the primary knows by itself. Memory and CPU
//! are read only when somebody asks.

use std::collections::{BTreeMap, HashSet};

use ipc::bus::MetricKind;
use ipc::control::{AppStatus, PoolStatus, Reply};
use ipc::node::Measured;
use ipc::talk::Metric;
use ipc::worker_status::HealthVerdict;

use crate::base::series::{self, LIVENESS, READINESS};
use crate::relay::{BUCKETS, Counts, Key, MemberStatus, Series, Value};
use crate::runtime::Runtime;
use crate::runtime::context::context;

/// What an answer may hold, in bytes of JSON, so that it fits into a line.
const MOST: usize = 900 * 1024;
const START_TIME: &str = "supervisor_start_time_seconds";

impl Runtime {
    pub(in crate::runtime) fn metrics(&mut self) -> Reply {
        let status = self.full_status();
        self.probes.growing.looked_at(context!(self), &status);
        let mut all = of_app(&status);
        let started = number(self.succession.started_unix_ms) / 1000.0;
        all.push(metric(MetricKind::Gauge, START_TIME, &[], started));
        all.extend(of_node(self.probes.growing.measured(&self.children)));
        let (done, rolled_back) = self.bus.reloads();
        all.push(counter("supervisor_reloads", &[("outcome", "done")], done));
        all.push(counter("supervisor_reloads", &[("outcome", "rolled-back")], rolled_back));
        for (slot, lines) in self.logs.dropped_lines() {
            let slot = slot.to_string();
            all.push(counter("supervisor_log_lines_dropped", &[("slot", &slot)], *lines));
        }
        let relay = self.bus.relay();
        for member in relay.members() {
            of_member(&member, &mut all);
        }
        of_bus(&relay.counts, self.bus.not_shown(), &mut all);
        let refused = relay.metrics.refused;
        all.push(counter("supervisor_metrics_refused", &[], refused));
        all.extend(relay.metrics.all().map(|(key, series)| pushed(key, series)));
        all.iter_mut().for_each(|metric| name_pool(metric, &status.pools));
        merge(&mut all);
        let left_out = cut(&mut all);
        Reply::Metrics { left_out, metrics: all }
    }
}

/// Leaves the last ones out if all would be too long. Returns how many. What says since when the
/// counters count stays: without it, a reader would take them for counts from zero.
fn cut(all: &mut Vec<Metric>) -> usize {
    let (before, mut size) = (all.len(), 0);
    all.retain(|metric| {
        size += serde_json::to_string(metric).map_or(MOST, |text| text.len() + 1);
        size <= MOST || metric.name == START_TIME
    });
    before - all.len()
}

/// What the preload measured in Node workers, by slot.
fn of_node(by_slot: BTreeMap<u16, Measured>) -> Vec<Metric> {
    let mut all = Vec::new();
    for (slot, measured) in by_slot {
        let slot = slot.to_string();
        let mut add = |name, unit: &str, labels: &[(&str, &str)], value| {
            let unit = unit.to_owned();
            all.push(Metric { unit, ..metric(MetricKind::Gauge, name, labels, value) });
        };
        let delay = "supervisor_node_event_loop_delay_seconds";
        for (quantile, value) in [("0.5", measured.p50), ("0.99", measured.p99)] {
            add(delay, "seconds", &[("quantile", quantile), ("slot", &slot)], value);
        }
        #[expect(clippy::cast_precision_loss, reason = "a heap is far below 2^53")]
        let heap = measured.heap as f64;
        add("supervisor_node_heap_used_bytes", "bytes", &[("slot", &slot)], heap);
    }
    all
}

/// What is of a slot is of a pool as well; a worker's own label of that name stands.
fn name_pool(metric: &mut Metric, pools: &[PoolStatus]) {
    let named = |wanted: &str| metric.labels.iter().position(|(name, _)| name == wanted);
    let (Some(at), None) = (named("slot"), named("pool")) else { return };
    let Ok(slot) = metric.labels[at].1.parse::<u16>() else { return };
    let of = pools.iter().filter(|pool| pool.first_slot <= slot).max_by_key(|p| p.first_slot);
    if let Some(pool) = of {
        metric.labels.insert(at, ("pool".to_owned(), pool.name.clone()));
    }
}

fn metric(kind: MetricKind, name: &str, labels: &[(&str, &str)], value: f64) -> Metric {
    let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let unit = if name.ends_with("_bytes") { "bytes" } else { "" };
    Metric { unit: unit.to_owned(), labels, ..Metric::new(name, kind, value) }
}

#[expect(clippy::cast_precision_loss, reason = "a count above 2^53 may be off by one")]
fn number(count: u64) -> f64 {
    count as f64
}

fn gauge(name: &str, labels: &[(&str, &str)], value: u64) -> Metric {
    metric(MetricKind::Gauge, name, labels, number(value))
}

fn counter(name: &str, labels: &[(&str, &str)], value: u64) -> Metric {
    metric(MetricKind::Counter, name, labels, number(value))
}

fn of_app(status: &AppStatus) -> Vec<Metric> {
    let mut all = vec![
        gauge("supervisor_workers_wanted", &[], status.wanted.into()),
        gauge("supervisor_workers_ready", &[], status.ready.into()),
        gauge("supervisor_generation", &[], status.generation.into()),
        counter("supervisor_restarts", &[], status.restarts),
        counter("supervisor_recycles", &[], status.recycles),
        metric(
            MetricKind::Gauge,
            "supervisor_uptime_seconds",
            &[],
            number(status.uptime_ms) / 1000.0,
        ),
    ];
    for pool in &status.pools {
        let labels = [("pool", pool.name.as_str())];
        all.push(gauge("supervisor_pool_workers_wanted", &labels, pool.wanted.into()));
        all.push(gauge("supervisor_pool_workers_ready", &labels, pool.ready.into()));
    }
    for listener in &status.listeners {
        let labels = [("address", listener.address.as_str())];
        all.push(gauge("supervisor_listener_backlog", &labels, listener.backlog.into()));
    }
    let mut slots = HashSet::new();
    for worker in &status.workers {
        let slot = worker.slot.to_string();
        let labels = [("slot", slot.as_str())];
        // Each worker has the count of its slot.
        if slots.insert(worker.slot) {
            all.push(counter("supervisor_worker_restarts", &labels, worker.restarts));
        }
        let known = [
            ("supervisor_worker_resident_bytes", worker.rss_bytes),
            ("supervisor_worker_connections", worker.connections.map(u64::from)),
            ("supervisor_worker_backlog", worker.backlog.map(u64::from)),
        ];
        all.extend(known.into_iter().filter_map(|(name, v)| Some(gauge(name, &labels, v?))));
        all.extend(worker.accepted.map(|v| counter("supervisor_worker_accepted", &labels, v)));
        let probes = [(READINESS, &worker.readiness), (LIVENESS, &worker.liveness)];
        all.extend(probes.into_iter().filter_map(|(name, health)| {
            let passes = match health.as_ref()?.verdict {
                HealthVerdict::Passes => 1,
                HealthVerdict::Fails => 0,
                HealthVerdict::Open | HealthVerdict::Unknown => return None,
            };
            Some(gauge(name, &labels, passes))
        }));
        let cpu = worker.cpu_percent.map(f64::from);
        all.extend(
            cpu.map(|v| metric(MetricKind::Gauge, "supervisor_worker_cpu_percent", &labels, v)),
        );
    }
    all
}

/// Sorts them, and makes one of those of a series: while a worker is replaced, its slot has two.
fn merge(all: &mut Vec<Metric>) {
    let kind = |metric: &Metric| metric.kind.word();
    all.sort_by(|a, b| (&a.name, &a.labels, kind(a)).cmp(&(&b.name, &b.labels, kind(b))));
    all.dedup_by(|next, kept| {
        let is_same =
            next.name == kept.name && next.labels == kept.labels && next.kind == kept.kind;
        if is_same {
            series::add(kept, next);
        }
        is_same
    });
}

fn of_member(member: &MemberStatus, all: &mut Vec<Metric>) {
    let slot = member.slot.to_string();
    let labels =
        [("client", member.client.as_str()), ("pool", member.pool.as_str()), ("slot", &slot)];
    let size = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    all.extend([
        counter("supervisor_bus_worker_said", &labels, member.said),
        counter("supervisor_bus_worker_heard", &labels, member.heard),
        counter("supervisor_bus_worker_lost", &labels, member.lost),
        gauge("supervisor_bus_worker_waiting", &labels, size(member.waiting)),
        gauge("supervisor_bus_worker_waiting_bytes", &labels, size(member.waiting_bytes)),
        gauge("supervisor_bus_worker_calls_worked_on", &labels, size(member.working)),
        gauge("supervisor_bus_worker_subscriptions", &labels, size(member.subscriptions)),
    ]);
}

fn of_bus(counts: &Counts, not_shown: u64, all: &mut Vec<Metric>) {
    let name = "supervisor_bus_dropped";
    all.extend([
        counter("supervisor_bus_emitted", &[], counts.emitted),
        counter("supervisor_bus_delivered", &[], counts.delivered),
        counter("supervisor_bus_unheard", &[], counts.unheard),
        counter(name, &[("why", "slow-reader")], counts.dropped_full),
        counter(name, &[("why", "reader-left")], counts.dropped_gone),
        counter(name, &[("why", "primary-ended")], counts.dropped_ended),
        counter("supervisor_bus_not_shown", &[], not_shown),
        counter("supervisor_bus_cut_off", &[], counts.cut),
        counter("supervisor_bus_calls", &[], counts.calls),
        counter("supervisor_bus_calls_answered", &[], counts.answered),
        counter("supervisor_bus_calls_retried", &[], counts.retried),
        counter("supervisor_bus_answers_late", &[], counts.late),
    ]);
    let failures = [
        ("timed-out", counts.timed_out),
        ("died", counts.died),
        ("full", counts.full),
        ("other", counts.failed - counts.timed_out - counts.died - counts.full),
    ];
    let name = "supervisor_bus_calls_failed";
    all.extend(failures.map(|(why, count)| counter(name, &[("why", why)], count)));
}

fn pushed(key: &Key, series: &Series) -> Metric {
    let slot = key.slot.to_string();
    let mut labels: Vec<(String, String)> = key.labels.clone();
    labels.retain(|(name, _)| name != "slot");
    labels.push(("slot".to_owned(), slot));
    let (kind, value, count, buckets) = match &series.value {
        Value::Gauge(value) => (MetricKind::Gauge, *value, None, Vec::new()),
        Value::Counter(value) => (MetricKind::Counter, *value, None, Vec::new()),
        Value::Histogram { buckets, sum, count } => {
            let mut below = 0;
            let total = buckets.iter().map(|more| {
                below += more;
                below
            });
            (MetricKind::Histogram, *sum, Some(*count), BUCKETS.into_iter().zip(total).collect())
        }
    };
    Metric {
        name: key.name.clone(),
        kind,
        unit: series.unit.clone(),
        labels,
        value,
        count,
        buckets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_the_counters_is_not_left_out() {
        let label = "x".repeat(1024);
        let mut all = vec![gauge("a", &[("label", &label)], 1); 2000];
        all.push(gauge(START_TIME, &[], 7));
        all.push(gauge("z", &[], 1));
        let left_out = cut(&mut all);
        assert!(left_out > 1000 && all.len() + left_out == 2002, "{left_out}");
        assert_eq!(all.last().unwrap().name, START_TIME);
        let text = serde_json::to_string(&all).unwrap();
        assert!(text.len() < MOST + 1024, "{}", text.len());
    }

    #[test]
    fn two_workers_of_a_slot_are_one_metric() {
        let mut all = vec![
            counter("a", &[("slot", "0")], 5),
            counter("a", &[("slot", "1")], 1),
            counter("a", &[("slot", "0")], 2),
            counter("b", &[("slot", "0")], 3),
            gauge(READINESS, &[("slot", "0")], 0),
            gauge(READINESS, &[("slot", "0")], 1),
        ];
        merge(&mut all);
        let values: Vec<f64> = all.iter().map(|metric| metric.value).collect();
        assert_eq!(values, [7.0, 1.0, 3.0, 1.0]);
    }

    #[test]
    fn what_is_of_a_slot_is_of_a_pool() {
        let pool = |name: &str, first_slot| PoolStatus {
            name: name.to_owned(),
            command: Vec::new(),
            generation: 1,
            wanted: 1,
            wanted_because: String::new(),
            ready: 1,
            first_slot,
        };
        let pools = [pool("default", 0), pool("hash", 4000), pool("mail", 2000)];
        for (labels, expected) in [
            (vec![("a", "b"), ("slot", "1")], "a=b pool=default slot=1"),
            (vec![("slot", "2001")], "pool=mail slot=2001"),
            (vec![("slot", "4000"), ("z", "9")], "pool=hash slot=4000 z=9"),
            (vec![("pool", "db"), ("slot", "1")], "pool=db slot=1"),
            (vec![("why", "not")], "why=not"),
        ] {
            let mut metric = metric(MetricKind::Gauge, "x", &labels, 1.0);
            name_pool(&mut metric, &pools);
            let text: Vec<_> = metric.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            assert_eq!(text.join(" "), expected);
        }
    }
}
