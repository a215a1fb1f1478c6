//! Reloads under clients that keep their connections and are never quiet, as a reverse proxy or
//! `wrk` is: no connection is ever idle for longer than a moment, so waiting for a quiet one would
//! take for ever. Nothing may be lost, and no reload may wait for its `drain_timeout`.

use std::net::SocketAddr;
use std::time::Duration;

use tests::fixtures;
use tests::{Home, Load, Mode, Port};

const RELOADS: usize = 2;
/// Far below `drain_timeout` (30 s), and far above what a reload takes on a busy machine.
const IN_TIME: Duration = Duration::from_secs(15);

/// Reloads an app of two workers under 16 clients who keep their connections.
fn nothing_is_lost(what: &str, home: &Home, name: &str, address: SocketAddr, path: &str) {
    let mut load = Load::new(address);
    (load.clients, load.mode) = (16, Mode::Kept);
    load.path = path.to_owned();
    let load = load.start();
    load.warm(200);
    let mut took = Vec::new();
    for _ in 0..RELOADS {
        took.push(home.run(&["reload", name]).ok().took);
        load.warm(load.so_far().ok + 200);
    }
    let tally = load.stop().nothing_lost(&format!("{what}, kept connections, reloads {took:.1?}"));
    assert!(tally.by_pid.len() > 2 * RELOADS, "not every worker answers: {tally}");
    assert!(took.iter().all(|took| *took < IN_TIME), "{what}: {took:.1?}");
}

fn node(engine: &str, delay: &str, path: &str) {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(node) = fixtures::need("node") else { return };
    let command = [node, fixtures::file("node/kept.js"), port.to_string(), delay.to_owned()];
    home.start("web", &["-i", "2", "--engine", engine], &command).ok();
    let what = format!("Node, engine {engine}, {delay} ms, {path}");
    nothing_is_lost(&what, &home, "web", port.v4(), path);
}

#[test]
fn heavy_node_that_takes_its_time() {
    node("kernel", "5", "/");
}

#[test]
fn heavy_node_by_the_primary() {
    node("primary", "5", "/");
}
