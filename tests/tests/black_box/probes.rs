//! Probes reach the very worker. One whose readiness fails gets no new connections and lives on;
//! one whose liveness fails is replaced; no request is lost, and the neighbour serves.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ipc::control::{AppStatus, NoticeKind, Request, Status, WorkerState, WorkerStatus};
use ipc::worker_status::{Health, HealthVerdict};
use nix::sys::signal::Signal;
use tests::{Home, Load, Port, fixtures, process};

const SOON: Duration = Duration::from_secs(30);
/// Quick probes: a failure is seen within half a second.
const READINESS: [&str; 10] = [
    "--readiness",
    "http:/healthz",
    "--readiness-period",
    "50ms",
    "--readiness-timeout",
    "300ms",
    "--readiness-failures",
    "2",
    "--readiness-body",
    "well",
];

/// An app whose workers answer `/healthz` as its files say.
struct Probed {
    home: Home,
    port: Port,
    folder: PathBuf,
}

impl Probed {
    fn new(home: Home) -> Self {
        let folder = home.write("answers/none", "").with_file_name("");
        Self { home, port: Port::new(), folder }
    }

    fn python(&self) -> Option<Vec<String>> {
        let folder = self.folder.display().to_string();
        fixtures::python("probed.py", &[self.port.to_string(), folder])
    }

    fn node(&self) -> Option<Vec<String>> {
        let (script, folder) =
            (fixtures::file("node/probed.js"), self.folder.display().to_string());
        Some(vec![fixtures::need("node")?, script, self.port.to_string(), folder])
    }

    fn load(&self) -> tests::client::Running {
        Load { clients: 4, ..Load::new(self.port.v4()) }.start()
    }

    fn says(&self, name: &str, answer: &str) {
        // Renamed, so that no worker reads half of it.
        let draft = self.folder.join("draft");
        fs::write(&draft, answer).expect("write what it answers");
        fs::rename(draft, self.folder.join(name)).expect("put it in place");
    }

    fn is_well(&self, name: &str) {
        fs::remove_file(self.folder.join(name)).expect("remove what it answers");
    }

    fn wait(&self, what: &str, is_so: impl Fn(&AppStatus) -> bool) -> AppStatus {
        self.home.wait_app("web", what, SOON, is_so)
    }
}

fn readiness(app: &AppStatus, slot: usize) -> Health {
    app.workers[slot].readiness.clone().expect("it is probed")
}

fn is(app: &AppStatus, slot: usize, verdict: HealthVerdict) -> bool {
    readiness(app, slot).verdict == verdict
}

/// Every way to fail, one after the other, for slot 0; slot 1 serves.
fn every_failure(app: &Probed) {
    let load = app.load();
    let before = app.home.pids("web");
    for (answer, why) in [
        ("500", "HTTP status 500"),
        ("hang", "no answer within 300ms"),
        ("slow", "no answer within 300ms"),
        ("close", "it closed the connection without an answer"),
        ("body", "HTTP status 200, and its body does not contain \"well\""),
    ] {
        app.says("slot-0", answer);
        let fails = |status: &AppStatus| {
            assert!(is(status, 1, HealthVerdict::Passes), "{answer}: the neighbour: {status:#?}");
            // On a busy machine an answer may come too late before it comes as it is meant.
            let is_why = readiness(status, 0).reason.as_deref() == Some(why);
            status.listeners[0].slots == [1] && is_why
        };
        let status = app.wait(&format!("the worker gets no connections: {why}"), fails);
        assert_eq!((status.status, status.restarts), (Status::Degraded, 0), "{status:#?}");
        app.is_well("slot-0");
        app.wait("it gets connections again", |status| status.listeners[0].slots == [0, 1]);
    }
    load.stop().nothing_lost("while a worker was taken out and came back");
    assert_eq!(app.home.pids("web"), before, "nothing was replaced");
}

#[test]
fn readiness_takes_a_worker_out_with_the_kernel_engine() {
    let app = Probed::new(tests::home!());
    let Some(command) = app.python() else { return };
    app.home.start("web", &[&["-i", "2"], &READINESS[..]].concat(), &command).ok();
    every_failure(&app);
    let described = app.home.run(&["describe", "web"]).ok().stdout;
    let workers = described.split("\n\n").find(|section| section.starts_with("workers\n"));
    let workers = workers.expect("a section about the workers");
    assert!(!workers.contains("readiness"), "all is well again: {described}");
}

#[test]
fn readiness_takes_a_worker_out_with_the_primary_engine() {
    let app = Probed::new(tests::home!());
    let Some(command) = app.node() else { return };
    let options = [&["-i", "2", "--engine", "primary"], &READINESS[..]].concat();
    app.home.start("web", &options, &command).ok();
    every_failure(&app);
}

#[test]
fn readiness_takes_a_node_worker_out_with_the_kernel_engine() {
    let app = Probed::new(tests::home!());
    let Some(command) = app.node() else { return };
    let options = [&["-i", "2", "--engine", "kernel", "--balance", "sticky"], &READINESS[..]];
    app.home.start("web", &options.concat(), &command).ok();
    every_failure(&app);
}

#[test]
fn the_last_worker_serves_on_and_is_shown() {
    let app = Probed::new(tests::home!());
    let Some(command) = app.python() else { return };
    app.home.start("web", &[&["-i", "2"], &READINESS[..]].concat(), &command).ok();
    let load = app.load();
    for name in ["slot-0", "slot-1"] {
        app.says(name, "503");
    }
    let fail = |status: &AppStatus| (0..2).all(|slot| is(status, slot, HealthVerdict::Fails));
    let status = app.wait("both fail", fail);
    assert_eq!(status.listeners[0].slots.len(), 1, "one serves on: {status:#?}");
    let described = app.home.run(&["describe", "web"]).ok().stdout;
    assert!(described.contains("because no other worker does"), "{described}");
    assert!(described.contains("gets no new connections until readiness passes"), "{described}");
    let metrics = app.home.run(&["metrics", "web"]).ok().stdout;
    assert!(metrics.contains("supervisor_worker_readiness"), "{metrics}");
    load.stop().nothing_lost("while no worker was well");
}

#[test]
fn a_new_generation_that_is_not_well_is_rolled_back() {
    let app = Probed::new(tests::home!());
    let Some(command) = app.python() else { return };
    let options = [&["-i", "2", "--ready-timeout", "2s"], &READINESS[..]].concat();
    app.home.start("web", &options, &command).ok();
    app.says("generation-2", "503");
    let (load, before) = (app.load(), app.home.pids("web"));
    let reload = app.home.run(&["reload", "web"]).code(4);
    let why = "not ready within 2s: readiness has not passed: HTTP status 503";
    assert!(reload.stderr.contains(why), "{}", reload.stderr);
    assert_eq!(app.home.pids("web"), before, "the old generation serves");
    app.home.run(&["reload", "web"]).ok();
    load.stop().nothing_lost("while a reload was rolled back, and by another one");
}

#[test]
fn a_new_worker_that_fails_while_it_is_observed_is_rolled_back() {
    let app = Probed::new(tests::home!());
    let Some(command) = app.python() else { return };
    let options = [&["-i", "2", "--observe", "60s"], &READINESS[..]].concat();
    app.home.start("web", &options, &command).ok();
    let load = app.load();
    let reload = app.home.spawn(&["reload", "web"]);
    app.wait("the canary to serve", |status| {
        let new = |worker: &&WorkerStatus| worker.generation == 2;
        status.workers.iter().filter(new).any(|worker| worker.state == WorkerState::Ready)
            && status.workers.len() == 2
    });
    app.says("generation-2", "500");
    let outcome = reload.end(SOON).code(4);
    let why = "readiness failed 2 times in a row: HTTP status 500";
    assert!(outcome.stderr.contains(why), "{}", outcome.stderr);
    let app = app.wait("the old generation", |status| status.status == Status::Ready);
    assert!(app.workers.iter().all(|worker| worker.generation == 1), "{app:#?}");
    load.stop().nothing_lost("while a canary failed its probe");
}

#[test]
fn a_command_is_a_probe_of_its_slot() {
    let app = Probed::new(tests::home!());
    let Some(command) = app.python() else { return };
    let folder = app.folder.display();
    let probe = format!("command:sh -c 'test ! -e \"{folder}/bad-$SUPERVISOR_SLOT\"'");
    let options = ["-i", "2", "--readiness", &probe, "--readiness-period", "50ms"];
    app.home.start("web", &options, &command).ok();
    app.says("bad-1", "");
    let status = app.wait("slot 1 is out", |status| status.listeners[0].slots == [0]);
    let reason = readiness(&status, 1).reason;
    assert_eq!(reason.as_deref(), Some("\"sh\" ended with exit code 1"));
    app.is_well("bad-1");
    app.wait("slot 1 is back", |status| status.listeners[0].slots == [0, 1]);
}

#[test]
fn liveness_replaces_the_worker_and_loses_nothing() {
    let app = Probed::new(tests::home!());
    let Some(command) = app.python() else { return };
    let options = ["-i", "2", "--liveness", "http:/healthz", "--liveness-period", "50ms"];
    let more = ["--readiness", "tcp", "--liveness-failures", "2"];
    app.home.start("web", &[&options[..], &more].concat(), &command).ok();
    let mut notices = app.home.ask("web", &Request::Subscribe);
    let (load, before) = (app.load(), app.home.pids("web"));
    app.says(&format!("pid-{}", before[0]), "500");
    let notice = notices.notice_of(NoticeKind::WorkerRecycled, SOON);
    let said = "liveness failed 2 times in a row: HTTP status 500";
    assert!(notice.message.ends_with(said), "{notice:?}");
    let status = app.wait("the replacement", |status| {
        status.recycles == 1 && status.workers.len() == 2 && status.ready == 2
    });
    load.stop().nothing_lost("while a worker was replaced by its liveness");
    assert_eq!((status.restarts, status.status), (0, Status::Ready), "{status:#?}");
    let after = app.home.pids("web");
    assert!(!after.contains(&before[0]) && after.contains(&before[1]), "{before:?} {after:?}");
}

/// The process that probes.
fn prober(home: &Home) -> Option<u32> {
    let is_it = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"prober")
    };
    process::of_home(home.path()).into_iter().map(|process| process.pid).find(is_it)
}

#[test]
fn probes_go_on_when_the_process_that_probes_or_the_primary_dies() {
    let app = Probed::new(tests::home!());
    let Some(command) = app.python() else { return };
    app.home.start("web", &[&["-i", "2"], &READINESS[..]].concat(), &command).ok();
    let (load, before) = (app.load(), app.home.pids("web"));
    let first = prober(&app.home).expect("it runs");
    process::kill(first, Signal::SIGKILL);
    app.says("slot-0", "500");
    app.wait("it is seen", |status| status.listeners[0].slots == [1]);
    assert_ne!(prober(&app.home), Some(first), "another one probes");
    app.home.kill_primary("web", Signal::SIGKILL);
    app.is_well("slot-0");
    app.wait("it is seen again", |status| status.listeners[0].slots == [0, 1]);
    load.stop().nothing_lost("while both died");
    assert_eq!(app.home.pids("web"), before, "nothing was replaced");
    app.home.run(&["delete", "web"]).ok();
    assert_eq!(prober(&app.home), None, "it ends with the app");
}
