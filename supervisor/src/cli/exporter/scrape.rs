//! The metrics of many apps, asked for at the same time.

use std::time::Duration;

use ipc::bus::MetricKind;
use ipc::control::{Reply, Request};
use ipc::talk::{BusRequest, Metric};
use serde::Serialize;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::cli::side_by_side::{Work, side_by_side};
use crate::cli::targets::probe;
use crate::home::Home;

/// How long a primary may take to send its metrics.
const METRICS_TIMEOUT: Duration = Duration::from_secs(2);

/// The metrics of one app: one element of `metrics --json`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AppMetrics {
    pub(crate) app: String,
    pub(crate) metrics: Vec<Metric>,
    /// How many did not fit into the app's answer.
    #[serde(skip)]
    pub(crate) left_out: usize,
}

/// Asks one app.
pub(crate) fn fetch(home: &Home, name: &str) -> Result<AppMetrics, Failure> {
    let mut client = probe::connect(home, name)?;
    match client.ask(&Request::Bus(BusRequest::Metrics), Some(METRICS_TIMEOUT), |_| {})? {
        Reply::Metrics { metrics, left_out } => {
            if left_out > 0 {
                output::note(format_args!(
                    "supervisor: {name}: {left_out} metrics do not fit into the answer"
                ));
            }
            Ok(AppMetrics { app: name.to_owned(), metrics, left_out })
        }
        other => Err(Failure::unexpected_reply(name, other)),
    }
}

/// Asks these apps, several at once. Each that exists is in the answer with `supervisor_up`, which
/// is 0 if it did not answer. `are_named`: so is each that does not exist.
pub(crate) fn fetch_all(home: &Home, names: &[String], are_named: bool) -> Vec<AppMetrics> {
    let mut all = Vec::with_capacity(names.len());
    let take = |name: &String, result: Result<AppMetrics, Failure>| match result {
        Ok(AppMetrics { app, mut metrics, left_out }) => {
            metrics.push(up(1.0));
            all.push(AppMetrics { app, metrics, left_out });
        }
        // It was deleted meanwhile.
        Err(failure) if failure.exit == Exit::NoSuchApp && !are_named => {}
        Err(_) => {
            let metrics = vec![up(0.0)];
            all.push(AppMetrics { app: name.clone(), metrics, left_out: 0 });
        }
    };
    side_by_side(Work::Waits, names, |name| fetch(home, name), take);
    all
}

fn up(value: f64) -> Metric {
    Metric::new("supervisor_up", MetricKind::Gauge, value)
}
