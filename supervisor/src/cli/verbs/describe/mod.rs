//! `describe`: prints everything about an app, in sections.

mod description;
mod sections;
mod workers;

use config::spec::AppSpec;
use description::Description;
use ipc::control::{AppStatus, Status};
use jiff::tz::TimeZone;

use crate::cli::exit::{Exit, Failure};
use crate::cli::logs::events;
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::sheet;
use crate::cli::targets::{Targets, probe, running_spec};
use crate::home::Home;

/// Show everything about an app: workers, listeners, settings, logs, events.
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
            Ok(Some(status)) => {
                let spec = spec(&session.home, &status);
                // A member of `observers` may not read the folder of the logs.
                let kept = events::kept(&session.home, name).unwrap_or_default();
                apps.push(Description::new(status, spec.as_ref(), kept));
            }
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
    let (width, colours) = (session.out.width(), session.out.has_colours());
    for (at, app) in apps.iter().enumerate() {
        if at > 0 {
            session.out.line("");
        }
        let sections = sections::of(app, width, &TimeZone::system());
        session.out.bytes(sheet::text(&sections, width, colours).as_bytes());
    }
    Ok(exit)
}

/// What the app is set to: as its primary says, or else as the primary left it on disk.
fn spec(home: &Home, app: &AppStatus) -> Option<AppSpec> {
    let answers = !matches!(app.status, Status::Unresponsive | Status::Lost);
    let asked = answers.then(|| running_spec(home, &app.name).ok()).flatten();
    asked.or_else(|| home.read_record(&app.name).map(|record| record.spec))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use config::spec::{Balance, PoolSpec};
    use ipc::control::{Contract, ListenerStatus, Notice, NoticeKind, ShareStatus};

    use super::description::EVENTS;
    use super::*;
    use crate::cli::targets::recorded;
    use crate::home::{Record, RecordedWorker};

    fn spec() -> AppSpec {
        let mut spec = AppSpec::new("web", vec!["node".into(), "app.js".into()], "/srv".into());
        spec.env.insert("TOKEN".into(), "secret".into());
        spec.shared = Some("{\"key\":\"secret\"}".into());
        spec.source = Some("/srv/supervisor.toml".into());
        spec.restart.max_restarts = 3;
        spec.cron_restart = Some("0 4 * * *".into());
        let mut pool = PoolSpec::new("hash", vec!["hasher".into()]);
        pool.env.insert("ROUNDS".into(), "secret".into());
        spec.pools.push(pool);
        spec
    }

    fn described() -> Description {
        let worker = RecordedWorker { pid: 12, start_time: 1, slot: 0, generation: 2 };
        let record = Record::new(9, vec![worker], spec());
        let mut app = recorded::status("web", &record, Status::Errored, "it always exits");
        app.listeners.push(ListenerStatus {
            address: "[::]:8000".into(),
            name: None,
            configured: false,
            sockets: 1,
            slots: vec![0],
            backlog: 3,
            engine: "kernel".into(),
            balance: Some(Balance::Hash.into()),
            why: "turns need CAP_BPF".into(),
            shares: vec![ShareStatus { slot: 0, percent: 100.0, given: Some(7), backlog: 3 }],
        });
        app.logs = vec!["/logs/out.log".into(), "/logs/err.log".into()];
        app.workers[0].reason = Some("exit code 1".into());
        app.workers[0].status_text = Some("warming up".into());
        app.workers[0].contract = vec![Contract::Intercept, Contract::Notify];
        app.workers[0].own_listeners = vec!["127.0.0.1:4711".into()];
        let event = |kind, message: &str| Notice {
            unix_ms: 1_000_000_000_123,
            slot: Some(0),
            ..Notice::of_app(kind, message.to_owned())
        };
        let died = event(NoticeKind::WorkerFailed, "died");
        let mut events = vec![event(NoticeKind::WorkerFailed, "too old to be shown")];
        events.extend(vec![died; EVENTS]);
        events.push(event(NoticeKind::WorkerReady, "says nothing of the state"));
        let mut one = Description::new(app, Some(&record.spec), events);
        one.flags = vec!["--env A".to_owned()];
        one
    }

    #[test]
    fn everything_is_shown() {
        let text = sheet::text(&sections::of(&described(), None, &TimeZone::UTC), None, false);
        for expected in [
            "web\n  status      errored\n  reason      it always exits\n",
            "  command     node app.js\n",
            "  from        /srv/supervisor.toml\n  and         --env A, from the command line\n",
            "[::]:8000, asked for by a worker, 1 socket, backlog 3\n",
            "              hash by the kernel: turns need CAP_BPF\n",
            "              slot 0: 100 % of new connections, 7 given, 3 waiting\n",
            "intercept+notify",
            "  slot 0: exit code 1\n  slot 0: listens on 127.0.0.1:4711 with a socket of its own\n",
            "  slot 0: says: warming up\n",
            "  drain       30s at most, then SIGTERM, and SIGKILL 10s later",
            "settings (all others have their defaults)\n  max_restarts  3\n  cron_restart  0 4 * * *\n",
            "logs\n  out         /logs/out.log\n  err         /logs/err.log\n",
            "  default     TOKEN\n  hash        ROUNDS\n",
            "  2001-09-09 01:46:40  slot 0: died\n",
        ] {
            assert!(text.contains(expected), "{expected:?} in\n{text}");
        }
        assert!(!text.contains("secret") && !text.contains("too old"), "{text}");
        assert!(!text.contains("says nothing") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn eighty_columns_are_kept_to() {
        let mut one = described();
        one.status.command = vec!["serve".to_owned(); 40];
        let text = sheet::text(&sections::of(&one, Some(80), &TimeZone::UTC), Some(80), true);
        assert!(text.contains("\u{1b}["), "colours: {text:?}");
        let text = sheet::text(&sections::of(&one, Some(80), &TimeZone::UTC), Some(80), false);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("serve serve\n              serve"), "{text}");
    }

    #[test]
    fn json_has_the_same_facts_and_no_secret() {
        let json = serde_json::to_value(described()).unwrap();
        assert!(!json.to_string().contains("secret"), "{json:#}");
        assert_eq!((&json["name"], &json["flags"][0]), (&"web".into(), &"--env A".into()));
        let changed = ["name", "command", "cwd", "max_restarts", "cron_restart"];
        assert_eq!(json["changed"], serde_json::json!(changed));
        assert_eq!(json["settings"]["max_restarts"], 3);
        assert_eq!(json["settings"]["drain_timeout"], "30s");
        assert_eq!(
            json["environment"],
            serde_json::json!({"default": ["TOKEN"], "hash": ["ROUNDS"]})
        );
        assert_eq!(json["events"].as_array().map(Vec::len), Some(EVENTS));
    }

    #[test]
    fn an_app_whose_settings_are_unknown_is_shown_without_them() {
        let mut one = described();
        (one.settings, one.environment) = (BTreeMap::new(), BTreeMap::new());
        (one.changed, one.events) = (Vec::new(), Vec::new());
        let text = sheet::text(&sections::of(&one, None, &TimeZone::UTC), None, false);
        for absent in ["settings", "drain", "environment", "recent events"] {
            assert!(!text.contains(absent), "{absent} in\n{text}");
        }
    }
}
