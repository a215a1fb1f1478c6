//! Which worker gets a connection. Sticky keeps a client in its slot through reloads and mostly
//! through scaling, hash spreads connections evenly, and shared leaves the choice to the workers.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipc::control::{NoticeKind, Request};
use nix::sys::signal::Signal;
use tests::fixtures::{self, Deploys};
use tests::http::Connection;
use tests::{Home, Load, Port, process, wait_until};

const SOON: Duration = Duration::from_secs(10);
const CLIENTS: u8 = 120;

fn start(options: &[&str]) -> Option<(Home, Port)> {
    let (home, port) = (tests::home!(), Port::new());
    let command = fixtures::pid_server(&port)?;
    home.start("web", options, &command).ok();
    Some((home, port))
}

/// The pid that answers each of many clients, which differ only in their address.
#[track_caller]
fn pids(port: &Port) -> BTreeMap<u8, u32> {
    let ask = |client: u8| {
        let own = IpAddr::V4(Ipv4Addr::new(127, 0, 1, client));
        let answer = Connection::open_from(own, port.v4(), SOON).and_then(|mut c| c.get("/", true));
        answer.expect("an answer").pid().expect("a pid")
    };
    (1..=CLIENTS).map(|client| (client, ask(client))).collect()
}

/// The slots of these pids.
fn slots_of(home: &Home, pids: &BTreeMap<u8, u32>) -> BTreeMap<u8, u16> {
    let of_pid: BTreeMap<u32, u16> =
        home.app("web").workers.iter().filter_map(|w| Some((w.pid?, w.slot))).collect();
    pids.iter().map(|(client, pid)| (*client, of_pid[pid])).collect()
}

/// The slot that answers each client, which must be the same at two requests.
#[track_caller]
fn slots(home: &Home, port: &Port) -> BTreeMap<u8, u16> {
    let (first, again) = (slots_of(home, &pids(port)), slots_of(home, &pids(port)));
    assert_eq!(first, again, "a client changed its slot for no reason");
    first
}

fn moved(before: &BTreeMap<u8, u16>, after: &BTreeMap<u8, u16>) -> usize {
    before.iter().filter(|(client, slot)| after[client] != **slot).count()
}

#[test]
fn sticky_keeps_clients_through_reloads_and_mostly_through_scaling() {
    let options = ["-i", "3", "--balance", "sticky", "--min-uptime", "300ms", "--observe", "300ms"];
    let Some((home, port)) = start(&options) else { return };
    let before = slots(&home, &port);
    for slot in 0..3 {
        let count = before.values().filter(|s| **s == slot).count();
        assert!((15..=75).contains(&count), "slot {slot} has {count} of {CLIENTS}");
    }
    home.run(&["reload", "web"]).ok();
    assert_eq!(moved(&before, &slots(&home, &port)), 0, "a reload moves no client");
    home.run(&["scale", "web", "4"]).ok();
    let after = slots(&home, &port);
    let count = moved(&before, &after);
    println!("scaling from 3 to 4 moved {count} of {CLIENTS} clients");
    assert!((10..=55).contains(&count), "about a quarter should move, not {count}");
    home.run(&["scale", "web", "3"]).ok();
    assert_eq!(moved(&before, &slots(&home, &port)), 0, "and back");
}

/// The slots that get connections.
fn steered(home: &Home) -> Vec<u16> {
    home.app("web").listeners[0].slots.clone()
}

#[test]
fn sticky_clients_wait_for_the_next_worker_of_their_slot() {
    let Some((home, port)) = start(&["-i", "3", "--balance", "sticky"]) else { return };
    let before = slots(&home, &port);
    for slot in [1, 2] {
        let mut notices = home.ask("web", &Request::Subscribe);
        process::kill(home.pids("web")[slot], Signal::SIGKILL);
        // Clients of the dead worker wait for the next one; the others do not notice.
        let meanwhile = pids(&port);
        notices.notice_of(NoticeKind::WorkerReady, SOON);
        assert_eq!(moved(&before, &slots_of(&home, &meanwhile)), 0, "while slot {slot} was empty");
        assert_eq!(moved(&before, &slots(&home, &port)), 0, "after slot {slot} came back");
    }
}

#[test]
fn sticky_clients_move_when_their_slot_stays_empty() {
    let (home, port) = (tests::home!(), Port::new());
    let mut deploys = Deploys::new(&home);
    deploys.put("good", "pid_server.py");
    let Some(command) = deploys.command(&[&port]) else { return };
    let options = ["-i", "3", "--balance", "sticky", "--sticky-wait", "1500ms"];
    home.start("web", &options, &command).ok();
    let before = slots(&home, &port);
    // The next worker lives but never listens.
    deploys.put("hangs", "never_listens.py");
    let mut notices = home.ask("web", &Request::Subscribe);
    process::kill(home.pids("web")[1], Signal::SIGKILL);
    notices.notice_of(NoticeKind::WorkerStarted, SOON);
    assert_eq!(steered(&home), [0, 1, 2], "its clients wait");
    let began = Instant::now();
    wait_until("its clients to be moved", SOON, || (steered(&home) == [0, 2]).then_some(()));
    assert!(began.elapsed() >= Duration::from_secs(1), "too early: {:?}", began.elapsed());
    let after = slots(&home, &port);
    assert!(after.values().all(|slot| *slot != 1));
    let of_others = before.iter().filter(|(_, slot)| **slot != 1);
    assert!(of_others.clone().all(|(client, slot)| after[client] == *slot), "others were moved");

    deploys.put("good", "pid_server.py");
    home.run(&["signal", "web", "KILL", "--slot", "1"]).ok();
    home.wait_app("web", "the slot to be served again", SOON, |app| app.ready == 3);
    assert_eq!(moved(&before, &slots(&home, &port)), 0, "and back");
}

#[test]
fn hash_spreads_connections_evenly() {
    let Some((_home, port)) = start(&["-i", "4", "--balance", "hash"]) else { return };
    let mut load = Load::new(port.v4());
    load.requests = 2000;
    let tally = load.run().nothing_lost("hash");
    assert_eq!(tally.by_pid.len(), 4);
    assert!(tally.by_pid.values().all(|n| (300..=700).contains(n)), "{tally}");
}

#[test]
fn heavy_shared_is_reloaded_without_loss() {
    let _exclusive = tests::exclusive();
    let options = ["-i", "2", "--balance", "shared", "--min-uptime", "300ms", "--observe", "300ms"];
    let Some((home, port)) = start(&options) else { return };
    let load = Load::new(port.v4()).start();
    load.warm(100);
    for _ in 0..3 {
        home.run(&["reload", "web"]).ok();
    }
    home.run(&["scale", "web", "1"]).ok();
    let tally = load.stop().nothing_lost("shared");
    assert!(tally.by_pid.len() >= 4, "{tally}");
}

/// Sends GET / over a unix socket and returns the whole answer.
fn unix_get(path: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    if text.contains("pid=") { Ok(text) } else { Err(io::Error::other(format!("{text:?}"))) }
}

#[test]
fn heavy_a_unix_socket_is_reloaded_without_loss() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(command) = fixtures::python::<&str>("activation.py", &[]) else { return };
    let path = home.path().join("app.sock");
    let listen = format!("unix:{}", path.display());
    // No signal handler, and most of the time something in flight.
    let options = [
        "-i",
        "2",
        "--listen",
        &listen,
        "--env",
        "DELAY=0.01",
        "--min-uptime",
        "300ms",
        "--observe",
        "300ms",
    ];
    home.start("web", &options, &command).ok();
    let (stop, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    let lost: Vec<io::Error> = thread::scope(|scope| {
        let client = || {
            let mut lost = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                match unix_get(&path) {
                    Ok(_) => _ = answers.fetch_add(1, Ordering::Relaxed),
                    Err(error) => lost.push(error),
                }
            }
            lost
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        let deed = || {
            for _ in 0..4 {
                home.run(&["reload", "web"]).ok();
            }
            home.run(&["scale", "web", "1"]).ok();
        };
        // The clients end in any case.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(deed));
        stop.store(true, Ordering::Relaxed);
        let lost = clients.into_iter().flat_map(|client| client.join().expect("no panic"));
        let lost = lost.collect();
        done.expect("reloads and scaling");
        lost
    });
    println!("{} answers over a unix socket", answers.load(Ordering::Relaxed));
    assert!(lost.is_empty(), "{} lost: {lost:?}", lost.len());
    assert!(answers.load(Ordering::Relaxed) > 100);
}

/// For each listener `describe` shows the balance, what carries it out and why, and the share of
/// each slot.
#[test]
fn describe_explains_who_gets_the_connections() {
    for (balance, in_effect, why, counted) in [
        ("round-robin", "round-robin", "gives each worker its turn", true),
        ("sticky", "sticky", "hashes the client's address", false),
        ("least-connections", "hash", "needs a program that takes connections", false),
    ] {
        let (home, port) = (tests::home!(), Port::new());
        let Some(command) = fixtures::pid_server(&port) else { return };
        home.start("web", &["-i", "2", "--balance", balance], &command).ok();
        let mut load = Load::new(port.v4());
        load.requests = 40;
        let answered = load.run().nothing_lost("a few").ok;
        let app = home.app("web");
        let [listener] = app.listeners.as_slice() else { panic!("{app:#?}") };
        assert_eq!(listener.engine, "kernel");
        assert!(listener.why.contains(why), "{listener:#?}");
        let percent: f32 = listener.shares.iter().map(|share| share.percent).sum();
        assert!((percent - 100.0).abs() < 0.01, "{listener:#?}");
        assert_eq!(listener.slots, [0, 1]);
        let given: Option<u64> = listener.shares.iter().map(|share| share.given).sum();
        assert_eq!(given, counted.then_some(answered), "{listener:#?}");
        let text = home.run(&["describe", "web"]).ok().stdout;
        assert!(text.contains(&format!("{in_effect} by the kernel: ")), "{text}");
        assert!(text.contains(why) && text.contains("% of new connections"), "{text}");
    }
}
