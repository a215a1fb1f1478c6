//! `list`: prints all apps in one table. An app that hangs does not delay the others.

use ipc::control::{AppStatus, WorkerStatus};

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, table};
use crate::cli::session::Session;
use crate::cli::targets::probe;

/// Characters of an app's reason that are shown.
const MAX_REASON: usize = 60;

/// Listeners of an app that are shown; `describe` shows all.
const MAX_LISTENERS: usize = 3;

/// The column of the namespaces.
const NAMESPACE: usize = 1;

/// Show all apps.
#[derive(Debug, clap::Args)]
#[command(visible_aliases = ["ls", "status"], aliases = ["l", "ps"])]
pub(crate) struct Args {
    /// Print an array of apps as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    let mut apps = Vec::new();
    for status in probe::statuses(&session.home, &session.home.apps()?) {
        match status {
            Ok(status) => apps.extend(status),
            // An app of another user that this user may not see.
            Err(failure)
                if failure.exit == Exit::NotPermitted && session.home.is_of_another_user() => {}
            Err(failure) => {
                output::report(&failure);
                exit = exit.or_worse(failure.exit);
            }
        }
    }
    if args.json {
        session.out.json(&apps)?;
    } else if apps.is_empty() && exit != Exit::Done {
        // The failures are printed already.
    } else if apps.is_empty() {
        output::note("no apps; start one with: supervisor start -i max -- COMMAND");
    } else {
        let text = apps_table(&apps, session.out.width());
        session.out.line(text);
    }
    Ok(exit)
}

/// The table, `width` columns wide if there is a terminal.
fn apps_table(apps: &[AppStatus], width: Option<u16>) -> String {
    let mut header = vec![
        "name",
        "namespace",
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
    let mut rows: Vec<Vec<String>> = apps.iter().map(app_row).collect();
    // A column that says nothing takes room from the others.
    if apps.iter().all(|app| app.namespace.is_none()) {
        header.remove(NAMESPACE);
        rows.iter_mut().for_each(|row| drop(row.remove(NAMESPACE)));
    }
    table::table(&header, rows, width)
}

fn app_row(app: &AppStatus) -> Vec<String> {
    let listeners: Vec<&str> =
        app.listeners.iter().take(MAX_LISTENERS).map(|l| l.address.as_str()).collect();
    let mut listeners = listeners.join(", ");
    if let more @ 1.. = app.listeners.len().saturating_sub(MAX_LISTENERS) {
        listeners.push_str(&format!(" and {more} more"));
    }
    let known = app.uptime_ms > 0;
    vec![
        app.name.clone(),
        table::or_dash(app.namespace.clone().unwrap_or_default()),
        app.status.word().to_owned(),
        format!("{}/{}", app.ready, app.wanted),
        app.generation.to_string(),
        table::or_dash(listeners),
        app.restarts.to_string(),
        if known { table::uptime(app.uptime_ms) } else { "-".to_owned() },
        table::percent(total(&app.workers, |worker| worker.cpu_percent.map(f64::from))),
        table::bytes(total(&app.workers, |worker| worker.rss_bytes.map(|rss| rss as f64))),
        table::or_dash(first_line(app.reason.as_deref().unwrap_or_default())),
    ]
}

/// The sum over the workers for which it is known.
fn total(workers: &[WorkerStatus], of: impl Fn(&WorkerStatus) -> Option<f64>) -> Option<f64> {
    workers.iter().filter_map(of).reduce(|sum, value| sum + value)
}

/// The first line of a reason, at most [`MAX_REASON`] characters of it.
fn first_line(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or_default();
    match line.char_indices().nth(MAX_REASON) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::targets::fake_primary as fake;
    use ipc::control::Status;

    /// A degraded app with two workers.
    fn app() -> AppStatus {
        let mut app = fake::status("web", Status::Degraded);
        app.workers.push(WorkerStatus { slot: 1, ..app.workers[0].clone() });
        (app.ready, app.wanted, app.generation) = (1, 2, 2);
        app.reason = Some("slot 1 waits".to_owned());
        app.uptime_ms = 11_532_000;
        app.workers[0].rss_bytes = Some(3 << 20);
        app.workers[1].rss_bytes = Some(512 << 10);
        app.workers[0].cpu_percent = Some(12.4);
        app
    }

    #[test]
    fn apps_in_columns() {
        let text = apps_table(&[app()], None);
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split("  ").filter(|w| !w.is_empty()).collect()).collect();
        assert_eq!(lines[0].len(), 10);
        let words: Vec<&str> = lines[1].iter().map(|word| word.trim()).collect();
        let expected =
            ["web", "degraded", "1/2", "2", "-", "0", "3h 12m", "12%", "3.5M", "slot 1 waits"];
        assert_eq!(words, expected);
        assert!(text.is_ascii(), "{text}");
        let in_group = AppStatus { namespace: Some("shop".to_owned()), ..app() };
        let text = apps_table(&[app(), in_group], None);
        let column = |line: &str| line.split_whitespace().nth(1).unwrap().to_owned();
        let columns: Vec<String> = text.lines().map(column).collect();
        assert_eq!(columns, ["namespace", "-", "shop"]);
    }

    #[test]
    fn many_listeners_are_counted() {
        let mut app = app();
        let listener = |port| ipc::control::ListenerStatus {
            address: format!("127.0.0.1:{port}"),
            ..ipc::control::ListenerStatus::default()
        };
        app.listeners = (8000..8150).map(listener).collect();
        let text = apps_table(&[app], None);
        assert!(text.contains("127.0.0.1:8002 and 147 more"), "{text}");
        assert!(text.lines().all(|line| line.len() < 200), "{text}");
    }

    #[test]
    fn a_narrow_terminal_is_kept_to() {
        let mut app = app();
        app.reason = Some("a long reason ".repeat(20));
        let text = apps_table(&[app], Some(80));
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(first_line(&"x".repeat(61)).len(), 63);
        assert_eq!(first_line("one\ntwo"), "one");
    }
}
