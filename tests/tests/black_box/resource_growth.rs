//! The primary does not grow: its file descriptors and memory stay the same over many reloads and
//! connections. By default the tests do as many as fit into a minute; RESOURCE_GROWTH_FULL=1 makes
//! it 500 reloads and 200,000 connections.

use std::time::{Duration, Instant};

use tests::{Home, Load, Port, process};

/// How much memory may grow, in KiB, since allocators round up.
const GROWTH: u64 = 512;

fn full() -> bool {
    std::env::var_os("RESOURCE_GROWTH_FULL").is_some_and(|value| value == "1")
}

/// What the primary holds now: the number of its file descriptors, and its own memory in KiB.
fn held(home: &Home, name: &str) -> (usize, u64) {
    let primary = home.app(name).primary_pid;
    (process::fd_count(primary), process::anonymous_kib(primary))
}

fn check(home: &Home, name: &str, what: &str, before: (usize, u64)) {
    let after = held(home, name);
    println!("{what}: fds {} → {}, memory {} → {} KiB", before.0, after.0, before.1, after.1);
    let fds = process::fds(home.app(name).primary_pid);
    assert_eq!(before.0, after.0, "{what}: file descriptors leak: {fds:#?}");
    assert!(after.1 <= before.1 + GROWTH, "{what}: memory grows");
}

#[test]
fn heavy_over_many_reloads() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = tests::fixtures::Kind::Rust.command(&home, port.number()) else { return };
    home.start("web", &["-i", "2", "--min-uptime", "10ms", "--observe", "0s"], &command).ok();
    // The first reloads fill what is filled once, such as buffers and the tables of the allocator.
    for _ in 0..10 {
        home.run(&["reload", "web"]).ok();
    }
    let before = held(&home, "web");
    let (wanted, begun) = (if full() { 500 } else { 200 }, Instant::now());
    let mut count = 0;
    while count < wanted && (full() || begun.elapsed() < Duration::from_secs(45)) {
        home.run(&["reload", "web"]).ok();
        count += 1;
    }
    assert!(count >= 30, "only {count} reloads in {:?}", begun.elapsed());
    let each = begun.elapsed() / count;
    check(&home, "web", &format!("{count} reloads, {each:.1?} each"), before);
}

#[test]
fn heavy_over_a_storm_of_connections() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    home.demo(port.number()).ok();
    let storm = |requests, at_most| {
        let mut load = Load::new(port.v4());
        load.requests = requests;
        load.at_most = at_most;
        load.run()
    };
    storm(2000, Duration::from_secs(30)).nothing_lost("warming up");
    let before = held(&home, "demo");
    let primary = home.app("demo").primary_pid;
    let ticks = process::ticks(primary);
    let (requests, at_most) = match (full(), cfg!(debug_assertions)) {
        (true, _) => (200_000, Duration::from_secs(600)),
        (false, false) => (200_000, Duration::from_secs(60)),
        (false, true) => (50_000, Duration::from_secs(60)),
    };
    let tally = storm(requests, at_most).nothing_lost("a storm of connections");
    let ticks = process::ticks(primary) - ticks;
    check(&home, "demo", &format!("{} connections", tally.ok), before);
    println!("the CPU time of the primary: {ticks} ticks of 10 ms in {:.1?}", tally.took);
    assert!(ticks <= 1 + tally.took.as_secs() * 2, "connections cost the primary CPU");
}
