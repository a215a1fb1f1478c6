//! A worker that sends the primary what no Node program would. An attack ends at most the channel
//! of that worker, with a reason. The primary lives on, its memory and descriptors do not grow, and
//! the other worker serves on.

use std::time::Duration;

use ipc::control::{NoticeKind, Request};
use nix::sys::signal::Signal;
use tests::staging::write_program;
use tests::{Home, Load, Port, fixtures, process, wait_until};

/// Long enough for a line of 100 MB on a busy machine.
const SOON: Duration = Duration::from_secs(90);
/// How much the memory of the primary may grow in the end, in KiB.
const GROWTH: u64 = 4 << 10;
/// How much it may grow during the attack, in KiB: a line of a worker has at most 16 MiB and is
/// read into a buffer that doubles, and another 16 MiB may wait for the worker.
const PEAK: u64 = 80 << 10;

/// How an attack ends.
enum End {
    /// The primary closes the channel with this reason.
    Closed(&'static str),
    /// The worker lives on, and the log has these words.
    GoesOn(&'static str),
}
use End::{Closed, GoesOn};

/// Starts the attacker in slot 0 and an ordinary Node server in slot 1.
fn start(home: &Home, port: &Port, attack: &str) -> Option<()> {
    let (python, node) = (fixtures::need("python3")?, fixtures::need("node")?);
    let script = home.write(
        "hostile.py",
        &std::fs::read_to_string(fixtures::file("python/hostile.py")).expect("read the attacker"),
    );
    let text = format!("#!/bin/sh\nexec {python} \"$0.py\" \"$@\"\n");
    let program = home.path().join("node");
    write_program(&program, text.as_bytes());
    std::fs::rename(script, home.path().join("node.py")).expect("put it beside");
    let command =
        [program.display().to_string(), "hostile".into(), port.to_string(), attack.into()];
    let server = fixtures::file("node/plain.js");
    let more = format!(
        "instances = 2\nengine = \"primary\"\nnode_metrics = false\nnode_drain = false\nmax_restarts = 65535\nbackoff_reset = \"1ms\"\n\
         env = {{ REAL_NODE = \"{node}\", REAL_SERVER = \"{server}\" }}"
    );
    let config = home.config("web", &command, &more);
    home.run(&["start", &config]).ok();
    Some(())
}

fn fds(home: &Home) -> usize {
    process::fd_count(home.app("web").primary_pid)
}

fn high_water(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the process lives");
    line.trim().trim_end_matches(" kB").parse().expect("the process lives")
}

fn check(attack: &str, end: &End) {
    let (home, port) = (tests::home!(), Port::new());
    let Some(()) = start(&home, &port, attack) else { return };
    let load = |requests| {
        let load = Load::new(port.v4());
        Load { clients: 4, requests, hang: Duration::from_secs(30), ..load }
    };
    load(200).run().nothing_lost("before the attack");
    let before = home.app("web");
    let primary = before.primary_pid;
    let (held, rss) = (fds(&home), process::rss_kib(primary));
    let attacker = before.workers[0].pid.expect("a ready worker has a pid");
    let mut notices = home.ask("web", &Request::Subscribe);
    let running = load(u64::MAX).start();

    process::kill(attacker, Signal::SIGUSR1);
    match end {
        Closed(reason) => {
            let warning = loop {
                let warning = notices.notice_of(NoticeKind::Warning, SOON);
                if warning.message.contains("the channel of slot 0") {
                    break warning;
                }
            };
            assert!(warning.message.contains(reason), "{attack}: {warning:?}");
            notices.notice_of(NoticeKind::WorkerReady, SOON);
            assert!(home.log("web", "primary.log").contains(reason), "{attack}: not in the log");
        }
        GoesOn(said) => {
            wait_until("the end of the attack", SOON, || {
                home.log("web", "out.log").contains("done").then_some(())
            });
            let log = home.log("web", "primary.log");
            assert!(log.contains(said), "{attack}: {log}");
        }
    }
    running.more(100);
    running.stop().nothing_lost(attack);
    drop(notices);

    let after = home.app("web");
    assert_eq!(after.primary_pid, primary, "{attack}: the primary died");
    assert_eq!(
        after.workers[1].pid, before.workers[1].pid,
        "{attack}: another worker was replaced"
    );
    let replaced = after.workers[0].pid != Some(attacker);
    assert_eq!(replaced, matches!(end, Closed(_)), "{attack}: {after:#?}");
    assert_eq!(after.ready, 2, "{attack}: {after:#?}");
    let (now, most) = (process::rss_kib(primary), high_water(primary));
    println!("{attack}: fds {held} → {}, RSS {rss} → {now} KiB, at most {most}", fds(&home));
    assert_eq!(fds(&home), held, "{attack}: {:#?}", process::fds(primary));
    assert!(now <= rss + GROWTH && most <= rss + PEAK, "{attack}: memory grows");
}

macro_rules! attacks {
    ($($name:ident: $attack:literal, $end:expr;)*) => {
        mod heavy_attacks {
            use super::*;
            $(
                #[test]
                fn $name() {
                    let _load = tests::under_load();
                    check($attack, &$end);
                }
            )*
        }
    };
}

attacks! {
    malformed: "malformed", Closed("a line is not JSON");
    not_text: "not-text", Closed("a line is not UTF-8");
    a_line_of_100_mb: "long-line", Closed("a line is longer than 16777216 bytes");
    a_long_line_of_the_protocol: "long-own", Closed("it is longer than 262144 bytes");
    misshapen: "misshapen", Closed("`seq` is missing");
    asked_twice: "asked-twice", Closed("asked twice");
    an_answer_to_nothing: "answer-to-nothing", Closed("a message that was never sent to it");
    an_acknowledgement_of_nothing: "acknowledges-nothing",
        Closed("acknowledged a descriptor that was never sent");
    a_descriptor_where_none_belongs: "stray-descriptor", Closed("a descriptor where none belongs");
    a_descriptor_with_a_word_of_the_protocol: "own-word-with-descriptor",
        Closed("a descriptor where none belongs");
    fifty_descriptors_at_once: "many-descriptors", Closed("too many came");
    a_flood_whose_answers_are_not_read: "lost-descriptors-unread",
        Closed("has stopped reading its channel");
    unknown_acts: "flood-of-unknown-acts", GoesOn("said act `x1`: ignored");
    a_flood_of_messages: "flood-of-messages", GoesOn("");
    sockets_for_nobody: "sockets", GoesOn("which has no use for it");
}
