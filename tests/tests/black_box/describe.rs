//! `describe`: the sections of its text, also on a narrow terminal, and the same facts as JSON.

use std::time::Duration;

use nix::sys::signal::Signal;
use tests::{Home, Port, Pty, fixtures, process, wait_until};

const SOON: Duration = Duration::from_secs(30);

const KEYS: &str = "instances = 2\nmin_uptime = \"100ms\"\nmax_memory = \"900M\"\n\
    cron_restart = \"0 4 * * *\"\ndrain_timeout = \"7s\"\nreadiness = \"tcp\"\n\
    env = { TOKEN = \"hunter2\", EMPTY = \"\" }\n";

/// An app with some keys set, one of whose workers died once.
fn start(port: &Port) -> Option<Home> {
    let home = tests::home!();
    let command = fixtures::pid_server(port)?;
    home.run(&["start", &home.config("web", &command, KEYS)]).ok();
    let victim = home.pids("web")[0];
    process::kill(victim, Signal::SIGKILL);
    home.wait_app("web", "a new worker", SOON, |app| app.ready == 2 && app.restarts == 1);
    Some(home)
}

/// The sections by their headings, without the remarks in brackets behind those.
fn sections(text: &str) -> Vec<(&str, &str)> {
    let with_heading = text.split("\n\n").filter_map(|section| section.split_once('\n'));
    with_heading.map(|(head, rest)| (head.split(" (").next().unwrap_or(head), rest)).collect()
}

#[track_caller]
fn has_all_facts(text: &str, port: &Port) {
    let sections = sections(text);
    let headings: Vec<&str> = sections.iter().map(|(heading, _)| *heading).collect();
    let expected = [
        "web",
        "deployment",
        "workers",
        "serving",
        "settings",
        "logs",
        "environment",
        "recent events",
    ];
    assert_eq!(headings, expected, "{text}");
    let port = port.to_string();
    for (heading, words) in [
        ("web", &["status ready", "pid_server.py"][..]),
        ("deployment", &["generation 1", "2 of 2 ready", "restarts 1", "next reload"]),
        ("workers", &["slot", "contract", "intercept", "signal SIGKILL"]),
        ("serving", &[&port, "drain 7s at most, then SIGTERM", "by the kernel: "]),
        ("settings", &["max_memory 900M", "cron_restart 0 4 * * *", "readiness tcp"]),
        ("logs", &["web/out.log", "web/err.log"]),
        ("environment", &["EMPTY, TOKEN"]),
        ("recent events", &["slot 0: ", "SIGKILL"]),
    ] {
        let found = sections.iter().find(|(name, _)| *name == heading);
        let content = found.map(|(_, content)| *content).unwrap_or_default();
        // The longest label decides where the values stand.
        let content = content.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            assert!(content.contains(word), "{word} is not in {heading} of\n{text}");
        }
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn sections_have_all_facts_and_json_has_them_too() {
    let port = Port::new();
    let Some(home) = start(&port) else { return };
    let text = home.run(&["describe", "web"]).ok().stdout;
    has_all_facts(&text, &port);
    let json = home.run(&["describe", "web", "--json"]).ok().json();
    let app = &json[0];
    assert_eq!(app["settings"]["max_memory"], "900M", "{app:#}");
    assert_eq!((&app["settings"]["drain_timeout"], &app["restarts"]), (&"7s".into(), &1.into()));
    assert_eq!(app["environment"]["default"], serde_json::json!(["EMPTY", "TOKEN"]));
    let changed = app["changed"].as_array().expect("an array");
    assert!(changed.contains(&"cron_restart".into()), "{app:#}");
    let events = app["events"].as_array().expect("an array");
    assert!(events.iter().any(|event| event["event"] == "worker-failed"), "{app:#}");
    assert!(!json.to_string().contains("hunter2"), "{app:#}");
}

#[test]
fn a_narrow_terminal_is_kept_to() {
    let port = Port::new();
    let Some(home) = start(&port) else { return };
    let mut command = home.command();
    command.args(["describe", "web"]);
    let mut screen = Pty::start(&command, (80, 80));
    assert!(screen.end(SOON).success());
    let text = screen.shows(&["recent events"], SOON);
    // The whole text has come when its last section has its lines.
    let text = wait_until("the last line", SOON, || {
        let now = screen.text();
        now.trim_end().ends_with(text.trim_end()).then_some(now)
    });
    assert!(text.contains("slot  contract   restarts  last exit"), "{text}");
    // A terminal would go on in the next line, at its first column, where a line is too long.
    let headings = ["web", "deployment", "workers", "serving", "settings", "logs"];
    let headings = [&headings[..], &["environment", "recent events"]].concat();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("  ")) {
        let is_heading = headings.iter().any(|heading| line.starts_with(heading));
        assert!(is_heading || line.starts_with('/'), "{line:?} is not indented in\n{text}");
    }
}

/// What a primary that hangs was told is on disk.
#[test]
fn an_app_that_hangs_is_described_with_its_settings() {
    let port = Port::new();
    let Some(home) = start(&port) else { return };
    let primary = home.app("web").primary_pid;
    process::kill(primary, Signal::SIGSTOP);
    let text = home.run(&["describe", "web"]).ok().stdout;
    process::kill(primary, Signal::SIGCONT);
    for words in ["status      unresponsive", "max_memory ", "900M", "EMPTY, TOKEN"] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}
