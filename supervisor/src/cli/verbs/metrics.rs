//! `metrics`: the metrics that the workers of an app sent and those that its primary measures, as a
//! table, JSON or OpenMetrics, served to Prometheus or pushed to a collector of OpenTelemetry.

use std::net::SocketAddr;

use ipc::talk::Metric;

use crate::cli::exit::{Exit, Failure};
use crate::cli::exporter::openmetrics::openmetrics;
#[cfg(feature = "otlp")]
use crate::cli::exporter::otlp;
use crate::cli::exporter::scrape::{AppMetrics, fetch};
use crate::cli::exporter::serve;
use crate::cli::http;
use crate::cli::output::{self, table};
use crate::cli::session::Session;
use crate::cli::targets::Targets;

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
    /// Answer `GET /metrics` at this address until the command is stopped: PORT (on 127.0.0.1),
    /// IP:PORT or [IPV6]:PORT. For Prometheus.
    #[arg(long, value_name = "ADDR", value_parser = http::address, conflicts_with_all = ["json", "openmetrics"])]
    pub(crate) listen: Option<SocketAddr>,
    #[cfg(feature = "otlp")]
    #[command(flatten)]
    pub(crate) push: otlp::Args,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    if let Some(address) = args.listen {
        return serve(session, &args.names, address);
    }
    #[cfg(feature = "otlp")]
    if let Some(url) = &args.push.otlp {
        return otlp::push(session, &args.names, url, &args.push);
    }
    let targets = Targets::named_or_all(session, &args.names)?;
    let mut exit = Exit::Done;
    let mut all = Vec::new();
    for name in targets.names {
        match fetch(&session.home, &name) {
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
        for AppMetrics { app, metrics, .. } in &all {
            let rows = metrics.iter().map(row).collect();
            session.out.line(app);
            session.out.line(table::table(&["metric", "of", "value"], rows, session.out.width()));
        }
    }
    Ok(exit)
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

#[cfg(test)]
mod tests {
    use ipc::bus::MetricKind;

    use super::*;

    #[test]
    fn rows_of_the_table() {
        let metric = |name: &str, kind, value| Metric {
            labels: vec![("pa\"th".to_owned(), "a\"b".to_owned())],
            ..Metric::new(name, kind, value)
        };
        let mut took = metric("took", MetricKind::Histogram, 0.5);
        (took.count, took.buckets) = (Some(4), vec![(1.0, 1), (2.0, 3)]);
        took.unit = "seconds".to_owned();
        assert_eq!(row(&took)[2], "4 observed, half of them at most 2 seconds");
        assert_eq!(row(&metric("x", MetricKind::Gauge, 2.5)), ["x", "pa\"th=a\"b", "2.5"]);
    }
}
