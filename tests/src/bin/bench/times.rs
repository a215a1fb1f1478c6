//! Times: from the command to the first answer, without and with the supervisor; from the death of
//! a worker to the start of its successor.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipc::control::{NoticeKind, Request};
use nix::sys::signal::Signal;
use tests::{Home, Port, fixtures, http, process, run, wait};

use crate::stats::Samples;

/// How long to wait for an answer or a notice.
const LIMIT: Duration = Duration::from_secs(20);

/// The first answer of one copy of the Go server, without and with the supervisor in turn.
pub(crate) fn start_to_ready(supervisor: &str, rounds: usize) {
    let Some(program) = fixtures::go("bench/server.go") else { return };
    let (mut hand, mut ours, mut returns) =
        (Samples::default(), Samples::default(), Samples::default());
    let mut extra = Samples::default();
    for _ in 0..rounds {
        let (home, port) = (Home::new(supervisor), Port::new());
        let begun = Instant::now();
        let mut command = home.command_of(&program);
        let running = run::spawn(command.arg(port.to_string()), home.path());
        let by_hand = first_answer(port.v4(), begun);
        drop(running);

        let (home, port) = (Home::new(supervisor), Port::new());
        let begun = Instant::now();
        let mut command = home.command();
        command.args(["start", "--name", "bench", "--", &program, &port.to_string()]);
        let running = run::spawn(&mut command, home.path());
        let supervised = first_answer(port.v4(), begun);
        let outcome = running.end(LIMIT).ok();
        hand.push(by_hand);
        ours.push(supervised);
        extra.push(supervised - by_hand);
        returns.push(outcome.took.as_secs_f64() * 1000.0);
    }
    println!("\nstart to first answer (Go, one copy)");
    println!("  by hand                      {hand} ms");
    println!("  supervisor start             {ours} ms; overhead {extra} ms");
    println!("  the command returns after    {returns} ms");
}

/// Sends requests without a pause until one is answered. Returns milliseconds since `begun`.
fn first_answer(address: SocketAddr, begun: Instant) -> f64 {
    while begun.elapsed() < LIMIT {
        if http::get(address, Duration::from_secs(1)).is_ok() {
            return begun.elapsed().as_secs_f64() * 1000.0;
        }
        std::thread::yield_now();
    }
    panic!("no answer from {address} within {LIMIT:?}");
}

/// From SIGKILL to the notice that the successor runs, without a backoff.
pub(crate) fn death_to_successor(supervisor: &str, rounds: usize) {
    let Some(program) = fixtures::go("bench/server.go") else { return };
    let (home, port) = (Home::new(supervisor), Port::new());
    let command = [program, port.to_string()];
    let config = home.config("bench", &command, "instances = 2\nbackoff_reset = \"500ms\"");
    home.run(&["start", &config]).ok();
    let mut spans = Samples::default();
    for _ in 0..rounds {
        // A worker that was healthy for this long is restarted at once.
        wait::let_pass(Duration::from_secs(1));
        let mut notices = home.ask("bench", &Request::Subscribe);
        let victim = home.pids("bench")[0];
        let begun = Instant::now();
        process::kill(victim, Signal::SIGKILL);
        notices.notice_of(NoticeKind::WorkerStarted, LIMIT);
        spans.push(begun.elapsed().as_secs_f64() * 1000.0);
        notices.notice_of(NoticeKind::WorkerReady, LIMIT);
    }
    println!("\ndeath of a worker to its successor's exec: {spans} ms");
}
