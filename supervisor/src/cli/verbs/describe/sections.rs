//! The sections about an app.

use ipc::control::{
    AppStatus, BalanceStatus, ListenerStatus, Notice, PoolStatus, ShareStatus, WatchStatus,
};
use jiff::tz::TimeZone;
use serde_json::Value;

use super::description::Description;
use super::workers;
use crate::cli::args::when;
use crate::cli::output::tone::Tone;
use crate::cli::output::{self, table};
use crate::cli::sheet::{Row, Section};
use crate::cli::watch::plural;

/// Keys that the other sections show.
const SHOWN_ELSEWHERE: [&str; 9] = [
    "name",
    "command",
    "cwd",
    "instances",
    "namespace",
    "balance",
    "listen",
    "drain_timeout",
    "kill_timeout",
];

/// All sections, those without anything to show included.
pub(super) fn of(one: &Description, width: Option<u16>, zone: &TimeZone) -> Vec<Section> {
    let app = &one.status;
    vec![
        Section { heading: app.name.clone(), rows: identity(one) },
        Section { heading: "deployment".to_owned(), rows: deployment(app, zone) },
        workers::section(app, width),
        Section { heading: "serving".to_owned(), rows: serving(one) },
        Section {
            heading: "settings (all others have their defaults)".to_owned(),
            rows: settings(one),
        },
        Section { heading: "logs".to_owned(), rows: logs(app) },
        Section {
            heading: format!("environment (values: supervisor env {} --show)", app.name),
            rows: environment(one),
        },
        Section {
            heading: format!("recent events (more: supervisor events {} --last 100)", app.name),
            rows: events(one, zone),
        },
    ]
}

/// What it is, what runs, and how it is.
fn identity(one: &Description) -> Vec<Row> {
    let app = &one.status;
    let word = app.status.word().to_owned();
    let mut rows = vec![Row::Toned("status".to_owned(), word, Tone::of(app.status))];
    rows.extend(app.reason.iter().map(|reason| Row::pair("reason", reason)));
    rows.extend(app.notes.iter().map(|note| Row::pair("note", note)));
    rows.extend(app.namespace.iter().map(|namespace| Row::pair("namespace", namespace)));
    rows.push(Row::pair("command", app.command.join(" ")));
    rows.push(Row::pair("folder", &app.cwd));
    rows.extend(app.source.iter().map(|source| Row::pair("from", source)));
    if !one.flags.is_empty() {
        rows.push(Row::pair("and", format!("{}, from the command line", one.flags.join(", "))));
    }
    let replaced = match app.primary_deaths {
        0 => String::new(),
        1 => ", replaced once after it died".to_owned(),
        times => format!(", replaced {times} times after it died"),
    };
    let up = table::uptime(app.uptime_ms);
    let AppStatus { primary_pid, version, .. } = app;
    let primary = format!("pid {primary_pid}, version {version}, up {up}{replaced}");
    rows.push(Row::pair("primary", primary));
    rows.extend(app.keeper_pid.iter().map(|pid| Row::pair("keeper", format!("pid {pid}"))));
    rows
}

/// The code that runs, how many workers of it, and what was and will be replaced.
fn deployment(app: &AppStatus, zone: &TimeZone) -> Vec<Row> {
    let mut rows = vec![Row::pair("generation", app.generation.to_string())];
    rows.extend(app.last_reload.iter().map(|last| Row::pair("last reload", last)));
    rows.extend(app.next_restart_unix_ms.map(|unix_ms| {
        let next = when::formatted(unix_ms, zone, "%Y-%m-%d %H:%M:%S %:z");
        Row::pair("next reload", next)
    }));
    rows.extend(app.watch.as_ref().map(|status| Row::pair("watch", watch(status))));
    let AppStatus { ready, wanted, wanted_because, .. } = app;
    rows.push(Row::pair("workers", format!("{ready} of {wanted} ready ({wanted_because})")));
    for pool in app.pools.iter().filter(|_| app.pools.len() > 1) {
        let PoolStatus { name, generation, wanted, ready, first_slot, .. } = pool;
        let command = pool.command.join(" ");
        let what =
            format!("{ready} of {wanted} ready, generation {generation}, slots from {first_slot}");
        rows.push(Row::pair("pool", format!("{name}: {what}: {command}")));
    }
    let recycled = match app.recycles {
        0 => String::new(),
        times => format!(", and {times} recycled"),
    };
    rows.push(Row::pair("restarts", format!("{}{recycled}", app.restarts)));
    rows
}

/// `12 folders`, and why not everything is watched.
fn watch(WatchStatus { folders, problem }: &WatchStatus) -> String {
    let folders = folders.map_or_else(|| "begins".to_owned(), |count| counted(count, "folder"));
    match problem {
        None => folders,
        Some(problem) => format!("{folders}; {problem}"),
    }
}

/// How connections come to the workers, and how a worker is taken out.
fn serving(one: &Description) -> Vec<Row> {
    let mut rows = vec![Row::pair("balance", word(&one.status.balance))];
    let value = |key| one.settings.get(key).map(plain);
    if let (Some(drain), Some(signal), Some(kill)) =
        (value("drain_timeout"), value("stop_signal"), value("kill_timeout"))
    {
        let drain = format!("{drain} at most, then SIG{signal}, and SIGKILL {kill} later");
        rows.push(Row::pair("drain", drain));
    }
    for one in &one.status.listeners {
        let labels = std::iter::once("listener").chain(std::iter::repeat(""));
        let lines = labels.zip(listener(one));
        rows.extend(lines.map(|(label, line)| Row::pair(label, line)));
    }
    rows
}

/// The lines about a listener.
fn listener(listener: &ListenerStatus) -> Vec<String> {
    let name = listener.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let origin = if listener.configured { "configured" } else { "asked for by a worker" };
    let unserved = if listener.slots.is_empty() { ", no slot gets connections" } else { "" };
    let sockets = counted(listener.sockets, "socket");
    let mut lines = vec![format!(
        "{}{name}, {origin}, {sockets}{unserved}, backlog {}",
        listener.address, listener.backlog
    )];
    if let Some(balance) = &listener.balance {
        lines.push(format!("{} by the {}: {}", word(balance), listener.engine, listener.why));
    }
    lines.extend(listener.shares.iter().map(|share| {
        let given = share.given.map(|given| format!("{given} given, ")).unwrap_or_default();
        let ShareStatus { slot, percent, backlog, .. } = share;
        format!("slot {slot}: {percent:.0} % of new connections, {given}{backlog} waiting")
    }));
    lines
}

fn counted(count: u32, one: &str) -> String {
    plural(usize::try_from(count).unwrap_or(usize::MAX), one)
}

fn word(balance: &BalanceStatus) -> String {
    let value = serde_json::to_value(balance).ok();
    value.as_ref().and_then(|word| word.as_str()).unwrap_or("unknown").to_owned()
}

/// What somebody set, with the values in effect.
fn settings(one: &Description) -> Vec<Row> {
    let keys = one.changed.iter().filter(|key| !SHOWN_ELSEWHERE.contains(key));
    keys.filter_map(|key| Some(Row::pair(*key, plain(one.settings.get(key)?)))).collect()
}

/// A text without its quotation marks, everything else as in JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn logs(app: &AppStatus) -> Vec<Row> {
    match app.logs.as_slice() {
        [out, err] if out != err => vec![Row::pair("out", out), Row::pair("err", err)],
        logs => logs.iter().map(|log| Row::pair("out and err", log)).collect(),
    }
}

fn environment(one: &Description) -> Vec<Row> {
    match one.environment.iter().collect::<Vec<_>>().as_slice() {
        [(pool, names)] if *pool == "default" => vec![Row::Line(names.join(", "))],
        pools => pools.iter().map(|(pool, names)| Row::pair(*pool, names.join(", "))).collect(),
    }
}

fn events(one: &Description, zone: &TimeZone) -> Vec<Row> {
    let row = |event: &Notice| {
        let time = when::formatted(event.unix_ms, zone, "%Y-%m-%d %H:%M:%S");
        Row::pair(time, output::one_line(event))
    };
    one.events.iter().map(row).collect()
}
