//! `describe`: prints everything about an app: listeners, workers, contracts and reasons.

use std::fmt::Write;

use config::spec::Balance;
use ipc::control::{
    AppStatus, Contract, ListenerStatus, PoolStatus, ShareStatus, WatchStatus, WorkerStatus,
};
use jiff::tz::TimeZone;

use crate::cli::args::when;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, table};
use crate::cli::replace::overrides;
use crate::cli::session::Session;
use crate::cli::targets::{Targets, probe};

/// Show everything about an app: listeners, workers, contracts, reasons.
#[derive(Debug, clap::Args)]
#[command(visible_alias = "show", aliases = ["desc", "info"])]
pub(crate) struct Args {
    /// Which apps.
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// Print an array of apps as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let targets = Targets::resolve(session, &args.names)?;
    let mut exit = Exit::Done;
    let mut apps = Vec::new();
    let statuses = probe::statuses(&session.home, &targets.names);
    for (name, status) in targets.names.iter().zip(statuses) {
        match status {
            Ok(Some(app)) => apps.push(app),
            Ok(None) if targets.all => {}
            Ok(None) => {
                let failure = probe::no_such_app(name);
                output::report(&failure);
                exit = exit.or_worse(failure.exit);
            }
            Err(failure) => {
                output::report(&failure);
                exit = exit.or_worse(failure.exit);
            }
        }
    }
    if args.json {
        session.out.json(&apps)?;
        return Ok(exit);
    }
    for (at, app) in apps.iter().enumerate() {
        if at > 0 {
            session.out.line("");
        }
        let flags = match &app.source {
            Some(_) => overrides::flags(&session.home, &app.name),
            None => Vec::new(),
        };
        let text = text(app, &flags, session.out.width());
        session.out.bytes(text.as_bytes());
    }
    Ok(exit)
}

/// The text about one app. `flags` are the flags that override keys of its file.
fn text(app: &AppStatus, flags: &[String], width: Option<u16>) -> String {
    let mut lines: Vec<(&str, String)> = vec![("status", app.status.word().into())];
    lines.extend(app.reason.iter().map(|reason| ("reason", reason.clone())));
    lines.extend(app.namespace.iter().map(|namespace| ("namespace", namespace.clone())));
    lines.push(("command", app.command.join(" ")));
    lines.push(("folder", app.cwd.clone()));
    lines.extend(app.source.iter().map(|source| ("from", source.clone())));
    if !flags.is_empty() {
        lines.push(("and", format!("{}, from the command line", flags.join(", "))));
    }
    let up = table::uptime(app.uptime_ms);
    let replaced = match app.primary_deaths {
        0 => String::new(),
        1 => ", replaced once after it died".to_owned(),
        times => format!(", replaced {times} times after it died"),
    };
    let AppStatus { primary_pid, version, .. } = app;
    lines.push(("primary", format!("pid {primary_pid}, version {version}, up {up}{replaced}")));
    lines.extend(app.keeper_pid.iter().map(|pid| ("keeper", format!("pid {pid}"))));
    lines.push(("generation", app.generation.to_string()));
    lines.push((
        "workers",
        format!("{} of {} ready ({})", app.ready, app.wanted, app.wanted_because),
    ));
    for pool in app.pools.iter().filter(|_| app.pools.len() > 1) {
        let PoolStatus { name, generation, wanted, ready, first_slot, .. } = pool;
        let command = pool.command.join(" ");
        let what =
            format!("{ready} of {wanted} ready, generation {generation}, slots from {first_slot}");
        lines.push(("pool", format!("{name}: {what}: {command}")));
    }
    let recycled = match app.recycles {
        0 => String::new(),
        times => format!(", and {times} recycled"),
    };
    lines.push(("restarts", format!("{}{recycled}", app.restarts)));
    lines.extend(app.next_restart_unix_ms.map(|unix_ms| {
        let next = when::formatted(unix_ms, &TimeZone::system(), "%Y-%m-%d %H:%M:%S %:z");
        ("next reload", next)
    }));
    lines.extend(app.watch.as_ref().map(|status| ("watch", watch(status))));
    lines.extend(app.last_reload.iter().map(|last| ("last reload", last.clone())));
    lines.push(("balance", word(app.balance)));
    lines.extend(app.notes.iter().map(|note| ("note", note.clone())));
    for one in &app.listeners {
        let keys = std::iter::once("listener").chain(std::iter::repeat(""));
        lines.extend(keys.zip(listener(one)));
    }
    lines.extend(app.logs.iter().map(|log| ("log", log.clone())));

    let mut text = format!("{}\n", app.name);
    for (key, value) in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {key:<12}{value}");
    }
    if !app.workers.is_empty() {
        let pools = app.pools.len() > 1;
        let width = width.map(|width| width.saturating_sub(2));
        for line in workers_table(&app.workers, pools, width).lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    for worker in &app.workers {
        let status_text = worker.status_text.as_ref().map(|text| format!("says: {text}"));
        let own = (!worker.own_listeners.is_empty()).then(|| {
            let addresses = worker.own_listeners.join(", ");
            format!("listens on {addresses} with a socket of its own")
        });
        for line in worker.reason.iter().chain(&own).chain(status_text.as_ref()) {
            let _ = writeln!(text, "  slot {}: {line}", worker.slot);
        }
    }
    text
}

/// The lines about a listener.
fn listener(listener: &ListenerStatus) -> Vec<String> {
    let name = listener.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let origin = if listener.configured { "configured" } else { "asked for by a worker" };
    let unserved = if listener.slots.is_empty() { ", no slot gets connections" } else { "" };
    let mut lines = vec![format!(
        "{}{name}, {origin}, {} sockets{unserved}, backlog {}",
        listener.address, listener.sockets, listener.backlog
    )];
    if let Some(balance) = listener.balance {
        lines.push(format!("{} by the {}: {}", word(balance), listener.engine, listener.why));
    }
    lines.extend(listener.shares.iter().map(|share| {
        let given = share.given.map(|given| format!("{given} given, ")).unwrap_or_default();
        let ShareStatus { slot, percent, backlog, .. } = share;
        format!("slot {slot}: {percent:.0} % of new connections, {given}{backlog} waiting")
    }));
    lines
}

fn word(balance: Balance) -> String {
    let value = serde_json::to_value(balance).ok();
    value.as_ref().and_then(|word| word.as_str()).unwrap_or("unknown").to_owned()
}

/// The table of workers, with a column for the pool if the app has several.
fn workers_table(workers: &[WorkerStatus], pools: bool, width: Option<u16>) -> String {
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
            table::or_dash(contract_words(&worker.contract)),
            worker.restarts.to_string(),
            worker.uptime_ms.map_or_else(|| "-".to_owned(), table::uptime),
            table::percent(worker.cpu_percent.map(f64::from)),
            table::bytes(worker.rss_bytes.map(|rss| rss as f64)),
            number(worker.connections.map(u64::from)),
            number(worker.accepted),
            number(worker.backlog.map(u64::from)),
            table::or_dash(worker.last_exit.clone().unwrap_or_default()),
        ];
        if pools {
            row.insert(1, table::or_dash(worker.pool.clone().unwrap_or_default()));
        }
        row
    });
    table::table(&header, rows.collect(), width)
}

/// `intercept+notify`
fn contract_words(contracts: &[Contract]) -> String {
    contracts.iter().map(|contract| contract.word()).collect::<Vec<_>>().join("+")
}

/// `12 folders`, and why not everything is watched.
fn watch(WatchStatus { folders, problem }: &WatchStatus) -> String {
    let folders = match folders {
        None => "begins".to_owned(),
        Some(1) => "1 folder".to_owned(),
        Some(folders) => format!("{folders} folders"),
    };
    match problem {
        None => folders,
        Some(problem) => format!("{folders}; {problem}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::targets::{fake_primary as fake, recorded};
    use crate::home::{Record, RecordedWorker};
    use config::spec::AppSpec;
    use ipc::control::{Contract, Status};

    #[test]
    fn everything_is_shown() {
        let mut spec = AppSpec::new("web", vec!["node".into(), "app.js".into()], "/srv".into());
        spec.env.insert("TOKEN".into(), "secret".into());
        spec.source = Some("/srv/supervisor.toml".into());
        let worker = RecordedWorker { pid: 12, start_time: 1, slot: 0, generation: 2 };
        let record = Record::new(9, vec![worker], spec);
        let mut app = recorded::status("web", &record, Status::Errored, "it always exits");
        app.listeners.push(ListenerStatus {
            address: "[::]:8000".into(),
            name: None,
            configured: false,
            sockets: 1,
            slots: vec![0],
            backlog: 3,
            engine: "kernel".into(),
            balance: Some(Balance::Hash),
            why: "turns need CAP_BPF".into(),
            shares: vec![ShareStatus { slot: 0, percent: 100.0, given: Some(7), backlog: 3 }],
        });
        app.workers[0].reason = Some("exit code 1".into());
        app.workers[0].status_text = Some("warming up".into());
        app.workers[0].contract = vec![Contract::Intercept, Contract::Notify];
        app.workers[0].own_listeners = vec!["127.0.0.1:4711".into()];
        let text = text(&app, &["--env A".to_owned()], None);
        for expected in [
            "web\n  status      errored\n  reason      it always exits\n",
            "  command     node app.js\n",
            "  from        /srv/supervisor.toml\n  and         --env A, from the command line\n",
            "[::]:8000, asked for by a worker, 1 sockets, backlog 3\n",
            "            hash by the kernel: turns need CAP_BPF\n",
            "            slot 0: 100 % of new connections, 7 given, 3 waiting\n",
            "intercept+notify",
            "  slot 0: exit code 1\n  slot 0: listens on 127.0.0.1:4711 with a socket of its own\n",
            "  slot 0: says: warming up\n",
        ] {
            assert!(text.contains(expected), "{expected:?} in\n{text}");
        }
        assert!(!text.contains("secret"));
    }

    #[test]
    fn workers_in_columns() {
        let mut app = fake::status("web", Status::Ready);
        app.workers.push(WorkerStatus { slot: 1, ..app.workers[0].clone() });
        let text = workers_table(&app.workers, false, None);
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().nth(1).unwrap().starts_with("0     5"), "{text}");
    }
}
