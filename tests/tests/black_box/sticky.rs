//! Sticky: a client, known by its address (of IPv6 the first 64 bits), stays with its slot over all
//! its connections, through reloads, and mostly through scaling. Tested in both engines, for both
//! address families, with and without privilege, and with socket.io by polling, which needs it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::thread;
use std::time::Duration;

use tests::fixtures::{self, Kind};
use tests::http::Connection;
use tests::slot_counts::SlotCounts;
use tests::{Home, Port, npm, run, staging};

const SOON: Duration = Duration::from_secs(10);
/// Enough clients for a share of a fifth to be near a fifth: the seed is random, and so the clients
/// and the 256 buckets are spread by chance.
const CLIENTS: u16 = 1000;
/// How many of the clients send requests again after each reload.
const ASKED: usize = 250;
const CONNECTIONS: usize = 20;
const RELOADS: usize = 5;
/// How many clients send requests at the same time.
const THREADS: usize = 4;

type Places = BTreeMap<IpAddr, u16>;

/// The slot of each client, which must be the same over all its connections.
#[track_caller]
fn places(home: &Home, clients: &[IpAddr], server: SocketAddr) -> Places {
    let counts = SlotCounts::new(home, "web");
    let ask = |own: IpAddr| -> Vec<u32> {
        let once = |_| {
            let answer =
                Connection::open_from(own, server, SOON).and_then(|mut c| c.get("/", true));
            let answer = answer.unwrap_or_else(|fault| panic!("{own} gets no answer: {fault}"));
            answer.pid().expect("a pid")
        };
        (0..CONNECTIONS).map(once).collect()
    };
    let answers: BTreeMap<IpAddr, Vec<u32>> = thread::scope(|scope| {
        let parts = clients.chunks(clients.len().div_ceil(THREADS));
        let parts: Vec<_> = parts
            .map(|part| scope.spawn(move || part.iter().map(|own| (*own, ask(*own))).collect()))
            .collect();
        let parts = parts.into_iter().map(|part| part.join().expect("every client is answered"));
        parts.flat_map(|part: Vec<_>| part).collect()
    });
    let one_slot = |(own, pids): (&IpAddr, &Vec<u32>)| {
        let slots: Vec<u16> = pids.iter().map(|pid| counts.slot(*pid)).collect();
        assert!(
            slots.iter().all(|slot| *slot == slots[0]),
            "{own} was answered by several slots: {slots:?}"
        );
        (*own, slots[0])
    };
    answers.iter().map(one_slot).collect()
}

/// How many clients of `after` have another slot than before.
fn moved(before: &Places, after: &Places) -> usize {
    after.iter().filter(|(client, slot)| before[*client] != **slot).count()
}

/// The whole test for one server.
fn stays(what: &str, home: &Home, kind: Kind, engine: &str, clients: &[IpAddr], v6: bool) {
    let port = Port::new();
    let Some(command) = kind.command(home, port.number()) else { return };
    let server = if v6 { port.v6() } else { port.v4() };
    let options = [
        "-i",
        "4",
        "--balance",
        "sticky",
        "--engine",
        engine,
        "--min-uptime",
        "100ms",
        "--observe",
        "100ms",
    ];
    home.start("web", &options, &command).ok();
    let app = home.app("web");
    assert_eq!((app.engine.as_str(), app.notes.len()), (engine, 0), "{app:#?}");

    let before = places(home, clients, server);
    for slot in 0..4 {
        let count = before.values().filter(|s| **s == slot).count();
        let share = count as f64 / clients.len() as f64;
        assert!((0.10..=0.45).contains(&share), "slot {slot} has {count} of {}", clients.len());
    }
    let every = clients.len() / ASKED;
    let some: Vec<IpAddr> = clients.iter().copied().step_by(every).collect();
    for count in 1..=RELOADS {
        home.run(&["reload", "web"]).ok();
        assert_eq!(moved(&before, &places(home, &some, server)), 0, "reload {count} moved some");
    }
    home.run(&["scale", "web", "5"]).ok();
    let after = places(home, clients, server);
    let count = moved(&before, &after);
    let share = count as f64 / clients.len() as f64;
    println!("{what}: 4 to 5 workers moved {count} of {} clients", clients.len());
    assert!((0.10..=0.30).contains(&share), "about a fifth should move, not {count}");
    let elsewhere = before.iter().filter(|(client, slot)| {
        let now = after[*client];
        now != **slot && now != 4
    });
    assert_eq!(elsewhere.count(), 0, "those who moved went to the new slot");
    home.run(&["scale", "web", "4"]).ok();
    assert_eq!(moved(&before, &places(home, clients, server)), 0, "and back");
}

/// Loopback addresses in several of its subnets.
fn of_ipv4() -> Vec<IpAddr> {
    let one = |n: u16| Ipv4Addr::new(127, 0, 10 + (n / 50) as u8, 1 + (n % 50) as u8);
    (0..CLIENTS).map(|n| one(n).into()).collect()
}

/// Addresses that this machine has until this is dropped: one in each of many networks, and a
/// second in some of them.
struct Addresses {
    all: Vec<Ipv6Addr>,
}

/// The interface part of a client's second address.
const SECOND: u16 = 2;

impl Addresses {
    /// Adds them. `None`, and a line on stderr, if they cannot be added.
    fn new() -> Option<Self> {
        if !fixtures::need_root("add IPv6 addresses") {
            return None;
        }
        // A network of this process, so that no two tests share one.
        let own = (std::process::id() & 0xffff) as u16;
        let address = |n: u16, host: u16| Ipv6Addr::new(0xfd5e, 0xba5e, own, n, 0, 0, 0, host);
        let mut all: Vec<Ipv6Addr> = (0..CLIENTS).map(|n| address(n, 1)).collect();
        all.extend((0..20).map(|n| address(n, SECOND)));
        let addresses = Self { all };
        if addresses.each("add") {
            return Some(addresses);
        }
        assert!(!fixtures::on_ci(), "IPv6 addresses cannot be added, and on CI they must be");
        eprintln!("SKIPPED: IPv6 addresses cannot be added here");
        None
    }

    fn each(&self, verb: &str) -> bool {
        let Some(ip) = fixtures::need("ip") else { return false };
        let lines: String = self
            .all
            .iter()
            .map(|address| format!("address {verb} {address}/128 dev lo nodad\n"))
            .map(|line| if verb == "add" { line } else { line.replace(" nodad", "") })
            .collect();
        let file = staging::root().join(format!("addresses-{}-{verb}", std::process::id()));
        std::fs::write(&file, lines).expect("write a batch");
        let mut command = Command::new(ip);
        command.args(["-6", "-force", "-batch"]).arg(&file);
        let outcome = run::spawn(&mut command, staging::root()).end(SOON);
        std::fs::remove_file(&file).expect("remove a batch");
        outcome.code == Some(0)
    }

    fn clients(&self) -> Vec<IpAddr> {
        self.all.iter().map(|address| (*address).into()).collect()
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        if !self.each("del") {
            eprintln!("IPv6 addresses of fd5e:ba5e::/32 stay on lo");
        }
    }
}

fn ipv4(home: &Home, kind: Kind, engine: &str) {
    let _exclusive = tests::exclusive();
    stays(&format!("{kind:?}, engine {engine}, IPv4"), home, kind, engine, &of_ipv4(), false);
}

fn ipv6(home: &Home, kind: Kind, engine: &str) {
    let _exclusive = tests::exclusive();
    let Some(addresses) = Addresses::new() else { return };
    let clients = addresses.clients();
    stays(&format!("{kind:?}, engine {engine}, IPv6"), home, kind, engine, &clients, true);
}

#[test]
fn heavy_ipv4_by_the_kernel() {
    ipv4(&tests::home!(), Kind::Go, "kernel");
}

#[test]
fn heavy_ipv4_by_the_primary() {
    ipv4(&tests::home!(), Kind::Node, "primary");
}

#[test]
fn heavy_ipv4_by_the_kernel_without_privilege() {
    let Some(home) = tests::home_of_nobody!() else { return };
    ipv4(&home, Kind::Go, "kernel");
}

#[test]
fn heavy_ipv6_by_the_kernel() {
    ipv6(&tests::home!(), Kind::Go, "kernel");
}

#[test]
fn heavy_ipv6_by_the_primary() {
    ipv6(&tests::home!(), Kind::Node, "primary");
}

#[test]
fn heavy_ipv6_by_the_kernel_without_privilege() {
    let Some(home) = tests::home_of_nobody!() else { return };
    ipv6(&home, Kind::Go, "kernel");
}

/// Two addresses of one IPv6 network are one client.
#[test]
fn heavy_a_network_of_ipv6_is_one_client() {
    let _exclusive = tests::exclusive();
    for (kind, engine) in [(Kind::Go, "kernel"), (Kind::Node, "primary")] {
        let Some(addresses) = Addresses::new() else { return };
        let (home, port) = (tests::home!(), Port::new());
        let Some(command) = kind.command(&home, port.number()) else { return };
        let options = ["-i", "4", "--balance", "sticky", "--engine", engine];
        home.start("web", &options, &command).ok();
        let places = places(&home, &addresses.clients(), port.v6());
        let mut seconds = 0;
        for address in addresses.all.iter().filter(|address| address.segments()[7] == SECOND) {
            let mut first = address.segments();
            first[7] = 1;
            let first = IpAddr::from(Ipv6Addr::from(first));
            assert_eq!(places[&first], places[&IpAddr::from(*address)], "{address}, {engine}");
            seconds += 1;
        }
        assert_eq!(seconds, 20);
    }
}

/// What many polling socket.io clients see; see polling-clients.js.
fn polling(balance: &str, engine: &str) -> Option<serde_json::Value> {
    let (home, port) = (tests::home!(), Port::new());
    let (server, clients) = (npm::app("polling.js")?, npm::app("polling-clients.js")?);
    let number = port.to_string();
    let variable = format!("PORT={number}");
    let options = ["-i", "2", "--balance", balance, "--engine", engine, "-e", &variable];
    let node = fixtures::need("node")?;
    home.start("web", &options, &[&node, &server]).ok();
    let mut command = home.command_of(&node);
    command.args([&clients, &number, "16", "10"]);
    let outcome = run::spawn(&mut command, home.path()).end(Duration::from_secs(60)).ok();
    println!("socket.io by polling, {balance} by the {engine}: {}", outcome.stdout.trim());
    Some(outcome.json())
}

#[test]
fn heavy_socket_io_by_polling_works_with_sticky() {
    let _exclusive = tests::exclusive();
    for engine in ["kernel", "primary"] {
        let Some(seen) = polling("sticky", engine) else { return };
        assert_eq!((&seen["whole"], &seen["failed"]), (&16.into(), &0.into()), "{seen}");
        assert_eq!((&seen["split"], &seen["workers"]), (&0.into(), &2.into()), "{seen}");
    }
}

#[test]
fn heavy_socket_io_by_polling_fails_without_sticky() {
    let _exclusive = tests::exclusive();
    let Some(seen) = polling("round-robin", "auto") else { return };
    assert!(seen["failed"].as_u64().is_some_and(|failed| failed >= 8), "{seen}");
}
