//! The primary engine with workers that do not take connections: they are killed before they take
//! what they were sent, or stopped, or full. No client is refused or waits forever, and the primary
//! holds no descriptor longer than needed. HANDOVER_FULL=1 makes it 1,000 kills.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use ipc::control::{NoticeKind, Request};
use nix::sys::signal::Signal;
use tests::http::{Connection, FaultKind};
use tests::wait::let_pass;
use tests::{Home, Load, Port, Tally, fixtures, process, wait_until};

const SOON: Duration = Duration::from_secs(30);
/// For clients whose worker is stopped for a while.
const PATIENT: Duration = Duration::from_secs(60);
/// 1,000 kills take some minutes.
const LONGEST: Duration = Duration::from_secs(30 * 60);

fn full() -> bool {
    std::env::var_os("HANDOVER_FULL").is_some_and(|value| value == "1")
}

/// Starts Node workers under the primary engine, with no limit of restarts.
fn start(home: &Home, port: &Port, workers: u16) -> Option<()> {
    let command =
        [fixtures::need("node")?, fixtures::file("node/plain.js"), port.to_string()].to_vec();
    let options = format!(
        "instances = {workers}\nengine = \"primary\"\nmax_restarts = 65535\n\
         restart_window = \"1s\"\nbackoff_reset = \"1ms\"\nbackoff_min = \"1ms\""
    );
    let config = home.config("web", &command, &options);
    home.run(&["start", &config]).ok();
    assert_eq!(home.app("web").engine, "primary");
    Some(())
}

fn load(port: &Port, clients: usize, requests: u64) -> Load {
    let load = Load::new(port.v4());
    Load { clients, requests, hang: PATIENT, at_most: LONGEST, ..load }
}

/// Connections that were sent to the worker of this slot and that it has not taken.
fn untaken(home: &Home, slot: usize) -> u32 {
    home.app("web").workers[slot].backlog.unwrap_or(0)
}

fn wait_for_untaken(home: &Home, slot: usize, wanted: u32) {
    wait_until("connections on their way to a stopped worker", SOON, || {
        (untaken(home, slot) >= wanted).then_some(())
    });
}

/// How many descriptors the primary has.
fn fds(home: &Home) -> usize {
    process::fd_count(home.app("web").primary_pid)
}

/// Waits until the workers have taken everything.
fn wait_for_calm(home: &Home) {
    home.wait_app("web", "the workers to take everything", SOON, |app| {
        app.workers.iter().all(|worker| worker.backlog == Some(0))
    });
}

/// An idle worker is stopped, is sent connections, and is killed before it can acknowledge one.
/// Another worker serves every one of them.
fn killed_before_it_took_anything(home: &Home) {
    let port = Port::new();
    let Some(()) = start(home, &port, 2) else { return };
    load(&port, 8, 200).run().nothing_lost("warming up");
    let before = fds(home);
    for count in 0..6 {
        let victim = home.pids("web")[count % 2];
        let mut notices = home.ask("web", &Request::Subscribe);
        process::kill(victim, Signal::SIGSTOP);
        let running = load(&port, 32, 200).start();
        wait_for_untaken(home, count % 2, 8);
        process::kill(victim, Signal::SIGKILL);
        notices.notice_of(NoticeKind::WorkerReady, SOON);
        running.warm(200);
        running.stop().nothing_lost("a kill between hand-over and acknowledgement");
    }
    wait_for_calm(home);
    assert_eq!(fds(home), before, "descriptors leak");
}

#[test]
fn heavy_nothing_is_lost_with_a_worker_that_took_nothing() {
    let _exclusive = tests::exclusive();
    killed_before_it_took_anything(&tests::home!());
}

#[test]
fn heavy_nothing_is_lost_with_a_worker_that_took_nothing_as_nobody() {
    let _exclusive = tests::exclusive();
    if let Some(home) = tests::home_of_nobody!() {
        killed_before_it_took_anything(&home);
    }
}

/// The same under load: only the requests that the worker was serving when it was stopped are lost.
#[test]
fn heavy_kills_between_hand_over_and_acknowledgement_under_load() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(()) = start(&home, &port, 2) else { return };
    load(&port, 32, 2000).run().nothing_lost("warming up");
    let primary = home.app("web").primary_pid;
    let (before, rss) = (fds(&home), process::rss_kib(primary));
    let running = load(&port, 32, u64::MAX).start();
    running.warm(500);
    let kills = if full() { 1000 } else { 60 };
    for count in 0..kills {
        let slot = count % 2;
        let mut notices = home.ask("web", &Request::Subscribe);
        let victim = home.app("web").workers[slot].pid.expect("a ready worker has a pid");
        process::kill(victim, Signal::SIGSTOP);
        wait_for_untaken(&home, slot, 4);
        process::kill(victim, Signal::SIGKILL);
        notices.notice_of(NoticeKind::WorkerReady, SOON);
    }
    let tally = running.stop();
    wait_for_calm(&home);
    let (after, grown) = (fds(&home), process::rss_kib(primary));
    println!("{kills} kills with hand-overs untaken:\n{tally}");
    println!("the primary: fds {before} → {after}, RSS {rss} → {grown} KiB");
    let torn = [FaultKind::Reset, FaultKind::Empty, FaultKind::Truncated];
    let torn: u64 = torn.into_iter().map(|kind| tally.count(kind)).sum();
    assert_eq!(torn, tally.lost(), "a client was refused or hung: {tally}");
    assert!(torn <= 32 * u64::try_from(kills).unwrap(), "{tally}");
    assert_eq!(after, before, "descriptors leak: {:#?}", process::fds(primary));
    assert!(grown <= rss + 1024, "memory grows");
}

/// A stopped worker soon gets no more connections, is reported, and later works again.
#[test]
fn heavy_a_stopped_worker_is_passed_over_and_comes_back() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(()) = start(&home, &port, 2) else { return };
    let pids = home.pids("web");
    let mut notices = home.ask("web", &Request::Subscribe);
    process::kill(pids[0], Signal::SIGSTOP);
    let first = load(&port, 8, 16).start();
    let warning = notices.notice_of(NoticeKind::Warning, SOON);
    assert!(warning.message.contains("slot 0"), "{warning:?}");
    assert!(warning.message.contains("has not taken connections for 5s"), "{warning:?}");
    let meanwhile = load(&port, 8, 400).run().nothing_lost("with one worker stopped");
    assert_eq!(meanwhile.by_pid.keys().copied().collect::<Vec<_>>(), [pids[1]]);
    assert!(meanwhile.slowest < Duration::from_secs(5), "{meanwhile}");

    process::kill(pids[0], Signal::SIGCONT);
    let waited = join(first, 16).nothing_lost("clients of the stopped worker");
    assert!(waited.by_pid.contains_key(&pids[0]), "{waited}");
    let after = load(&port, 4, 400).run().nothing_lost("afterwards");
    assert_eq!(after.by_pid.len(), 2, "{after}");
    assert_eq!(home.pids("web"), pids, "a worker was replaced");
}

fn join(load: tests::client::Running, answers: u64) -> Tally {
    load.warm(answers);
    load.stop()
}

/// No worker takes connections: the primary stops accepting, and the rest waits in the kernel's
/// queue.
fn all_are_full(home: &Home) {
    const CLIENTS: usize = 300;
    let port = Port::new();
    let Some(()) = start(home, &port, 2) else { return };
    load(&port, 8, 200).run().nothing_lost("warming up");
    let before = fds(home);
    let pids = home.pids("web");
    pids.iter().for_each(|pid| process::kill(*pid, Signal::SIGSTOP));
    let running = load(&port, CLIENTS, CLIENTS as u64).start();
    let waiting = |app: &ipc::control::AppStatus| {
        let untaken: u32 = app.workers.iter().filter_map(|worker| worker.backlog).sum();
        app.listeners[0].backlog + untaken
    };
    let app = home.wait_app("web", "all clients to wait", SOON, |app| {
        usize::try_from(waiting(app)).is_ok_and(|waiting| waiting >= CLIENTS)
    });
    let held = fds(home);
    let untaken: Vec<_> = app.workers.iter().map(|worker| worker.backlog).collect();
    println!(
        "fds {before} → {held}, in the queue {}, untaken {untaken:?}",
        app.listeners[0].backlog
    );
    assert!(held <= before + 2 * 64 + 2, "more were accepted than can be given: {held}");
    let ticks = process::ticks(app.primary_pid);
    let_pass(Duration::from_secs(1));
    let ticks = process::ticks(app.primary_pid) - ticks;
    assert!(ticks <= 2, "waiting costs {ticks} ticks a second");

    pids.iter().for_each(|pid| process::kill(*pid, Signal::SIGCONT));
    let tally = join(running, CLIENTS as u64).nothing_lost("when all were full");
    assert!(tally.ok >= CLIENTS as u64, "{tally}");
    wait_for_calm(home);
    assert_eq!(fds(home), before, "descriptors leak");
}

#[test]
fn heavy_when_all_are_full_the_queue_holds() {
    let _exclusive = tests::exclusive();
    all_are_full(&tests::home!());
}

#[test]
fn heavy_when_all_are_full_the_queue_holds_as_nobody() {
    let _exclusive = tests::exclusive();
    if let Some(home) = tests::home_of_nobody!() {
        all_are_full(&home);
    }
}

/// Both workers are stopped, with as many connections on their way as allowed, when the primary
/// dies; then one worker dies, too. The successor finds the connections that no worker had and
/// those that were on their way to the dead worker. Every client gets one complete answer.
fn the_primary_and_a_worker_die_with_hands_full(home: &Home) {
    const CLIENTS: usize = 200;
    let port = Port::new();
    let Some(()) = start(home, &port, 2) else { return };
    load(&port, 8, 200).run().nothing_lost("warming up");
    for round in 0..4 {
        wait_for_calm(home);
        let before = fds(home);
        let app = home.app("web");
        let pids = home.pids("web");
        pids.iter().for_each(|pid| process::kill(*pid, Signal::SIGSTOP));
        let running = load(&port, CLIENTS, CLIENTS as u64).start();
        wait_for_untaken(home, 0, 8);
        wait_for_untaken(home, 1, 8);
        process::kill(app.primary_pid, Signal::SIGKILL);
        home.wait_app("web", "a successor", SOON, |now| now.primary_pid != app.primary_pid);
        // Not handed over yet: a stopped worker may still read what it was sent.
        let found = fds(home);
        assert!(found >= before + 8, "connections were closed: {before} → {found}");
        let gone = pids[round % 2];
        process::kill(gone, Signal::SIGKILL);
        process::kill(pids[1 - round % 2], Signal::SIGCONT);
        let tally = join(running, CLIENTS as u64).nothing_lost("the primary and a worker died");
        assert!(tally.ok >= CLIENTS as u64 && !tally.by_pid.contains_key(&gone), "{tally}");
        home.wait_app("web", "a replacement", SOON, |app| {
            app.ready == 2 && app.workers.iter().all(|worker| worker.pid != Some(gone))
        });
        wait_for_calm(home);
        assert_eq!(fds(home), before, "descriptors leak");
    }
}

#[test]
fn heavy_what_a_dead_primary_had_accepted_is_handed_over() {
    let _exclusive = tests::exclusive();
    the_primary_and_a_worker_die_with_hands_full(&tests::home!());
}

#[test]
fn heavy_what_a_dead_primary_had_accepted_is_handed_over_as_nobody() {
    let _exclusive = tests::exclusive();
    if let Some(home) = tests::home_of_nobody!() {
        the_primary_and_a_worker_die_with_hands_full(&home);
    }
}

/// Workers that refuse connections beyond their `maxConnections` get a pause.
#[test]
fn heavy_refusing_workers_get_a_pause() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(node) = fixtures::need("node") else { return };
    let command = [
        node,
        fixtures::file("node/max_connections.js"),
        port.to_string(),
        "3".into(),
        "100".into(),
    ];
    home.start("web", &["-i", "2", "--engine", "primary"], &command).ok();
    let primary = home.app("web").primary_pid;
    let ticks = process::ticks(primary);
    let tally = load(&port, 40, 150).run().nothing_lost("two workers with maxConnections = 3");
    let ticks = process::ticks(primary) - ticks;
    println!("the primary meanwhile: {ticks} ticks of 10 ms in {:.1?}", tally.took);
    assert!(ticks <= 10 + tally.took.as_secs() * 10, "the primary tries without a pause");
}

/// With `sticky` the clients of a stopped worker wait for it, and those of the other do not.
#[test]
fn heavy_sticky_clients_of_a_stopped_worker_do_not_keep_the_others_waiting() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(node) = fixtures::need("node") else { return };
    let command = [node, fixtures::file("node/plain.js"), port.to_string()];
    home.start("web", &["-i", "2", "--engine", "primary", "--balance", "sticky"], &command).ok();
    // One client of each slot.
    let pids = home.pids("web");
    let of = |pid: u32| (1..=250u8).find(|last| answer(&port, *last, SOON) == Some(pid)).unwrap();
    let (stopped, other) = (of(pids[0]), of(pids[1]));
    process::kill(pids[0], Signal::SIGSTOP);
    let clients = |count| -> Vec<_> {
        let number = port.number();
        let one = move |_| thread::spawn(move || answer_at(number, stopped, PATIENT));
        (0..count).map(one).collect()
    };
    let mut waiting = clients(10);
    wait_for_untaken(&home, 0, 10);
    // With this many untaken for this long, the primary sends it no more.
    let_pass(Duration::from_millis(150));
    waiting.extend(clients(40));
    home.wait_app("web", "clients to wait", SOON, |app| app.listeners[0].backlog >= 40);
    for _ in 0..50 {
        assert_eq!(answer(&port, other, Duration::from_secs(5)), Some(pids[1]));
    }
    process::kill(pids[0], Signal::SIGCONT);
    for client in waiting {
        assert_eq!(client.join().unwrap(), Some(pids[0]));
    }
}

fn answer(port: &Port, last: u8, limit: Duration) -> Option<u32> {
    answer_at(port.number(), last, limit)
}

/// The pid that answers a client from 127.0.0.`last`.
fn answer_at(port: u16, last: u8, limit: Duration) -> Option<u32> {
    let own = IpAddr::from([127, 0, 0, last]);
    let mut connection = Connection::open_from(own, ([127, 0, 0, 1], port).into(), limit).ok()?;
    connection.get("/", true).ok()?.pid()
}
