//! `metrics`: the metrics that the workers of an app sent and those that its primary measures, as a
//! table, JSON or OpenMetrics.

mod help;

use std::fmt::Write;
use std::time::Duration;

use ipc::bus::MetricKind;
use ipc::control::{Reply, Request};
use ipc::talk::{BusRequest, Metric};
use serde::Serialize;

use self::help::help;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, table};
use crate::cli::session::Session;
use crate::cli::targets::{Targets, probe};

/// How long a primary may take to send its metrics.
const METRICS_TIMEOUT: Duration = Duration::from_secs(2);

/// Show the metrics of an app's workers and of its primary.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which apps. Default: all that run.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Print an array of apps with their metrics as JSON.
    #[arg(long, conflicts_with = "openmetrics")]
    pub(crate) json: bool,
    /// Print OpenMetrics text, as Prometheus reads it.
    #[arg(long)]
    pub(crate) openmetrics: bool,
}

/// The metrics of one app: one element of `--json`.
#[derive(Debug, Serialize)]
struct AppMetrics {
    app: String,
    metrics: Vec<Metric>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let targets = Targets::named_or_all(session, &args.names)?;
    let mut exit = Exit::Done;
    let mut all = Vec::new();
    for name in targets.names {
        match fetch(session, &name) {
            Ok(metrics) => all.push(metrics),
            Err(failure) if targets.all && failure.exit == Exit::NoSuchApp => {}
            Err(failure) => {
                output::report(&failure);
                exit = exit.or_worse(failure.exit);
            }
        }
    }
    if args.json {
        session.out.json(&all)?;
    } else if args.openmetrics {
        session.out.line(openmetrics(&all).trim_end());
    } else {
        for AppMetrics { app, metrics } in &all {
            let rows = metrics.iter().map(row).collect();
            session.out.line(app);
            session.out.line(table::table(&["metric", "of", "value"], rows, session.out.width()));
        }
    }
    Ok(exit)
}

fn fetch(session: &Session, name: &str) -> Result<AppMetrics, Failure> {
    let mut client = probe::connect(&session.home, name)?;
    match client.ask(&Request::Bus(BusRequest::Metrics), Some(METRICS_TIMEOUT), |_| {})? {
        Reply::Metrics { metrics, left_out } => {
            if left_out > 0 {
                output::note(format_args!(
                    "supervisor: {name}: {left_out} metrics do not fit into the answer"
                ));
            }
            Ok(AppMetrics { app: name.to_owned(), metrics })
        }
        other => Err(Failure::unexpected_reply(name, other)),
    }
}

/// The row of the table.
fn row(metric: &Metric) -> Vec<String> {
    let labels = metric.labels.iter().map(|(name, value)| format!("{name}={value}"));
    let unit = if metric.unit.is_empty() { String::new() } else { format!(" {}", metric.unit) };
    let value = match metric.count {
        None => format!("{}{unit}", metric.value),
        Some(0) => "nothing observed".to_owned(),
        Some(count) => {
            let median = metric.buckets.iter().find(|(_, below)| below * 2 >= count);
            let median = median.map_or_else(
                || "beyond the last bound".to_owned(),
                |(bound, _)| format!("at most {bound}"),
            );
            format!("{count} observed, half of them {median}{unit}")
        }
    };
    vec![metric.name.clone(), labels.collect::<Vec<_>>().join(" "), value]
}

/// OpenMetrics 1.0 text. The metrics of a family are together, even if they come from several apps.
fn openmetrics(all: &[AppMetrics]) -> String {
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
                let _ = writeln!(text, "# TYPE {name} {}", metric.kind.word());
                if let Some(help) = help(name) {
                    let _ = writeln!(text, "# HELP {name} {help}");
                }
                last = Some((name, metric.kind));
            }
        }
        append(&mut text, name, app, metric);
    }
    text.push_str("# EOF\n");
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
fn family(metric: &Metric) -> String {
    let name = sanitized(&metric.name);
    name.strip_suffix("_total").map_or_else(|| name.clone(), str::to_owned)
}

/// The name with `_` in place of every character that OpenMetrics does not allow.
fn sanitized(name: &str) -> String {
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
            name: name.to_owned(),
            kind,
            unit: String::new(),
            labels: vec![("pa\"th".to_owned(), "a\"b".to_owned())],
            value,
            count: None,
            buckets: Vec::new(),
        }
    }

    #[test]
    fn openmetrics_text() {
        let hits = metric("hits_total", MetricKind::Counter, 3.0);
        let also = metric("hits", MetricKind::Gauge, 3.0);
        let mut took = metric("took", MetricKind::Histogram, 0.5);
        (took.count, took.buckets) = (Some(2), vec![(1.0, 1)]);
        let all = [
            AppMetrics { app: "a".to_owned(), metrics: vec![took, hits.clone()] },
            AppMetrics { app: "b".to_owned(), metrics: vec![hits, also] },
        ];
        assert_eq!(
            openmetrics(&all),
            "# TYPE hits counter\n\
             hits_total{app=\"a\",pa_th=\"a\\\"b\"} 3\n\
             hits_total{app=\"b\",pa_th=\"a\\\"b\"} 3\n\
             # TYPE took histogram\n\
             took_bucket{app=\"a\",pa_th=\"a\\\"b\",le=\"1.0\"} 1\n\
             took_bucket{app=\"a\",pa_th=\"a\\\"b\",le=\"+Inf\"} 2\n\
             took_count{app=\"a\",pa_th=\"a\\\"b\"} 2\n\
             took_sum{app=\"a\",pa_th=\"a\\\"b\"} 0.5\n\
             # EOF\n"
        );
    }

    #[test]
    fn our_own_families_are_explained() {
        let reloads = metric("supervisor_reloads", MetricKind::Counter, 1.0);
        let text = openmetrics(&[AppMetrics { app: "a".to_owned(), metrics: vec![reloads] }]);
        let begin = "# TYPE supervisor_reloads counter\n# HELP supervisor_reloads Reloads that ";
        assert!(text.starts_with(begin), "{text}");
    }

    #[test]
    fn rows_of_the_table() {
        let mut took = metric("took", MetricKind::Histogram, 0.5);
        (took.count, took.buckets) = (Some(4), vec![(1.0, 1), (2.0, 3)]);
        took.unit = "seconds".to_owned();
        assert_eq!(row(&took)[2], "4 observed, half of them at most 2 seconds");
        assert_eq!(row(&metric("x", MetricKind::Gauge, 2.5)), ["x", "pa\"th=a\"b", "2.5"]);
    }
}
