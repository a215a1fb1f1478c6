//! The benchmark. It measures the same Node and Go server with two processes each: sharing the port
//! by themselves, under the supervisor, under Node's own cluster, and under PM2. The setups take
//! turns in every round, so that other work of the machine affects all of them. Compare the ratios
//! within a round, and their spread.
//!
//! A copy of this program with the name `supervisor` is the supervisor, so that one command builds
//! both.

mod aims;
mod contestant;
mod dash;
mod log_writer;
mod logs;
mod many;
mod reload;
mod setup;
mod stats;
mod times;
mod wrk;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use setup::{Server, Setup};
use stats::Samples;
use tests::{exclusive, process, staging};
use wrk::{Kind, Measured};

/// How often `bench many` measures each number of apps.
const MANY_ROUNDS: usize = 3;

/// Pages that `bench dash` opens.
const PAGES: usize = 50;

/// How much to measure.
struct Options {
    rounds: usize,
    span: Duration,
}

fn main() -> ExitCode {
    let me = std::env::current_exe().expect("a program has a path");
    if me.file_name().is_some_and(|name| name == "supervisor") {
        return supervisor::main();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first().map(|(mode, rest)| (mode.as_str(), rest)) {
        Some(("many", counts)) => return many_apps(&me, counts),
        Some(("logs", rest)) => return log_lines(&me, rest),
        Some(("dash", rest)) => return dash_pages(&me, rest),
        Some((log_writer::MODE, rest)) => return log_writer::run(rest),
        _ => {}
    }
    let Some(options) = options(&arguments) else { return usage() };
    let _exclusive = exclusive();
    let binary = supervisor_copy(&me);
    println!(
        "{} rounds of {:.0?}, {} CPUs, {} connections",
        options.rounds,
        options.span,
        std::thread::available_parallelism().map_or(0, usize::from),
        wrk::CONNECTIONS
    );
    for server in [Server::Node, Server::Go] {
        if let Some(plan) = setup::Plan::new(server, &binary) {
            throughput(&plan, &options);
            if server == Server::Node {
                reload::under_load(&plan);
            }
        }
    }
    times::start_to_ready(&binary, options.rounds * 2);
    times::death_to_successor(&binary, options.rounds);
    ExitCode::SUCCESS
}

/// `bench many COUNT...`
fn many_apps(me: &Path, counts: &[String]) -> ExitCode {
    let counts = counts.iter().map(|text| text.parse()).collect::<Result<Vec<usize>, _>>();
    let Ok(mut counts) = counts else { return usage() };
    if counts.is_empty() {
        counts = vec![1, 25, 100];
    }
    let _exclusive = exclusive();
    many::apps(&supervisor_copy(me), &counts, MANY_ROUNDS);
    ExitCode::SUCCESS
}

/// `bench logs [ROUNDS [SECONDS]]`
fn log_lines(me: &Path, arguments: &[String]) -> ExitCode {
    let Some(options) = options(arguments) else { return usage() };
    let _exclusive = exclusive();
    logs::lines(&supervisor_copy(me), me, options.rounds, options.span);
    ExitCode::SUCCESS
}

/// `bench dash [ROUNDS [SECONDS]]`
fn dash_pages(me: &Path, arguments: &[String]) -> ExitCode {
    let Some(options) = options(arguments) else { return usage() };
    let _exclusive = exclusive();
    dash::pages(&supervisor_copy(me), PAGES, options.rounds, options.span);
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: bench [ROUNDS [SECONDS]]   (default: 5 rounds of 4 s)\n       \
         bench many [COUNT...]      (default: 1, 25 and 100 apps)\n       \
         bench logs [ROUNDS [SECONDS]]\n       \
         bench dash [ROUNDS [SECONDS]]"
    );
    ExitCode::from(2)
}

fn options(arguments: &[String]) -> Option<Options> {
    let mut numbers = Vec::new();
    for text in arguments {
        numbers.push(text.parse::<u32>().ok().filter(|n| *n > 0)?);
    }
    let rounds = usize::try_from(*numbers.first().unwrap_or(&5)).ok()?;
    let span = Duration::from_secs(u64::from(*numbers.get(1).unwrap_or(&4)));
    (numbers.len() <= 2).then_some(Options { rounds, span })
}

/// Copies this program under the name that makes it the supervisor.
fn supervisor_copy(me: &Path) -> String {
    let folder = staging::root().join("bench");
    staging::make_folder(&folder);
    let (copy, fresh) = (folder.join("supervisor"), folder.join("supervisor.new"));
    std::fs::copy(me, &fresh).expect("copy the program");
    std::fs::rename(&fresh, &copy).expect("put the copy in place");
    copy.display().to_string()
}

/// Measures all setups in turn, several rounds, and prints the ratios.
fn throughput(plan: &setup::Plan, options: &Options) {
    let setups: Vec<Setup> = plan.setups();
    for kind in [Kind::NewConnections, Kind::KeepAlive] {
        println!("\n{:?}, {}", plan.server, kind.name());
        let mut measured: Vec<Vec<Measured>> = setups.iter().map(|_| Vec::new()).collect();
        let mut primaries: Vec<Primary> = setups.iter().map(|_| Primary::default()).collect();
        for round in 0..options.rounds {
            // A different setup comes first in each round.
            for step in 0..setups.len() {
                let index = (round + step) % setups.len();
                let running = plan.start(setups[index]);
                wrk::measure(running.address(), kind, Duration::from_secs(1));
                let before = running.primary().map(process::ticks);
                let result = wrk::measure(running.address(), kind, options.span);
                if let Some((pid, before)) = running.primary().zip(before) {
                    let primary = &mut primaries[index];
                    primary.ticks.push((process::ticks(pid) - before) as f64);
                    primary.rss.push(process::rss_kib(pid) as f64);
                }
                measured[index].push(result);
            }
        }
        report(&setups, &plan.missing(), &measured);
        for (setup, primary) in setups.iter().zip(primaries) {
            if !primary.ticks.is_empty() {
                println!(
                    "  {}: its primary used {} ms CPU in {:.0?}, RSS {} KiB",
                    setup.name(),
                    primary.ticks.map(|ticks| ticks * 10.0),
                    options.span,
                    primary.rss
                );
            }
        }
        aims::judge(kind, &setups, &measured);
    }
}

#[derive(Default)]
struct Primary {
    ticks: Samples,
    rss: Samples,
}

fn report(setups: &[Setup], missing: &[Setup], measured: &[Vec<Measured>]) {
    for (setup, results) in setups.iter().zip(measured) {
        let of = |value: fn(&Measured) -> f64| results.iter().map(value).collect::<Samples>();
        let errors: u64 = results.iter().map(|m| m.errors).sum();
        println!(
            "  {:<32} {:>24}/s   p50 {} ms   p99 {} ms   errors {errors}",
            setup.name(),
            of(|m| m.per_second).to_string(),
            of(|m| m.p50_ms),
            of(|m| m.p99_ms),
        );
    }
    for missing in missing {
        println!("  {:<32} cannot be installed here", missing.name());
    }
    for (index, setup) in setups.iter().enumerate().skip(1) {
        let pairs = measured[index].iter().zip(&measured[0]);
        let ratios: Samples = pairs.map(|(one, bare)| one.per_second / bare.per_second).collect();
        println!("  {} / {}: {ratios}", setup.name(), setups[0].name());
    }
}
