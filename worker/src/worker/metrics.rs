//! Metrics. The supervisor keeps and shows them: `supervisor metrics NAME`.

use std::io;

use ipc::bus::{FromWorker, MetricKind};

use super::handle::Worker;
use crate::channel::message;

/// The name and the value of each label.
type Labels<'a> = &'a [(&'a str, &'a str)];

impl Worker {
    /// Sets a value that goes up and down.
    pub fn gauge(&self, name: &str, value: f64, labels: Labels<'_>) -> io::Result<()> {
        self.metric(name, MetricKind::Gauge, value, "", labels)
    }

    /// Adds to a value that only grows.
    pub fn counter(&self, name: &str, more: f64, labels: Labels<'_>) -> io::Result<()> {
        self.metric(name, MetricKind::Counter, more, "", labels)
    }

    /// Adds one observation, in seconds.
    pub fn histogram(&self, name: &str, value: f64, labels: Labels<'_>) -> io::Result<()> {
        self.metric(name, MetricKind::Histogram, value, "seconds", labels)
    }

    fn metric(
        &self,
        name: &str,
        kind: MetricKind,
        value: f64,
        unit: &str,
        labels: Labels<'_>,
    ) -> io::Result<()> {
        let labels =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (name, unit) = (name.to_owned(), unit.to_owned());
        let message = FromWorker::Metric { name, kind, value, unit, labels };
        message::check(&message)?;
        self.client.send(&message, false)
    }
}
