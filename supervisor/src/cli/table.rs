//! Tables and the small units in them. No colours; no lines where stdout is no terminal.

use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use ipc::control::{AppStatus, Contract, WorkerStatus};

/// The reason of an app is cut to so many characters in a table.
const REASON: usize = 60;

/// A table of `header` and `rows`. `width`: of the terminal, if there is one.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied()).add_rows(rows);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// The table of `list`.
pub(crate) fn of_apps(apps: &[AppStatus], width: Option<u16>) -> String {
    let header = [
        "name",
        "status",
        "ready",
        "gen",
        "listeners",
        "restarts",
        "uptime",
        "cpu",
        "mem",
        "reason",
    ];
    table(&header, apps.iter().map(app_row).collect(), width)
}

fn app_row(app: &AppStatus) -> Vec<String> {
    let listeners: Vec<&str> = app.listeners.iter().map(|l| l.address.as_str()).collect();
    let known = app.uptime_ms > 0;
    vec![
        app.name.clone(),
        app.status.word().to_owned(),
        format!("{}/{}", app.ready, app.wanted),
        app.generation.to_string(),
        or_dash(listeners.join(", ")),
        app.restarts.to_string(),
        if known { uptime(app.uptime_ms) } else { "-".to_owned() },
        percent(total(&app.workers, |worker| worker.cpu_percent.map(f64::from))),
        bytes(total(&app.workers, |worker| worker.rss_bytes.map(|rss| rss as f64))),
        or_dash(shortened(app.reason.as_deref().unwrap_or_default())),
    ]
}

/// The table of workers in `describe`.
pub(crate) fn of_workers(workers: &[WorkerStatus], pools: bool, width: Option<u16>) -> String {
    let mut header = vec![
        "slot",
        "pid",
        "gen",
        "state",
        "contract",
        "restarts",
        "uptime",
        "cpu",
        "mem",
        "conns",
        "accepted",
        "backlog",
        "last exit",
    ];
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |n| n.to_string());
    if pools {
        header.insert(1, "pool");
    }
    let rows = workers.iter().map(|worker| {
        let mut row = vec![
            worker.slot.to_string(),
            number(worker.pid.map(u64::from)),
            worker.generation.to_string(),
            worker.state.to_string(),
            or_dash(words(&worker.contract)),
            worker.restarts.to_string(),
            worker.uptime_ms.map_or_else(|| "-".to_owned(), uptime),
            percent(worker.cpu_percent.map(f64::from)),
            bytes(worker.rss_bytes.map(|rss| rss as f64)),
            number(worker.connections.map(u64::from)),
            number(worker.accepted),
            number(worker.backlog.map(u64::from)),
            or_dash(worker.last_exit.clone().unwrap_or_default()),
        ];
        if pools {
            row.insert(1, or_dash(worker.pool.clone().unwrap_or_default()));
        }
        row
    });
    table(&header, rows.collect(), width)
}

/// `intercept+notify`
fn words(contracts: &[Contract]) -> String {
    contracts.iter().map(|contract| contract.word()).collect::<Vec<_>>().join("+")
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// The sum over the workers for which it is known.
fn total(workers: &[WorkerStatus], of: impl Fn(&WorkerStatus) -> Option<f64>) -> Option<f64> {
    workers.iter().filter_map(of).reduce(|sum, value| sum + value)
}

/// The first line, cut to what fits a table.
fn shortened(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or_default();
    match line.char_indices().nth(REASON) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    }
}

/// `3h 12m`: the two largest units.
pub(crate) fn uptime(ms: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(ms / 1000)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}%"))
}

/// `12.3M`.
fn bytes(value: Option<f64>) -> String {
    let Some(mut value) = value else { return "-".to_owned() };
    let mut unit = "B";
    for larger in ["K", "M", "G", "T"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{value:.0}B") } else { format!("{value:.1}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::probe;
    use crate::home::{Record, RecordedWorker};
    use config::spec::AppSpec;
    use ipc::control::Status;

    fn app() -> AppStatus {
        let worker =
            |slot| RecordedWorker { pid: 10 + u32::from(slot), start_time: 1, slot, generation: 2 };
        let mut spec = AppSpec::new("web", vec!["node".into()], "/srv".into());
        spec.wanted = 2;
        let record = Record { primary_pid: 9, workers: vec![worker(0), worker(1)], spec };
        let mut app = probe::from_record("web", &record, Status::Degraded, "slot 1 waits");
        app.ready = 1;
        app.uptime_ms = 11_532_000;
        app.workers[0].rss_bytes = Some(3 << 20);
        app.workers[1].rss_bytes = Some(512 << 10);
        app.workers[0].cpu_percent = Some(12.4);
        app
    }

    #[test]
    fn apps_in_columns() {
        let text = of_apps(&[app()], None);
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split("  ").filter(|w| !w.is_empty()).collect()).collect();
        assert_eq!(lines[0].len(), 10);
        let words: Vec<&str> = lines[1].iter().map(|word| word.trim()).collect();
        let expected =
            ["web", "degraded", "1/2", "2", "-", "0", "3h 12m", "12%", "3.5M", "slot 1 waits"];
        assert_eq!(words, expected);
        assert!(text.is_ascii(), "{text}");
    }

    #[test]
    fn a_narrow_terminal_is_kept_to() {
        let mut app = app();
        app.reason = Some("a long reason ".repeat(20));
        let text = of_apps(&[app], Some(80));
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }

    #[test]
    fn workers_in_columns() {
        let text = of_workers(&app().workers, false, None);
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().nth(1).unwrap().starts_with("0     10"), "{text}");
    }

    #[test]
    fn units() {
        assert_eq!(bytes(Some(1023.0)), "1023B");
        assert_eq!(bytes(Some(1024.0)), "1.0K");
        assert_eq!(bytes(None), "-");
        assert_eq!(uptime(59_999), "59s");
        assert_eq!(uptime(0), "0s");
        assert_eq!(shortened(&"x".repeat(61)).len(), 63);
        assert_eq!(shortened("one\ntwo"), "one");
    }
}
