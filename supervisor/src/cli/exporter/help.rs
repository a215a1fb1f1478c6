//! What the supervisor's own metrics mean: the `# HELP` lines of OpenMetrics.

use crate::base::series::{LIVENESS, READINESS};

/// A family of quantiles, which the formats call a summary.
pub(super) const EVENT_LOOP_DELAY: &str = "supervisor_node_event_loop_delay_seconds";

/// Since when the counters of an app count.
pub(super) const START_TIME: &str = "supervisor_start_time_seconds";

/// Whether the app answered.
pub(super) const UP: &str = "supervisor_up";
pub(super) const UPTIME: &str = "supervisor_uptime_seconds";

/// The meaning of each family that the primary measures itself.
const HELP: &[(&str, &str)] = &[
    (UP, "Whether the app's primary answered: 1 or 0."),
    ("supervisor_workers_wanted", "Workers that the app wants, in all pools together."),
    ("supervisor_workers_ready", "Workers that are ready, in all pools together."),
    ("supervisor_generation", "The generation that serves; each reload adds one."),
    ("supervisor_restarts", "Restarts of workers since the app was started."),
    ("supervisor_recycles", "Workers that were replaced because they reached a limit."),
    (UPTIME, "Time since the app was started."),
    (START_TIME, "When the app was started, since 1970; counters count from then on."),
    ("supervisor_pool_workers_wanted", "Workers that the pool wants."),
    ("supervisor_pool_workers_ready", "Workers of the pool that are ready."),
    ("supervisor_listener_backlog", "Connections that wait in the address's accept queues."),
    ("supervisor_worker_restarts", "Restarts of the slot's worker."),
    ("supervisor_worker_resident_bytes", "Resident memory of the worker and its children."),
    ("supervisor_worker_connections", "Connections that the worker holds."),
    (
        "supervisor_worker_backlog",
        "Connections that wait in the worker's accept queues or on their way to it.",
    ),
    ("supervisor_worker_accepted", "Connections that the worker was given."),
    (READINESS, "Whether the worker's readiness probe passes: 1 or 0."),
    (LIVENESS, "Whether the worker's liveness probe passes: 1 or 0."),
    ("supervisor_worker_cpu_percent", "CPU use of the worker and its children; 100 is one core."),
    (
        EVENT_LOOP_DELAY,
        "How late Node's event loop ran its timers in the last ten seconds, by quantile.",
    ),
    ("supervisor_node_heap_used_bytes", "JavaScript heap that the Node worker uses."),
    ("supervisor_log_lines_dropped", "Lines of the slot that log_rate has dropped."),
    ("supervisor_reloads", "Reloads that ended, by outcome: done or rolled-back."),
    ("supervisor_metrics_refused", "Pushed values that were refused: too many series."),
    ("supervisor_bus_worker_said", "Messages from the worker."),
    ("supervisor_bus_worker_heard", "Messages to the worker."),
    ("supervisor_bus_worker_lost", "Messages to the worker that were dropped."),
    ("supervisor_bus_worker_waiting", "Messages that wait for the worker to read them."),
    ("supervisor_bus_worker_waiting_bytes", "Bytes that wait for the worker to read them."),
    ("supervisor_bus_worker_calls_worked_on", "Calls that the worker has not answered yet."),
    ("supervisor_bus_worker_subscriptions", "Topics that the worker subscribes to."),
    ("supervisor_bus_emitted", "Events that workers emitted or sent to one slot."),
    ("supervisor_bus_delivered", "Events that were put into a reader's queue."),
    ("supervisor_bus_unheard", "Events that had no reader."),
    (
        "supervisor_bus_dropped",
        "Events that were dropped. slow-reader: the reader's queue was full; reader-left: the \
         reader ended before it read them; primary-ended: they waited in a primary that ended.",
    ),
    ("supervisor_bus_not_shown", "Events that the clients of `events` missed."),
    ("supervisor_bus_cut_off", "Workers that were cut off because they broke a rule of the bus."),
    ("supervisor_bus_calls", "Calls that workers made."),
    ("supervisor_bus_calls_answered", "Calls that were answered."),
    (
        "supervisor_bus_calls_retried",
        "Calls that were given to another worker because the first one ended.",
    ),
    ("supervisor_bus_answers_late", "Answers that came after their call had failed."),
    (
        "supervisor_bus_calls_failed",
        "Calls that failed. timed-out: no answer in time; died: the worker ended; full: too many \
         calls waited; other: the handler failed or no worker serves the call.",
    ),
];

/// The meaning of a family that the primary does not know.
const SENT: &str = "Sent by workers.";

/// The meaning of a family.
pub(super) fn help(family: &str) -> &'static str {
    HELP.iter().find(|(name, _)| *name == family).map_or(SENT, |(_, help)| help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_is_explained_once_on_one_line() {
        for (at, (name, help)) in HELP.iter().enumerate() {
            assert!(HELP[..at].iter().all(|(other, _)| other != name), "{name}");
            assert!(help.ends_with('.') && !help.contains(['\n', '\\']), "{name}: {help}");
        }
    }

    /// In the dashboard of Grafana and in the page beside it.
    #[test]
    fn the_documents_name_families_that_exist() {
        let pages = [
            include_str!("../../../../docs/grafana.json"),
            include_str!("../../../../docs/prometheus.md"),
        ];
        for page in pages {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let words = page.split(|c| !is_part(c)).filter_map(|word| {
                let is_family = word.starts_with("supervisor_") && !word.ends_with('_');
                is_family.then(|| word.strip_suffix("_total").unwrap_or(word))
            });
            let mut seen = 0;
            for word in words {
                assert!(help(word) != SENT, "{word} is no family");
                seen += 1;
            }
            assert!(seen > 4, "{seen} families");
        }
    }
}
