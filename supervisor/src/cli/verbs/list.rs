//! `list`: prints all apps in one table. An app that hangs does not delay the others.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use ipc::control::AppStatus;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::tone::Tone;
use crate::cli::output::{self, table};
use crate::cli::session::Session;
use crate::cli::targets::probe;

/// Characters of an app's reason that are shown.
const MAX_REASON: usize = 100;

/// Listeners of an app that are shown; `describe` shows all.
const MAX_LISTENERS: usize = 3;

/// The columns of the table.
const COLUMNS: [&str; 12] = [
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
    "watch",
    "reason",
];

/// The columns that are left out first, and those that are left out next, where a terminal is too
/// narrow for all. `describe` shows them.
const LESS: [&[&str]; 2] = [&["gen", "namespace", "watch"], &["restarts", "uptime", "listeners"]];

/// The least columns of a terminal for all columns of the table, and for all but the first of
/// [`LESS`].
const ROOM: [u16; 2] = [110, 90];

/// How often `--watch` looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Takes the cursor to the top left, and clears what is below (ECMA-48: CUP, ED).
const TOP: &str = "\u{1b}[H\u{1b}[J";

/// Show all apps.
#[derive(Debug, clap::Args)]
#[command(visible_aliases = ["ls", "status"], aliases = ["l", "ps"])]
pub(crate) struct Args {
    /// Print an array of apps as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print only the names, one on a line, and ask no app: for the completions of shells.
    #[arg(long, hide = true)]
    pub(crate) names: bool,
    /// Order the apps by this. The default is their name.
    #[arg(long, value_name = "COLUMN", default_value = "name", hide_default_value = true)]
    pub(crate) sort: Column,
    /// Show these columns only, in this order: name,status,ready. Where stdout is no terminal, they
    /// are separated by tabs, without a header.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', conflicts_with = "json")]
    #[arg(value_parser = PossibleValuesParser::new(COLUMNS))]
    pub(crate) format: Vec<String>,
    /// Show the table again every second, until you end it with Ctrl-C.
    #[arg(long, conflicts_with = "json")]
    pub(crate) watch: bool,
}

/// What the apps can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Column {
    Name,
    /// What needs attention first.
    Status,
    /// The largest first.
    Restarts,
    /// The youngest first.
    Uptime,
    /// The largest first.
    Cpu,
    /// The largest first.
    Mem,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    if args.names {
        for name in session.home.apps()? {
            session.out.line(name);
        }
        return Ok(Exit::Done);
    }
    if !args.watch {
        return show(args, session, "");
    }
    if session.out.width().is_none() {
        return Err(Failure::usage(
            "cannot show a table again and again: stdout is no terminal; use \"supervisor events\"",
        ));
    }
    loop {
        show(args, session, TOP)?;
        if session.out.closes_within(INTERVAL) {
            return Ok(Exit::Done);
        }
    }
}

/// Prints the apps once. `begin`: what goes before the table.
fn show(args: &Args, session: &mut Session, begin: &str) -> Result<Exit, Failure> {
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
    sort(&mut apps, args.sort);
    if args.json {
        session.out.json(&apps)?;
    } else if apps.is_empty() && exit != Exit::Done {
        // The failures are printed already.
    } else if apps.is_empty() && !begin.is_empty() {
        session.out.line(format_args!("{begin}no apps"));
    } else if apps.is_empty() {
        output::note("no apps; start one with: supervisor start -i max -- COMMAND");
    } else {
        let (width, colours) = (session.out.width(), session.out.has_colours());
        if !args.format.is_empty() && width.is_none() {
            session.out.line(tab_separated(&apps, &args.format));
            return Ok(exit);
        }
        let mut text = apps_table(&apps, &args.format, width, colours);
        // Programs that read the table read no more than apps.
        if width.is_some() && apps.len() > 1 && args.format.is_empty() {
            text = format!("{text}\n{}", totals(&apps));
        }
        session.out.line(format_args!("{begin}{text}"));
    }
    Ok(exit)
}

fn sort(apps: &mut [AppStatus], by: Column) {
    match by {
        Column::Name => {}
        Column::Status => apps.sort_by_key(|app| Tone::of(app.status).max(Tone::Warning)),
        Column::Restarts => apps.sort_by_key(|app| Reverse(app.restarts)),
        Column::Uptime => apps.sort_by_key(|app| app.uptime_ms),
        Column::Cpu => apps.sort_by(|a, b| table::larger_first(cpu(a), cpu(b))),
        Column::Mem => apps.sort_by(|a, b| table::larger_first(memory(a), memory(b))),
    }
}

/// `3 apps: 2 ready, 1 errored; 5 of 6 workers; cpu 5%, mem 128.4M`
fn totals(apps: &[AppStatus]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for app in apps {
        *counts.entry(app.status.word()).or_default() += 1;
    }
    let counts: Vec<String> =
        counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    let (ready, wanted) = apps.iter().fold((0u32, 0u32), |(ready, wanted), app| {
        (ready + u32::from(app.ready), wanted + u32::from(app.wanted))
    });
    format!(
        "{} apps: {}; {ready} of {wanted} workers; cpu {}, mem {}",
        apps.len(),
        counts.join(", "),
        table::percent(table::total(apps.iter().map(cpu))),
        table::bytes(table::total(apps.iter().map(memory))),
    )
}

/// Where the columns of these names are.
fn places(format: &[String]) -> Vec<usize> {
    format.iter().filter_map(|name| COLUMNS.iter().position(|known| known == name)).collect()
}

/// A line for each app, for programs.
fn tab_separated(apps: &[AppStatus], format: &[String]) -> String {
    let places = places(format);
    let lines = apps.iter().map(|app| {
        let row = app_row(app);
        let cells: Vec<&str> = places.iter().map(|at| row[*at].as_str()).collect();
        cells.join("\t")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The table, `width` columns wide if there is a terminal. `format`: its columns; if empty, those
/// for which there is room.
fn apps_table(apps: &[AppStatus], format: &[String], width: Option<u16>, colours: bool) -> String {
    let header = COLUMNS;
    let too_narrow = ROOM.iter().filter(|room| width.is_some_and(|width| width < **room)).count();
    // A column that says nothing takes room from the others.
    let has_namespaces = apps.iter().any(|app| app.namespace.is_some());
    let are_watched = apps.iter().any(|app| app.watch.is_some());
    let is_shown = |name: &str| {
        let left_out = LESS[..too_narrow].iter().any(|names| names.contains(&name));
        !left_out && (name != "namespace" || has_namespaces) && (name != "watch" || are_watched)
    };
    let shown: Vec<usize> = match format {
        [] => (0..header.len()).filter(|at| is_shown(header[*at])).collect(),
        format => places(format),
    };
    let names: Vec<&str> = shown.iter().map(|at| header[*at]).collect();
    let rows = apps.iter().map(|app| {
        let row = app_row(app);
        let cells = shown.iter().map(|at| {
            let has_tone = colours && header[*at] == "status";
            (row[*at].clone(), has_tone.then(|| Tone::of(app.status)))
        });
        cells.collect()
    });
    table::coloured(&names, rows.collect(), width, colours)
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
        table::percent(cpu(app)),
        table::bytes(memory(app)),
        table::or_dash(watch(app).to_owned()),
        table::or_dash(first_line(app.reason.as_deref().unwrap_or_default())),
    ]
}

/// CPU use of the workers in percent of a core, as far as it is known.
fn cpu(app: &AppStatus) -> Option<f64> {
    table::total(app.workers.iter().map(|worker| worker.cpu_percent.map(f64::from)))
}

/// Bytes of memory of the workers, as far as they are known.
fn memory(app: &AppStatus) -> Option<f64> {
    table::total(app.workers.iter().map(|worker| worker.rss_bytes.map(|rss| rss as f64)))
}

/// Whether the files of the app are watched.
fn watch(app: &AppStatus) -> &'static str {
    match &app.watch {
        None => "",
        Some(watch) if watch.problem.is_some() => "partly",
        Some(_) => "yes",
    }
}

/// The first line of a reason, at most [`MAX_REASON`] characters of it, and whole parts of the
/// sentence if it has some.
fn first_line(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or_default();
    match line.char_indices().nth(MAX_REASON) {
        Some((at, _)) => match line[..at].rfind("; ") {
            Some(end) => line[..end].to_owned(),
            None => format!("{}...", &line[..at]),
        },
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;
    use crate::cli::targets::fake_primary as fake;
    use ipc::control::{Status, WatchStatus, WorkerStatus};

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
        let text = apps_table(&[app()], &[], None, false);
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split("  ").filter(|w| !w.is_empty()).collect()).collect();
        assert_eq!(lines[0].len(), 10);
        let words: Vec<&str> = lines[1].iter().map(|word| word.trim()).collect();
        let expected =
            ["web", "degraded", "1/2", "2", "-", "0", "3h 12m", "12%", "3.5M", "slot 1 waits"];
        assert_eq!(words, expected);
        assert!(text.is_ascii(), "{text}");
        let in_group = AppStatus { namespace: Some("shop".to_owned()), ..app() };
        let text = apps_table(&[app(), in_group], &[], None, false);
        let column = |line: &str| line.split_whitespace().nth(1).unwrap().to_owned();
        let columns: Vec<String> = text.lines().map(column).collect();
        assert_eq!(columns, ["namespace", "-", "shop"]);
    }

    #[test]
    fn a_column_says_which_apps_are_watched() {
        let problem = Some("no watches left".to_owned());
        let partly = WatchStatus { folders: Some(1), problem };
        let apps = [None, Some(WatchStatus::default()), Some(partly)].map(|watch| AppStatus {
            watch,
            reason: None,
            ..app()
        });
        let text = apps_table(&apps, &["name".to_owned(), "watch".to_owned()], None, false);
        let last = |line: &str| line.split_whitespace().last().unwrap().to_owned();
        let column: Vec<String> = text.lines().map(last).collect();
        assert_eq!(column, ["watch", "-", "yes", "partly"]);
        assert!(!apps_table(&apps[..1], &[], None, false).contains("watch"));
        assert!(apps_table(&apps, &[], None, false).contains("watch"));
    }

    #[test]
    fn columns_may_be_chosen() {
        let format = ["ready", "name", "restarts"].map(str::to_owned);
        assert_eq!(tab_separated(&[app(), app()], &format), "1/2\tweb\t0\n1/2\tweb\t0");
        let text = apps_table(&[app()], &format, Some(40), false);
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(lines, [["ready", "name", "restarts"], ["1/2", "web", "0"]]);
        assert!(parse::<Args>(&["--format", "name,colour"]).is_err());
        assert_eq!(parse::<Args>(&["--format", "name,mem"]).unwrap().format, ["name", "mem"]);
    }

    #[test]
    fn many_listeners_are_counted() {
        let mut app = app();
        let listener = |port| ipc::control::ListenerStatus {
            address: format!("127.0.0.1:{port}"),
            ..ipc::control::ListenerStatus::default()
        };
        app.listeners = (8000..8150).map(listener).collect();
        let text = apps_table(&[app], &[], None, false);
        assert!(text.contains("127.0.0.1:8002 and 147 more"), "{text}");
        assert!(text.lines().all(|line| line.len() < 200), "{text}");
    }

    #[test]
    fn a_narrow_terminal_is_kept_to() {
        let mut app = app();
        app.reason = Some("a long reason ".repeat(20));
        let text = apps_table(&[app], &[], Some(80), false);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        let header = text.lines().next().unwrap();
        assert_eq!(header.split_whitespace().count(), 6, "{header}");
    }

    #[test]
    fn colours_say_what_needs_attention() {
        let text = apps_table(&[app()], &[], Some(120), true);
        assert!(text.contains("\u{1b}[") && text.contains("degraded"), "{text:?}");
        assert!(!apps_table(&[app()], &[], Some(120), false).contains('\u{1b}'));
    }

    #[test]
    fn the_order_of_apps() {
        let named = |name: &str, status| AppStatus {
            restarts: name.len() as u64,
            ..fake::status(name, status)
        };
        let all = [
            named("a", Status::Ready),
            named("bb", Status::Errored),
            named("ccc", Status::Stopped),
            named("dddd", Status::Reloading),
        ];
        for (by, expected) in [
            (Column::Name, ["a", "bb", "ccc", "dddd"]),
            (Column::Status, ["bb", "dddd", "a", "ccc"]),
            (Column::Restarts, ["dddd", "ccc", "bb", "a"]),
            (Column::Mem, ["a", "bb", "ccc", "dddd"]),
        ] {
            let mut apps = all.clone();
            sort(&mut apps, by);
            let names: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
            assert_eq!(names, expected, "{by:?}");
        }
        assert!(totals(&all).starts_with("4 apps: 1 errored, 1 ready, 1 reloading, 1 stopped; "));
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(first_line(&"x".repeat(101)).len(), 103);
        assert_eq!(first_line("one\ntwo"), "one");
        assert_eq!(first_line(&format!("one; two; {}", "x".repeat(100))), "one; two");
    }
}
