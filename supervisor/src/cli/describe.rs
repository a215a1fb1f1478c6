//! `describe`: all that is known about an app, for people.

use std::fmt::Write;

use config::spec::Balance;
use ipc::control::{AppStatus, ListenerStatus, PoolStatus, ShareStatus};

use super::args::DescribeArgs;
use super::exit::{Exit, Failure};
use super::output;
use super::overrides;
use super::probe;
use super::targets::Targets;
use super::{Session, list, table};

pub(super) fn run(args: &DescribeArgs, session: &mut Session) -> Result<Exit, Failure> {
    let targets = Targets::resolve(session, &args.names)?;
    let mut exit = Exit::Done;
    let mut apps = Vec::new();
    for (name, looked) in targets.names.iter().zip(list::look_at(&session.home, &targets.names)) {
        match looked {
            Ok(Some(app)) => apps.push(app),
            Ok(None) if targets.all => {}
            Ok(None) => {
                let failure = probe::no_such_app(name);
                output::complain(&failure);
                exit = exit.or_worse(failure.exit);
            }
            Err(failure) => {
                output::complain(&failure);
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
            Some(_) => overrides::flags(session, &app.name),
            None => Vec::new(),
        };
        let text = text(app, &flags, session.out.width());
        session.out.bytes(text.as_bytes());
    }
    Ok(exit)
}

/// `flags`: what goes before the keys of its file.
fn text(app: &AppStatus, flags: &[String], width: Option<u16>) -> String {
    let mut lines: Vec<(&str, String)> = vec![("status", app.status.word().into())];
    lines.extend(app.reason.iter().map(|reason| ("reason", reason.clone())));
    lines.push(("command", app.command.join(" ")));
    lines.push(("folder", app.cwd.clone()));
    lines.extend(app.source.iter().map(|source| ("from", source.clone())));
    if !flags.is_empty() {
        lines.push(("and", format!("{}, said on the command line", flags.join(", "))));
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
    lines.push(("restarts", app.restarts.to_string()));
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
        for line in
            table::of_workers(&app.workers, pools, width.map(|width| width.saturating_sub(2)))
                .lines()
        {
            let _ = writeln!(text, "  {line}");
        }
    }
    for worker in &app.workers {
        let said = worker.status_text.as_ref().map(|said| format!("says: {said}"));
        for more in worker.reason.iter().chain(said.as_ref()) {
            let _ = writeln!(text, "  slot {}: {more}", worker.slot);
        }
    }
    text
}

/// Several lines, below each other.
fn listener(listener: &ListenerStatus) -> Vec<String> {
    let name = listener.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let origin = if listener.configured { "configured" } else { "asked for by a worker" };
    let nobody = if listener.slots.is_empty() { ", no slot gets connections" } else { "" };
    let mut lines = vec![format!(
        "{}{name}, {origin}, {} sockets{nobody}, backlog {}",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::{Record, RecordedWorker};
    use config::spec::AppSpec;
    use ipc::control::{Contract, Status};

    #[test]
    fn everything_is_said() {
        let mut spec = AppSpec::new("web", vec!["node".into(), "app.js".into()], "/srv".into());
        spec.env.insert("TOKEN".into(), "secret".into());
        spec.source = Some("/srv/supervisor.toml".into());
        let worker = RecordedWorker { pid: 12, start_time: 1, slot: 0, generation: 2 };
        let record = Record { primary_pid: 9, workers: vec![worker], spec };
        let mut app = probe::from_record("web", &record, Status::Errored, "it always exits");
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
        let text = text(&app, &["--env A".to_owned()], None);
        for expected in [
            "web\n  status      errored\n  reason      it always exits\n",
            "  command     node app.js\n",
            "  from        /srv/supervisor.toml\n  and         --env A, said on the command line\n",
            "[::]:8000, asked for by a worker, 1 sockets, backlog 3\n",
            "            hash by the kernel: turns need CAP_BPF\n",
            "            slot 0: 100 % of new connections, 7 given, 3 waiting\n",
            "intercept+notify",
            "  slot 0: exit code 1\n  slot 0: says: warming up\n",
        ] {
            assert!(text.contains(expected), "{expected:?} in\n{text}");
        }
        assert!(!text.contains("secret"));
    }
}
