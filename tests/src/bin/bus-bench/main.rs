//! The benchmark of the bus: 64 bytes from one worker to another, over the bus, over Node's own
//! cluster and over Redis. They take turns in every round. Compare the ratios.
//!
//! A copy of this program with the name `supervisor` is the supervisor, and `bus-bench worker ROLE`
//! is a worker.

mod redis;
mod worker;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde_json::Value;
use tests::{Home, bus, exclusive, fixtures, process, run, staging};

/// The data of a message, in bytes: 64 with its quotes.
const DATA: usize = 62;
/// How many round trips to measure, one after the other.
const TRIPS: u32 = 3000;
const LIMIT: Duration = Duration::from_secs(120);
/// The unit of CPU time in /proc, in microseconds.
const TICK_US: f64 = 10_000.0;

/// What carries the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Rust,
    Node,
    Cluster,
    Redis,
}

const WAYS: [Way; 4] = [Way::Cluster, Way::Rust, Way::Node, Way::Redis];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Rust => "the bus, Rust to Rust",
            Self::Node => "the bus, Node to Node",
            Self::Cluster => "Node's own cluster",
            Self::Redis => "Redis pub/sub",
        }
    }

    /// As many as take about a second.
    fn messages(self) -> u32 {
        match self {
            Self::Rust => 1_500_000,
            // With more, Redis cuts off a reader that is slower than the writer.
            Self::Redis => 600_000,
            Self::Node => 200_000,
            Self::Cluster => 100_000,
        }
    }
}

/// The results of one round.
#[derive(Debug, Clone, Copy)]
struct Measured {
    per_second: f64,
    p50_us: f64,
    /// CPU time of the process in the middle, for each message.
    cpu_us: f64,
    /// The same of the sender and of the receiver, if they are processes of their own.
    ends_us: Option<[f64; 2]>,
}

fn main() -> ExitCode {
    let me = std::env::current_exe().expect("a program has a path");
    if me.file_name().is_some_and(|name| name == "supervisor") {
        return supervisor::main();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, role] = arguments.as_slice()
        && word == "worker"
    {
        worker::run(role).expect("work");
        return ExitCode::SUCCESS;
    }
    let rounds = arguments.first().map_or(Ok(5), |text| text.parse::<usize>());
    let Ok(rounds @ 1..) = rounds else {
        eprintln!("usage: bus-bench [ROUNDS]   (default: 5)");
        return ExitCode::from(2);
    };
    let _exclusive = exclusive();
    let binary = supervisor_copy(&me);
    let mut all: Vec<(Way, Vec<Measured>)> = WAYS.map(|way| (way, Vec::new())).into();
    for round in 0..rounds {
        for step in 0..all.len() {
            let (way, measured) = &mut all[(round + step) % WAYS.len()];
            measured.extend(measure(*way, &binary, &me));
        }
    }
    report(&all);
    ExitCode::SUCCESS
}

fn supervisor_copy(me: &Path) -> String {
    let folder = staging::root().join("bus-bench");
    staging::make_folder(&folder);
    let (copy, fresh) = (folder.join("supervisor"), folder.join("supervisor.new"));
    std::fs::copy(me, &fresh).expect("copy the program");
    std::fs::rename(&fresh, &copy).expect("put the copy in place");
    copy.display().to_string()
}

/// `None` if it is not installed here.
fn measure(way: Way, binary: &str, me: &Path) -> Option<Measured> {
    match way {
        Way::Rust => {
            let program = |role: &str| format!("{} worker {role}", me.display());
            Some(ours(way, binary, &[program("hear"), program("emit")]))
        }
        Way::Node => {
            let (node, script) = (fixtures::need("node")?, fixtures::file("bench/bus.js"));
            let program = |role: &str| format!("{node} {script} {role}");
            Some(ours(way, binary, &[program("hear"), program("emit")]))
        }
        Way::Cluster => cluster(way.messages()),
        Way::Redis => redis::measure(&fixtures::need("redis-server")?, way.messages(), TRIPS),
    }
}

fn ours(way: Way, binary: &str, programs: &[String]) -> Measured {
    let home = Home::new(binary);
    let app = bus::start(&home, programs, &[]);
    let worker = |slot: u16| app.workers.iter().find(|w| w.slot == slot).and_then(|w| w.pid);
    let pids = [app.primary_pid, worker(1).expect("the sender"), worker(0).expect("the receiver")];
    let ask = |action: &str, count: u32| {
        bus::trigger(&home, action, &count.to_string(), Some(1)).remove(&1).expect("an answer")
    };
    // To warm up.
    ask("run", way.messages() / 10);
    let before = pids.map(process::ticks);
    let ran = ask("run", way.messages());
    let after = pids.map(process::ticks);
    assert!(ran["read"].as_f64() >= Some(f64::from(way.messages())), "messages were lost: {ran}");
    let p50_us = ask("trips", TRIPS).as_f64().expect("a time");
    let used = |at: usize| (after[at] - before[at]) as f64 * TICK_US;
    let ends_us = Some([1, 2].map(|at| used(at) / f64::from(way.messages())));
    Measured { ends_us, ..result(way.messages(), &ran["seconds"], p50_us, used(0)) }
}

fn result(messages: u32, seconds: &Value, p50_us: f64, cpu_us: f64) -> Measured {
    let messages = f64::from(messages);
    let seconds = seconds.as_f64().expect("a time");
    Measured { per_second: messages / seconds, p50_us, cpu_us: cpu_us / messages, ends_us: None }
}

fn cluster(messages: u32) -> Option<Measured> {
    let mut node = Command::new(fixtures::need("node")?);
    node.arg(fixtures::file("bench/relay.js")).args([messages, TRIPS].map(|n| n.to_string()));
    let said = run::spawn(&mut node, staging::root()).end(LIMIT).ok().json();
    let number = |key: &str| said[key].as_f64().expect("a number");
    Some(result(messages, &said["seconds"], number("p50_us"), number("cpu_us")))
}

/// The median of a value.
fn median(all: &[Measured], of: impl Fn(&Measured) -> f64) -> f64 {
    let mut values: Vec<f64> = all.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn report(all: &[(Way, Vec<Measured>)]) {
    println!("64 bytes, medians of {} rounds", all.iter().map(|(_, m)| m.len()).max().unwrap_or(0));
    for (way, measured) in all {
        let (fewest, most) = measured.iter().fold((f64::MAX, 0.0_f64), |(low, high), one| {
            (low.min(one.per_second), high.max(one.per_second))
        });
        let end = |at: usize| median(measured, |m| m.ends_us.map_or(f64::NAN, |ends| ends[at]));
        let ends = match end(0).is_nan() {
            true => String::new(),
            false => format!(", {:.2} of the sender, {:.2} of the receiver", end(0), end(1)),
        };
        println!(
            "  {:<24} {:>9.0}/s ({fewest:.0}..{most:.0})   round trip p50 {:>6.1} µs   {:.2} µs CPU of the middle for each message{ends}",
            way.name(),
            median(measured, |m| m.per_second),
            median(measured, |m| m.p50_us),
            median(measured, |m| m.cpu_us),
        );
    }
    let of = |wanted: Way| all.iter().find(|(way, _)| *way == wanted).map(|(_, m)| m.as_slice());
    let (Some(rust), Some(cluster)) = (of(Way::Rust), of(Way::Cluster)) else { return };
    for other in [Way::Cluster, Way::Redis] {
        let Some(them) = of(other).filter(|them| !them.is_empty()) else { continue };
        println!(
            "  Rust to Rust beside {}: {:.1} times its messages, {:.2} of its round trip",
            other.name(),
            median(rust, |m| m.per_second) / median(them, |m| m.per_second),
            median(rust, |m| m.p50_us) / median(them, |m| m.p50_us),
        );
    }
    let speed = median(rust, |m| m.per_second) >= 8.0 * median(cluster, |m| m.per_second);
    let trip = median(rust, |m| m.p50_us) <= 0.5 * median(cluster, |m| m.p50_us);
    let met = |it: bool| if it { "met" } else { "missed" };
    println!("  aims: 8 times Node's messages {}, half its round trip {}", met(speed), met(trip));
}
