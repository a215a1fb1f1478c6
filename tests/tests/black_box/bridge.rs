//! The bridges of examples/bridge join two hosts, each a network namespace, while the broker
//! between them is killed again and again. What is lost, doubled and out of order is counted.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::run::{self, Running};
use tests::wait::let_pass;
use tests::{Home, fixtures, npm, process, wait_until};

const SOON: Duration = Duration::from_secs(30);
/// Where the broker listens, in its namespace.
const BROKER: &str = "10.77.0.1";
/// Messages of the long form of these tests: `BRIDGE_MESSAGES=1000000`.
const MESSAGES: &str = "BRIDGE_MESSAGES";
/// How often the broker is killed: `BRIDGE_KILLS=5`.
const KILLS: &str = "BRIDGE_KILLS";
/// For how long the broker is away each time.
const AWAY: Duration = Duration::from_millis(500);
/// How many messages the sender has under way with JetStream: 64 calls with 20 each.
const UNDER_WAY: u64 = 64 * 20;
/// How long the bridges of two hosts may need to come back, one after the other.
const COME_BACK: Duration = Duration::from_millis(750);
/// What is sent when both bridges are back, of which nothing may be lost.
const TAIL: u64 = 2_000;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Three network namespaces: `east` and `west`, and the broker's between them.
struct Network {
    ip: String,
    prefix: String,
}

impl Network {
    fn new(home: &Home) -> Option<Self> {
        if !fixtures::need_root("make network namespaces") {
            return None;
        }
        let (ip, _) = (fixtures::need("ip")?, fixtures::need("nsenter")?);
        let name = home.path().file_name().expect("a folder has a name").to_string_lossy();
        let network = Self { ip, prefix: name.into_owned() };
        let broker = network.name("broker");
        network.ip(&["netns", "add", &broker]);
        network.ip(&["-n", &broker, "link", "add", "name", "hub", "type", "bridge"]);
        network.ip(&["-n", &broker, "addr", "add", &format!("{BROKER}/24"), "dev", "hub"]);
        network.ip(&["-n", &broker, "link", "set", "hub", "up"]);
        for (host, address) in [("east", "10.77.0.2/24"), ("west", "10.77.0.3/24")] {
            let there = network.name(host);
            network.ip(&["netns", "add", &there]);
            let link =
                ["link", "add", "name", "eth0", "netns", &there, "type", "veth", "peer", "name"];
            network.ip(&[&link[..], &[host, "netns", &broker]].concat());
            network.ip(&["-n", &broker, "link", "set", host, "master", "hub", "up"]);
            network.ip(&["-n", &there, "addr", "add", address, "dev", "eth0"]);
            network.ip(&["-n", &there, "link", "set", "eth0", "up"]);
            network.ip(&["-n", &there, "link", "set", "lo", "up"]);
        }
        Some(network)
    }

    fn name(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    fn ip(&self, args: &[&str]) {
        let done = Command::new(&self.ip).args(args).output().expect("run ip");
        assert!(done.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// A command that runs there.
    fn command(&self, home: &Home, host: &str) -> Command {
        let mut command = home.command_of("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name(host)));
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in ["east", "west", "broker"] {
            let name = self.name(host);
            drop(Command::new(&self.ip).args(["netns", "delete", &name]).output());
        }
    }
}

/// A broker that can be killed.
struct Broker<'a> {
    home: &'a Home,
    network: &'a Network,
    command: Vec<String>,
    running: Running,
}

impl<'a> Broker<'a> {
    fn start(home: &'a Home, network: &'a Network, command: Vec<String>) -> Self {
        let running = Self::run(home, network, &command);
        Self { home, network, command, running }
    }

    fn run(home: &Home, network: &Network, command: &[String]) -> Running {
        run::spawn(network.command(home, "broker").args(command), home.path())
    }

    /// Kills it, and starts it again after a while.
    fn kill(&mut self) {
        process::kill(self.running.pid(), Signal::SIGKILL);
        let_pass(AWAY);
        self.running = Self::run(self.home, self.network, &self.command);
    }
}

/// Which bridge, and its environment.
fn start(home: &Home, network: &Network, folder: &Path, bridge: (&str, &str)) {
    let node = fixtures::need("node").expect("npm comes with it");
    let quoted = |text: &str| serde_json::to_string(text).expect("a string");
    let client = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../worker/node");
    for (host, hears) in [("east", ""), ("west", "1")] {
        let own = [node.clone(), fixtures::file("bus/numbers.js")];
        let program = format!("{node} {}", folder.join(bridge.0).display());
        let rest = format!(
            "instances = 1\nready = \"notify\"\nmin_uptime = \"200ms\"\n\
             env = {{ BUS_NODE = {}, HEARS = \"{hears}\" }}\n\
             [pool.bridge]\ncommand = {}\ninstances = 1\nready = \"notify\"\nenv = {{ {}, TOPICS = \"numbers,here\" }}\n",
            quoted(&client.display().to_string()),
            quoted(&program),
            bridge.1
        );
        let file = home.config(host, &own, &rest);
        let mut command = network.command(home, host);
        command.arg(home.binary()).args(["start", &file]);
        run::spawn(&mut command, home.path()).end(SOON * 2).ok();
    }
}

fn trigger(home: &Home, host: &str, action: &str, data: &Value) -> Value {
    let data = data.to_string();
    let outcome = home.run(&["trigger", host, action, &data, "--slot", "0", "--json"]).ok();
    outcome.json()[0]["data"].clone()
}

/// What a worker counted.
#[derive(Debug, serde::Deserialize)]
struct Counts {
    sent: u64,
    failed: u64,
    heard: u64,
    also: u64,
    doubled: u64,
    disorder: u64,
    last: u64,
    greeted: u64,
}

fn counts(home: &Home, host: &str) -> Counts {
    serde_json::from_value(trigger(home, host, "state", &Value::Null)).expect("counts")
}

/// The sum of a metric that the bridge of this host pushes.
fn metric(home: &Home, host: &str, name: &str) -> u64 {
    let said = home.run(&["metrics", host, "--json"]).ok().json();
    let all = said[0]["metrics"].as_array().cloned().unwrap_or_default();
    let sum: f64 =
        all.iter().filter(|one| one["name"] == name).filter_map(|one| one["value"].as_f64()).sum();
    sum as u64
}

/// Kills the broker at equal distances of what the sender has sent. Returns when all is sent.
fn kill_while_sending(home: &Home, broker: &mut Broker<'_>, count: u64, kills: u64) {
    let limit = SOON + Duration::from_millis(2 * count);
    for kill in 1..=kills {
        let due = count * kill / (kills + 1);
        wait_until("the sender", limit, || (counts(home, "east").sent >= due).then_some(()));
        broker.kill();
    }
    wait_until("the end of the sender", limit, || {
        (counts(home, "east").sent == count).then_some(())
    });
}

/// Waits until nothing more comes, and returns what came.
fn settled(home: &Home, host: &str) -> Counts {
    let (mut last, mut since) = (counts(home, host), Instant::now());
    wait_until("silence", SOON, || {
        let now = counts(home, host);
        if now.heard != last.heard {
            since = Instant::now();
        }
        last = now;
        (since.elapsed() > Duration::from_secs(1)).then_some(())
    });
    last
}

/// Both bridges are there, and see each other: a message sent from now on arrives.
fn joined(home: &Home) {
    let before = counts(home, "west").greeted;
    wait_until("a message through both bridges", SOON, || {
        home.run(&["send", "east", "here", "1"]).ok();
        (counts(home, "west").greeted > before).then_some(())
    });
}

/// At most once: in order, nothing twice; lost is what the bridge counts, and what is sent while
/// one of the bridges has found the broker again and the other has not.
fn at_most_once(home: &Home, mut broker: Broker<'_>) {
    let (count, kills) = (number(MESSAGES, 40_000), number(KILLS, 2));
    let rate = 5_000.max(count / 100);
    joined(home);
    trigger(home, "east", "emit", &json!({ "count": count, "rate": rate }));
    kill_while_sending(home, &mut broker, count, kills);
    joined(home);
    let came = settled(home, "west");
    let lost = count - came.heard;
    let counted = metric(home, "east", "bridge_lost");
    eprintln!(
        "at most once: {count} sent, {rate}/s, broker killed {kills} times: {lost} lost \
         ({counted} counted by the bridge), {} doubled, {} out of order",
        came.doubled, came.disorder
    );
    let gap = kills * rate * COME_BACK.as_millis() as u64 / 1000;
    assert!(lost <= counted + gap, "{lost} lost, {counted} counted, {gap} allowed");
    let all = count + TAIL;
    trigger(home, "east", "emit", &json!({ "count": all, "rate": rate }));
    wait_until("the last message", SOON, || (counts(home, "west").last == all).then_some(()));
    let end = settled(home, "west");
    assert_eq!(end.heard, came.heard + TAIL, "what comes after the last outage arrives: {end:?}");
    assert_eq!((end.doubled, end.disorder), (0, 0), "{end:?}");
    // Nothing comes back to where it was sent.
    assert_eq!(metric(home, "east", "bridge_received"), 0);
    assert_eq!(metric(home, "west", "bridge_sent"), 0);
}

/// Topics of which no message is lost.
const DURABLE: &str = ", DURABLE = \"kept,also\"";

/// Starts nats-server, with JetStream's files in the home, and the bridge on both hosts. `more` is
/// the rest of its environment.
fn nats<'a>(home: &'a Home, network: &'a Network, more: &str) -> Option<Broker<'a>> {
    let (folder, server) = (npm::example("bridge")?, fixtures::need("nats-server")?);
    let store = home.path().join("jetstream").display().to_string();
    let command = [server.as_str(), "-a", "0.0.0.0", "-p", "4222", "-js", "-sd", &store];
    let broker = Broker::start(home, network, command.map(str::to_owned).to_vec());
    let env = format!("NATS_URL = \"nats://{BROKER}:4222\"{more}");
    start(home, network, &folder, ("nats.js", &env));
    Some(broker)
}

#[test]
fn heavy_nats_at_most_once() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(network) = Network::new(&home) else { return };
    let Some(broker) = nats(&home, &network, "") else { return };
    at_most_once(&home, broker);
}

/// A reload replaces the bridge of either host while messages pass: none comes twice, and few are
/// lost in the moment in which the old bridge stops and the new one begins.
#[test]
fn heavy_nats_bridges_are_replaced() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(network) = Network::new(&home) else { return };
    let Some(_broker) = nats(&home, &network, "") else { return };
    joined(&home);
    let (count, rate) = (20_000, 3_000);
    trigger(&home, "east", "emit", &json!({ "count": count, "rate": rate }));
    for host in ["east", "west"] {
        home.run(&["reload", host, "--pool", "bridge"]).ok();
    }
    let sent = || (counts(&home, "east").sent == count).then_some(());
    wait_until("the end of the sender", SOON * 2, sent);
    let came = settled(&home, "west");
    assert!(came.doubled == 0 && came.heard + rate / 2 >= count, "{came:?}");
}

/// The old bridge waits for the work that it gave to workers: none is done twice.
#[test]
fn heavy_jetstream_bridges_are_replaced() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(network) = Network::new(&home) else { return };
    let Some(_broker) = nats(&home, &network, DURABLE) else { return };
    let count = 4_000;
    trigger(&home, "east", "slow", &json!(20));
    trigger(&home, "east", "publish", &json!({ "count": count }));
    let some = || (counts(&home, "east").heard > 100).then_some(());
    wait_until("the first messages", SOON, some);
    home.run(&["reload", "east", "--pool", "bridge"]).ok();
    let all = || (counts(&home, "east").heard == count).then_some(());
    wait_until("all messages", SOON * 2, all);
    let came = settled(&home, "east");
    assert_eq!(came.doubled, 0, "{came:?}");
}

#[test]
fn heavy_redis_at_most_once() {
    let _exclusive = tests::exclusive();
    let (Some(folder), home) = (npm::example("bridge"), tests::home!()) else { return };
    let Some(server) = fixtures::need("redis-server") else { return };
    let Some(network) = Network::new(&home) else { return };
    let options = ["--bind", BROKER, "--protected-mode", "no", "--save", "", "--appendonly", "no"];
    let command = [server.as_str()].iter().chain(&options).map(|word| (*word).to_owned()).collect();
    let broker = Broker::start(&home, &network, command);
    let env = format!("REDIS_URL = \"redis://{BROKER}:6379\"");
    start(&home, &network, &folder, ("redis.js", &env));
    at_most_once(&home, broker);
}

/// At least once: nothing is lost. A message is doubled only if a bridge dies with it, and out of
/// order only if it was sent or delivered again.
#[test]
fn heavy_jetstream_at_least_once() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(network) = Network::new(&home) else { return };
    let Some(mut broker) = nats(&home, &network, DURABLE) else { return };
    let (count, kills) = (number(MESSAGES, 6_000), number(KILLS, 2));
    let begun = Instant::now();
    trigger(&home, "east", "publish", &json!({ "count": count }));
    kill_while_sending(&home, &mut broker, count, kills);
    // Each machine has a worker that gets them: the sender's, too.
    for host in ["east", "west"] {
        let limit = SOON + Duration::from_millis(2 * count);
        let all = || {
            let now = counts(&home, host);
            (now.heard == count && now.also == count / 10).then_some(())
        };
        wait_until("all messages, also those of the other topic with the same ids", limit, all);
        let came = settled(&home, host);
        eprintln!(
            "at least once, {host}: {count} sent in {:.0?}, broker killed {kills} times: 0 lost, \
             {} doubled, {} out of order, {} errors of senders",
            begun.elapsed(),
            came.doubled,
            came.disorder,
            counts(&home, "east").failed
        );
        assert_eq!(came.doubled, 0, "no bridge died: {came:?}");
        // What was under way at a kill.
        assert!(came.disorder <= kills * 2 * UNDER_WAY, "{came:?}");
    }
}
