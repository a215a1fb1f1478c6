//! The metrics as messages of OTLP: the types that OpenTelemetry generates from its specification.
//!
//! Each app is a resource. Names and labels are those of `metrics --openmetrics`, so that a query
//! or a dashboard is right for both ways.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use ipc::bus::MetricKind;
use ipc::talk::Metric;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    self as otlp, AggregationTemporality, HistogramDataPoint, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::starts::{AppStart, Starts};
use crate::base::series;
use crate::cli::exporter::help::{START_TIME, UP, UPTIME, help};
use crate::cli::exporter::openmetrics::{family, sanitized};
use crate::cli::exporter::scrape::AppMetrics;

/// Data points of one request. Collectors refuse large ones: that of OpenTelemetry those with more
/// than 20 MiB. This many have about half a MiB.
const POINTS: usize = 2000;
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Which series of an app a counter is: the family and the labels.
pub(super) type Key = (String, Vec<(String, String)>);

/// What is the same in each request.
#[derive(Debug)]
pub(super) struct Origin {
    /// The machine's name.
    pub(super) host: String,
    /// The folder of the apps, which tells those of several users of a machine apart.
    pub(super) folder: String,
    /// Attributes that the user gave.
    pub(super) attributes: Vec<(String, String)>,
}

/// A request, and how many data points it has.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) request: ExportMetricsServiceRequest,
    pub(super) points: usize,
}

/// One data point with what it is in.
struct Row<'a> {
    app: &'a str,
    family: String,
    /// Its own labels, as the collector gets them.
    labels: Vec<(String, String)>,
    metric: Cow<'a, Metric>,
    /// Of a gauge, 0.
    start: u64,
}

/// The requests for what all apps showed `now`, in nanoseconds since 1970.
pub(super) fn messages(
    all: &[AppMetrics],
    origin: &Origin,
    starts: &mut Starts<Key>,
    now: u64,
) -> Vec<Message> {
    let mut rows = rows(all);
    let app_starts: HashMap<&str, AppStart> =
        all.iter().map(|one| (one.app.as_str(), started(&one.metrics, now))).collect();
    for row in rows.iter_mut().filter(|row| row.metric.kind != MetricKind::Gauge) {
        let count = row.metric.count.map_or(row.metric.value, as_float);
        let key = (row.family.clone(), row.labels.clone());
        let app = app_starts.get(row.app).copied().unwrap_or(AppStart::Unknown);
        row.start = starts.of(row.app, key, count, app, now);
    }
    for one in all.iter().filter(|one| shows_all(one)) {
        starts.shown(&one.app, app_starts[one.app.as_str()], now);
    }
    // An app that hangs goes on later; and what had no room in its answer may have it again.
    let partly: HashSet<&str> =
        all.iter().filter(|one| !shows_all(one)).map(|one| one.app.as_str()).collect();
    starts.looked(|app| partly.contains(app));
    rows.chunks(POINTS)
        .map(|rows| Message { request: request(rows, origin, now), points: rows.len() })
        .collect()
}

/// The data points, in order. No two of an app have one family and the same labels.
fn rows(all: &[AppMetrics]) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for AppMetrics { app, metrics, .. } in all {
        rows.extend(metrics.iter().map(|metric| {
            let labels = metric.labels.iter();
            let labels = labels.map(|(name, value)| (sanitized(name), value.clone())).collect();
            Row { app, family: family(metric), labels, metric: Cow::Borrowed(metric), start: 0 }
        }));
    }
    rows.sort_by(|a, b| (a.app, &a.family, &a.labels).cmp(&(b.app, &b.family, &b.labels)));
    // A family of an app has one kind: as in OpenMetrics, that of its first metric.
    rows.dedup_by(|next, kept| {
        let is_of_family = next.app == kept.app && next.family == kept.family;
        if is_of_family && next.metric.kind == kept.metric.kind && next.labels == kept.labels {
            // Of a worker that is replaced, the slot has two; and two names may be one for a
            // collector.
            series::add(kept.metric.to_mut(), &next.metric);
            return true;
        }
        is_of_family && next.metric.kind != kept.metric.kind
    });
    rows
}

/// Whether the app answered, with all that it has.
fn shows_all(one: &AppMetrics) -> bool {
    let is_silent = one.metrics.iter().any(|metric| metric.name == UP && metric.value == 0.0);
    !is_silent && one.left_out == 0
}

/// When an app was started, in nanoseconds since 1970. Primaries of earlier versions say only how
/// long it has been up.
fn started(metrics: &[Metric], now: u64) -> AppStart {
    let nanos = |name| {
        let found = metrics.iter().find(|metric| metric.name == name)?;
        in_nanos(found.value)
    };
    match (nanos(START_TIME), nanos(UPTIME)) {
        (Some(time), _) if time > 0 => AppStart::Said(time),
        (_, Some(span)) => AppStart::About(now.saturating_sub(span)),
        _ => AppStart::Unknown,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time since 1970 in milliseconds is positive and far below 2^53"
)]
fn in_nanos(seconds: f64) -> Option<u64> {
    let ms = (seconds * 1000.0).round();
    (ms.is_finite() && ms >= 0.0).then_some((ms as u64).saturating_mul(1_000_000))
}

#[expect(clippy::cast_precision_loss, reason = "a count above 2^53 may be off by one")]
fn as_float(count: u64) -> f64 {
    count as f64
}

fn request(rows: &[Row<'_>], origin: &Origin, now: u64) -> ExportMetricsServiceRequest {
    let mut resource_metrics = Vec::new();
    for rows in rows.chunk_by(|a, b| a.app == b.app) {
        let families = rows.chunk_by(|a, b| a.family == b.family);
        let scope = InstrumentationScope {
            name: "supervisor".to_owned(),
            version: crate::version().to_owned(),
            ..Default::default()
        };
        resource_metrics.push(ResourceMetrics {
            resource: Some(resource(rows[0].app, origin)),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope),
                metrics: families.map(|rows| of_family(rows, now)).collect(),
                ..Default::default()
            }],
            ..Default::default()
        });
    }
    ExportMetricsServiceRequest { resource_metrics }
}

/// The attributes of an app, by the semantic conventions. None of them changes while the app is
/// there: a process id would begin all series anew with each primary.
fn resource(app: &str, origin: &Origin) -> Resource {
    let Origin { host, folder, attributes } = origin;
    let ours = [
        ("service.name", app.to_owned()),
        ("service.instance.id", format!("{host}:{folder}")),
        ("host.name", host.clone()),
        ("os.type", "linux".to_owned()),
    ];
    let mut all: Vec<KeyValue> = ours.iter().map(|(key, value)| attribute(key, value)).collect();
    let given = attributes.iter().filter(|(key, _)| ours.iter().all(|(our, _)| our != key));
    all.extend(given.map(|(key, value)| attribute(key, value)));
    Resource { attributes: all, ..Default::default() }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = any_value::Value::StringValue(value.to_owned());
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..Default::default()
    }
}

fn of_family(rows: &[Row<'_>], now: u64) -> otlp::Metric {
    let Row { family, metric, .. } = &rows[0];
    let numbers = || rows.iter().map(|row| number(row, now)).collect();
    let data = match metric.kind {
        // Quantiles of the last seconds are gauges with a label, as they are for Prometheus: a
        // summary would need a count and a sum since a start.
        MetricKind::Gauge => metric::Data::Gauge(otlp::Gauge { data_points: numbers() }),
        MetricKind::Counter => metric::Data::Sum(otlp::Sum {
            data_points: numbers(),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        MetricKind::Histogram => metric::Data::Histogram(otlp::Histogram {
            data_points: rows.iter().map(|row| histogram(row, now)).collect(),
            aggregation_temporality: CUMULATIVE,
        }),
    };
    otlp::Metric {
        name: family.clone(),
        description: help(family).to_owned(),
        unit: unit(family).to_owned(),
        data: Some(data),
        ..Default::default()
    }
}

/// The unit as UCUM has it, if the name ends with it. Readers such as Prometheus would add any
/// other one to the name.
fn unit(family: &str) -> &'static str {
    match family.rsplit('_').next() {
        Some("bytes") => "By",
        Some("seconds") => "s",
        Some("milliseconds") => "ms",
        Some("percent") => "%",
        _ => "",
    }
}

fn labels(row: &Row<'_>) -> Vec<KeyValue> {
    let labels = row.labels.iter().map(|(name, value)| attribute(name, value));
    std::iter::once(attribute("app", row.app)).chain(labels).collect()
}

fn number(row: &Row<'_>, now: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: labels(row),
        start_time_unix_nano: row.start,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(row.metric.value)),
        ..Default::default()
    }
}

/// A histogram: OTLP counts each bucket by itself, and OpenMetrics with all below it.
fn histogram(row: &Row<'_>, now: u64) -> HistogramDataPoint {
    let metric = &row.metric;
    let count = metric.count.unwrap_or(0);
    let mut below = 0;
    let totals = metric.buckets.iter().map(|(_, total)| *total).chain([count]);
    let bucket_counts = totals
        .map(|total| {
            let own = total.saturating_sub(below);
            below = total;
            own
        })
        .collect();
    HistogramDataPoint {
        attributes: labels(row),
        start_time_unix_nano: row.start,
        time_unix_nano: now,
        count,
        sum: Some(metric.value),
        bucket_counts,
        explicit_bounds: metric.buckets.iter().map(|(bound, _)| *bound).collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::series::READINESS;

    const SECOND: u64 = 1_000_000_000;

    fn origin() -> Origin {
        let attributes = [("deployment.environment.name", "test"), ("service.name", "not this")];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Origin { host: "box".into(), folder: "/run/sv".into(), attributes: attributes.into() }
    }

    fn metric(name: &str, kind: MetricKind, value: f64) -> Metric {
        let labels = vec![("pa\"th".to_owned(), "a\"b".to_owned())];
        Metric { labels, ..Metric::new(name, kind, value) }
    }

    fn text(attributes: &[KeyValue]) -> String {
        let pairs = attributes.iter().map(|one| {
            let value = one.value.as_ref().and_then(|value| value.value.clone());
            let Some(any_value::Value::StringValue(value)) = value else { panic!("{one:?}") };
            format!("{}={value}", one.key)
        });
        pairs.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn kinds_names_units_and_times() {
        let mut took = metric("took", MetricKind::Histogram, 0.5);
        (took.count, took.buckets) = (Some(7), vec![(1.0, 1), (2.0, 4)]);
        took.unit = "seconds".to_owned();
        let metrics = vec![
            Metric::new(START_TIME, MetricKind::Gauge, 100.5),
            metric("hits_total", MetricKind::Counter, 3.0),
            metric("hits", MetricKind::Gauge, 9.0),
            metric("supervisor_worker_resident_bytes", MetricKind::Gauge, 4096.0),
            took,
        ];
        let all = [AppMetrics { app: "web".to_owned(), metrics, left_out: 0 }];
        let made = messages(&all, &origin(), &mut Starts::new(), 200 * SECOND);
        assert_eq!((made.len(), made[0].points), (1, 4));
        let of = &made[0].request.resource_metrics;
        assert_eq!(of.len(), 1);
        assert_eq!(
            text(&of[0].resource.as_ref().unwrap().attributes),
            "service.name=web service.instance.id=box:/run/sv host.name=box os.type=linux \
             deployment.environment.name=test"
        );
        let metrics = &of[0].scope_metrics[0].metrics;
        let names: Vec<_> = metrics.iter().map(|m| (m.name.as_str(), m.unit.as_str())).collect();
        let resident = "supervisor_worker_resident_bytes";
        assert_eq!(names, [("hits", ""), (START_TIME, "s"), (resident, "By"), ("took", "")]);
        let Some(metric::Data::Sum(hits)) = &metrics[0].data else { panic!("{metrics:?}") };
        assert!(hits.is_monotonic && hits.aggregation_temporality == CUMULATIVE);
        let point = &hits.data_points[0];
        assert_eq!(text(&point.attributes), "app=web pa_th=a\"b");
        assert_eq!(point.start_time_unix_nano, 100 * SECOND + SECOND / 2);
        assert_eq!(point.time_unix_nano, 200 * SECOND);
        assert_eq!(point.value, Some(number_data_point::Value::AsDouble(3.0)));
        let Some(metric::Data::Gauge(gauge)) = &metrics[2].data else { panic!("{metrics:?}") };
        assert_eq!(gauge.data_points[0].start_time_unix_nano, 0, "a gauge has no start");
        let Some(metric::Data::Histogram(took)) = &metrics[3].data else { panic!("{metrics:?}") };
        let point = &took.data_points[0];
        assert_eq!((point.count, point.sum), (7, Some(0.5)));
        assert_eq!(
            (&point.bucket_counts[..], &point.explicit_bounds[..]),
            (&[1, 3, 3][..], &[1.0, 2.0][..])
        );
    }

    /// The values of a family at a look, with their starts.
    fn points(
        starts: &mut Starts<Key>,
        metrics: Vec<Metric>,
        now: u64,
        family: &str,
    ) -> Vec<(Option<f64>, u64)> {
        let all = [AppMetrics { app: "web".to_owned(), metrics, left_out: 0 }];
        let made = messages(&all, &origin(), starts, now);
        let metrics = &made[0].request.resource_metrics[0].scope_metrics[0].metrics;
        let found = metrics.iter().find(|metric| metric.name == family);
        let points = match found.and_then(|metric| metric.data.as_ref()) {
            Some(metric::Data::Sum(sum)) => &sum.data_points,
            Some(metric::Data::Gauge(gauge)) => &gauge.data_points,
            other => panic!("{other:?}"),
        };
        let value = |point: &NumberDataPoint| match point.value {
            Some(number_data_point::Value::AsDouble(value)) => Some(value),
            _ => None,
        };
        points.iter().map(|point| (value(point), point.start_time_unix_nano)).collect()
    }

    #[test]
    fn a_start_stays_though_the_app_does_not_say_it() {
        let (mut starts, hits) =
            (Starts::new(), |value| metric("hits", MetricKind::Counter, value));
        let up = |span| Metric::new(UPTIME, MetricKind::Gauge, span);
        let mut look = |metrics, now| points(&mut starts, metrics, now * SECOND, "hits");
        assert_eq!(look(vec![hits(1e6), up(50.0)], 100), [(Some(1e6), 50 * SECOND)]);
        assert_eq!(look(vec![hits(1e6), up(109.5)], 160), [(Some(1e6), 50 * SECOND)]);
        // The answer was too long for it.
        assert_eq!(look(vec![hits(1e6)], 220), [(Some(1e6), 50 * SECOND)]);
        // The app hangs at one look.
        let silent = vec![Metric::new(UP, MetricKind::Gauge, 0.0)];
        let all = [AppMetrics { app: "web".to_owned(), metrics: silent, left_out: 0 }];
        messages(&all, &origin(), &mut starts, 280 * SECOND);
        let mut look = |metrics, now| points(&mut starts, metrics, now * SECOND, "hits");
        assert_eq!(look(vec![hits(1e6)], 340), [(Some(1e6), 50 * SECOND)]);
        assert_eq!(look(vec![hits(5.0)], 400), [(Some(5.0), 340 * SECOND)]);
    }

    #[test]
    fn a_counter_that_comes_later_began_after_the_last_look() {
        let start = || Metric::new(START_TIME, MetricKind::Gauge, 10.0);
        let of_slot = |slot: &str, value| Metric {
            labels: vec![("slot".to_owned(), slot.to_owned())],
            ..Metric::new("hits", MetricKind::Counter, value)
        };
        let mut starts = Starts::new();
        let mut look = |metrics, now| points(&mut starts, metrics, now * SECOND, "hits");
        let both = |one, other| vec![start(), of_slot("0", one), of_slot("1", other)];
        let [first, second] = [(Some(9.0), 10 * SECOND), (Some(8.0), 10 * SECOND)];
        assert_eq!(look(both(9.0, 8.0), 20), [first, second]);
        // A scale down, and up again: the slot counts from 0.
        assert_eq!(look(vec![start(), of_slot("0", 9.0)], 30), [first]);
        assert_eq!(look(both(9.0, 3.0), 40), [first, (Some(3.0), 30 * SECOND)]);
        assert_eq!(look(both(9.0, 8.0), 50), [first, (Some(8.0), 30 * SECOND)]);
    }

    #[test]
    fn what_had_no_room_in_an_answer_goes_on() {
        let hits = |value| vec![metric("hits", MetricKind::Counter, value)];
        let start = || Metric::new(START_TIME, MetricKind::Gauge, 10.0);
        let mut starts = Starts::new();
        let mut all = hits(5.0);
        all.push(start());
        assert_eq!(points(&mut starts, all, 20 * SECOND, "hits"), [(Some(5.0), 10 * SECOND)]);
        let part = [AppMetrics { app: "web".to_owned(), metrics: vec![start()], left_out: 1 }];
        messages(&part, &origin(), &mut starts, 30 * SECOND);
        let again = points(&mut starts, hits(6.0), 40 * SECOND, "hits");
        assert_eq!(again, [(Some(6.0), 10 * SECOND)]);
    }

    #[test]
    fn two_workers_of_a_slot_are_one_data_point() {
        let name = "supervisor_worker_accepted";
        let start = || Metric::new(START_TIME, MetricKind::Gauge, 10.0);
        let accepted = |value| metric(name, MetricKind::Counter, value);
        let mut starts = Starts::new();
        let mut look = |metrics, now| points(&mut starts, metrics, now * SECOND, name);
        assert_eq!(look(vec![start(), accepted(90.0)], 20), [(Some(90.0), 10 * SECOND)]);
        let both = vec![start(), accepted(95.0), accepted(2.0)];
        assert_eq!(look(both, 30), [(Some(97.0), 10 * SECOND)]);
        assert_eq!(look(vec![start(), accepted(7.0)], 40), [(Some(7.0), 30 * SECOND)]);
        for (name, together) in [(READINESS, 1.0), ("supervisor_worker_connections", 1.0)] {
            let both = [1.0, 0.0].map(|value| metric(name, MetricKind::Gauge, value));
            let points = points(&mut Starts::new(), both.into(), SECOND, name);
            assert_eq!(points, [(Some(together), 0)]);
        }
    }

    #[test]
    fn requests_are_bounded_and_lose_nothing() {
        let metrics: Vec<Metric> = (0..POINTS + 10)
            .map(|at| Metric::new(&format!("m{at:05}"), MetricKind::Counter, 1.0))
            .collect();
        let apps = ["a", "b"].map(|app| AppMetrics {
            app: app.to_owned(),
            metrics: metrics.clone(),
            left_out: 0,
        });
        let made = messages(&apps, &origin(), &mut Starts::new(), SECOND);
        let points: Vec<usize> = made.iter().map(|message| message.points).collect();
        assert_eq!(points, [POINTS, POINTS, 20]);
        for message in &made {
            let resources = &message.request.resource_metrics;
            let counted: usize =
                resources.iter().map(|resource| resource.scope_metrics[0].metrics.len()).sum();
            assert_eq!(counted, message.points);
        }
    }
}
