//! Round-robin is exact: after any number of connections two slots differ by at most one, in the
//! kernel engine for a server of any language and in the primary engine for Node. This also holds
//! across a reload, and across a SIGKILL among the slots that live.

use std::collections::BTreeMap;
use std::time::Duration;

use ipc::control::{NoticeKind, Request};
use nix::sys::signal::Signal;
use tests::fixtures::Kind;
use tests::slot_counts::{SlotCounts, spread};
use tests::{Home, Load, Port, Tally, process};

const SOON: Duration = Duration::from_secs(20);
const CONNECTIONS: u64 = 10_000;

/// Starts an app and checks that it uses this engine.
fn start(kind: Kind, engine: &str, workers: u16) -> Option<(Home, Port)> {
    if engine == "kernel" && !tests::fixtures::need_root("have exact round-robin in the kernel") {
        return None;
    }
    let (home, port) = (tests::home!(), Port::new());
    let command = kind.command(&home, port.number())?;
    let workers = workers.to_string();
    let options = [
        "-i",
        &workers,
        "--balance",
        "round-robin",
        "--engine",
        engine,
        "--min-uptime",
        "300ms",
        "--observe",
        "300ms",
    ];
    home.start("web", &options, &command).ok();
    let app = home.app("web");
    assert_eq!((app.engine.as_str(), app.notes.len()), (engine, 0), "{app:#?}");
    Some((home, port))
}

fn connect(port: &Port, connections: u64) -> Tally {
    let mut load = Load::new(port.v4());
    load.clients = 4;
    load.requests = connections;
    load.run()
}

#[track_caller]
fn even(what: &str, counts: &BTreeMap<u16, u64>, slots: usize) {
    println!("{what}: {counts:?}");
    assert_eq!(counts.len(), slots, "{what}: {counts:?}");
    assert!(spread(counts.values()) <= 1, "{what} is not even: {counts:?}");
}

/// Makes many connections, and compares what `list --json` counted.
fn many(kind: Kind, engine: &str, workers: u16) {
    let _exclusive = tests::exclusive();
    let Some((home, port)) = start(kind, engine, workers) else { return };
    let what = format!("{kind:?}, engine {engine}, {workers} workers");
    let tally = connect(&port, CONNECTIONS).nothing_lost(&what);
    even(&what, &SlotCounts::new(&home, "web").count(&tally), usize::from(workers));
    let [app] = home.list().try_into().expect("one app");
    for worker in &app.workers {
        let answered = worker.pid.and_then(|pid| tally.by_pid.get(&pid)).copied();
        assert_eq!(worker.accepted, answered, "{what}: list --json counts: {app:#?}");
    }
}

/// Makes connections while every worker is replaced.
fn across_a_reload(kind: Kind, engine: &str) {
    let _exclusive = tests::exclusive();
    let Some((home, port)) = start(kind, engine, 3) else { return };
    let mut counts = SlotCounts::new(&home, "web");
    let load = Load::new(port.v4());
    let load = Load { clients: 4, ..load }.start();
    load.warm(500);
    home.run(&["reload", "web"]).ok();
    counts.look(&home, "web");
    load.more(500);
    let what = format!("{kind:?}, engine {engine}, across a reload");
    let tally = load.stop().nothing_lost(&what);
    assert_eq!(tally.by_pid.len(), 6, "{tally}");
    even(&what, &counts.count(&tally), 3);
}

/// All slots are even before and after the death of a worker. While it is missing, the other slots
/// are even, and no connection is lost but those of the dead worker.
fn across_a_kill(kind: Kind, engine: &str) {
    let _exclusive = tests::exclusive();
    let Some((home, port)) = start(kind, engine, 3) else { return };
    let mut counts = SlotCounts::new(&home, "web");
    let what = format!("{kind:?}, engine {engine}");
    let before = connect(&port, 1000).nothing_lost(&what);
    even(&format!("{what}, before a kill"), &counts.count(&before), 3);

    let mut notices = home.ask("web", &Request::Subscribe);
    // No client is connected now.
    process::kill(home.pids("web")[1], Signal::SIGKILL);
    let load = Load::new(port.v4());
    let load = Load { clients: 4, ..load }.start();
    notices.notice_of(NoticeKind::WorkerReady, SOON);
    load.more(1000);
    counts.look(&home, "web");
    let meanwhile = load.stop().nothing_lost(&format!("{what}, across a kill"));
    let meanwhile = counts.count(&meanwhile);
    println!("{what}, across a kill: {meanwhile:?}");
    // One for each of the two changes of the order, and one for where it stopped.
    assert!(meanwhile[&0].abs_diff(meanwhile[&2]) <= 3, "{what}: {meanwhile:?}");

    let after = connect(&port, 1000).nothing_lost(&what);
    even(&format!("{what}, after a kill"), &counts.count(&after), 3);
}

macro_rules! engines {
    ($($name:ident: $kind:ident, $engine:literal;)*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn heavy_two_workers() {
                many(Kind::$kind, $engine, 2);
            }

            #[test]
            fn heavy_three_workers() {
                many(Kind::$kind, $engine, 3);
            }

            #[test]
            fn heavy_five_workers() {
                many(Kind::$kind, $engine, 5);
            }

            #[test]
            fn heavy_a_reload() {
                across_a_reload(Kind::$kind, $engine);
            }

            #[test]
            fn heavy_a_kill() {
                across_a_kill(Kind::$kind, $engine);
            }
        })*
    };
}

engines! {
    go_by_the_kernel: Go, "kernel";
    node_by_the_kernel: Node, "kernel";
    node_by_the_primary: Node, "primary";
}
