//! Metrics as text: OpenMetrics 1.0, and the text format 0.0.4 of Prometheus, which it came from.

use std::fmt::Write;

use ipc::bus::MetricKind;
use ipc::talk::Metric;

use super::help::{EVENT_LOOP_DELAY, help};
use super::scrape::AppMetrics;

/// One of the two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    OpenMetrics,
    Classic,
}

impl Format {
    /// The name of a family as its `# TYPE` and `# HELP` have it. That of a counter has the suffix
    /// of its samples in the classic format alone.
    fn title(self, family: &str, kind: MetricKind) -> String {
        let has_suffix = self == Self::Classic && kind == MetricKind::Counter;
        format!("{family}{}", if has_suffix { "_total" } else { "" })
    }
}

/// OpenMetrics 1.0. The metrics of a family are together, even if they come from several apps.
pub(crate) fn openmetrics(all: &[AppMetrics]) -> String {
    text(all, Format::OpenMetrics) + "# EOF\n"
}

/// The same in the text format 0.0.4 of Prometheus.
pub(crate) fn classic(all: &[AppMetrics]) -> String {
    text(all, Format::Classic)
}

fn text(all: &[AppMetrics], format: Format) -> String {
    let mut rows: Vec<(String, &str, &Metric)> = all
        .iter()
        .flat_map(|m| m.metrics.iter().map(|metric| (family(metric), m.app.as_str(), metric)))
        .collect();
    rows.sort_by(|a, b| (&a.0, a.1, &a.2.labels).cmp(&(&b.0, b.1, &b.2.labels)));
    let mut text = String::new();
    let mut last: Option<(&str, MetricKind)> = None;
    for (name, app, metric) in &rows {
        match last {
            // A family has one kind: a metric of the same name and another kind is left out.
            Some((known, kind)) if known == name && kind != metric.kind => continue,
            Some((known, _)) if known == name => {}
            _ => {
                let title = format.title(name, metric.kind);
                let _ = writeln!(text, "# HELP {title} {}", help(name));
                let kind = if name == EVENT_LOOP_DELAY { "summary" } else { metric.kind.word() };
                let _ = writeln!(text, "# TYPE {title} {kind}");
                last = Some((name, metric.kind));
            }
        }
        append(&mut text, name, app, metric);
    }
    text
}

/// Appends the lines of one metric.
fn append(text: &mut String, name: &str, app: &str, metric: &Metric) {
    let mut labels = format!("app=\"{}\"", escaped(app));
    for (label, value) in &metric.labels {
        let _ = write!(labels, ",{}=\"{}\"", sanitized(label), escaped(value));
    }
    // Writing into a String cannot fail.
    let _ = match (metric.kind, metric.count) {
        (MetricKind::Histogram, Some(count)) => {
            for (bound, below) in &metric.buckets {
                let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound:?}\"}} {below}");
            }
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
            let _ = writeln!(text, "{name}_count{{{labels}}} {count}");
            writeln!(text, "{name}_sum{{{labels}}} {}", metric.value)
        }
        (MetricKind::Counter, _) => writeln!(text, "{name}_total{{{labels}}} {}", metric.value),
        (MetricKind::Gauge | MetricKind::Histogram, _) => {
            writeln!(text, "{name}{{{labels}}} {}", metric.value)
        }
    };
}

/// The name of a metric's family: without the suffix of counters, which the text appends.
pub(super) fn family(metric: &Metric) -> String {
    let name = sanitized(&metric.name);
    name.strip_suffix("_total").map_or_else(|| name.clone(), str::to_owned)
}

/// The name with `_` in place of every character that OpenMetrics does not allow.
pub(super) fn sanitized(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let word: String = name.chars().map(allowed).collect();
    if word.starts_with(|c: char| c.is_ascii_digit()) { format!("_{word}") } else { word }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, kind: MetricKind, value: f64) -> Metric {
        Metric {
            labels: vec![("pa\"th".to_owned(), "a\"b".to_owned())],
            ..Metric::new(name, kind, value)
        }
    }

    #[test]
    fn openmetrics_text() {
        let hits = metric("hits_total", MetricKind::Counter, 3.0);
        let also = metric("hits", MetricKind::Gauge, 3.0);
        let mut took = metric("took", MetricKind::Histogram, 0.5);
        (took.count, took.buckets) = (Some(2), vec![(1.0, 1)]);
        let all = [
            AppMetrics { app: "a".to_owned(), metrics: vec![took, hits.clone()], left_out: 0 },
            AppMetrics { app: "b".to_owned(), metrics: vec![hits, also], left_out: 0 },
        ];
        let text = openmetrics(&all);
        assert_eq!(
            text,
            "# HELP hits Sent by workers.\n\
             # TYPE hits counter\n\
             hits_total{app=\"a\",pa_th=\"a\\\"b\"} 3\n\
             hits_total{app=\"b\",pa_th=\"a\\\"b\"} 3\n\
             # HELP took Sent by workers.\n\
             # TYPE took histogram\n\
             took_bucket{app=\"a\",pa_th=\"a\\\"b\",le=\"1.0\"} 1\n\
             took_bucket{app=\"a\",pa_th=\"a\\\"b\",le=\"+Inf\"} 2\n\
             took_count{app=\"a\",pa_th=\"a\\\"b\"} 2\n\
             took_sum{app=\"a\",pa_th=\"a\\\"b\"} 0.5\n\
             # EOF\n"
        );
        let classic = classic(&all);
        let begin = "# HELP hits_total Sent by workers.\n# TYPE hits_total counter\nhits_total{";
        assert!(classic.starts_with(begin), "{classic}");
        assert_eq!(classic.replace(" hits_total ", " hits ") + "# EOF\n", text);
    }

    #[test]
    fn our_own_families_are_explained() {
        let reloads = metric("supervisor_reloads", MetricKind::Counter, 1.0);
        let text =
            openmetrics(&[AppMetrics { app: "a".to_owned(), metrics: vec![reloads], left_out: 0 }]);
        let begin = "# HELP supervisor_reloads Reloads that ended";
        assert!(text.starts_with(begin), "{text}");
    }
}
