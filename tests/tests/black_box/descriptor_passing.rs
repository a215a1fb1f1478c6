//! Descriptors that workers give to each other, and connections that they hand over.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use tests::bus::{by_slot, rust, start};
use tests::{Port, fixtures, process, wait_until};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn an_open_file_goes_to_another_worker() {
    let (Some(node), home) = (fixtures::need("node"), tests::home!()) else { return };
    let node = format!("{node} {}", fixtures::file("bus/worker.js"));
    let app = start(&home, &[rust(&home, ""), rust(&home, ""), node], &[]);
    let file = home.path().join("given");
    let fds = process::fds(app.primary_pid).len();
    let give = |to: u16| {
        let data = serde_json::json!([to, file]).to_string();
        home.run(&["trigger", "web", "give", &data, "--slot", "0"])
    };
    let text = || std::fs::read_to_string(&file).unwrap_or_default();
    for count in 1..=40 {
        give(1).ok();
        wait_until("the other worker to write into it", SOON, || {
            (text() == "from slot 0 to slot 1\n".repeat(count)).then_some(())
        });
    }
    let refused = |to: u16, why: &str| {
        let outcome = give(to).code(1);
        assert!(outcome.stdout.contains(why), "{outcome:#?}");
    };
    refused(0, "slot 0 has no other worker on the bus");
    refused(7, "slot 7 has no other worker on the bus");
    refused(2, "takes no descriptors: the Rust client does");
    wait_until("the primary to close them", SOON, || {
        (process::fds(app.primary_pid).len() <= fds).then_some(())
    });
}

/// Every client that can pass descriptors passes them to every other, also after a replacement.
#[test]
fn every_client_that_can_gives_and_takes() {
    let (Some(python), home) = (fixtures::need("python3"), tests::home!()) else { return };
    let python = |how: &str| format!("{python} {} {how}", fixtures::file("bus/descriptors.py"));
    let programs = [rust(&home, ""), python("threads"), python("aio")];
    let app = start(&home, &programs, &["--min-uptime", "100ms"]);
    let file = home.path().join("given");
    let mut expected = String::new();
    let text = || std::fs::read_to_string(&file).unwrap_or_default();
    let mut all_ways = |times: u32| {
        for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            for _ in 0..times {
                let data = serde_json::json!([to, file]).to_string();
                let from_slot = format!("{from}");
                home.run(&["trigger", "web", "give", &data, "--slot", &from_slot]).ok();
                expected.push_str(&format!("from slot {from} to slot {to}\n"));
                wait_until(&expected, SOON, || (text() == expected).then_some(()));
            }
        }
    };
    let pids: Vec<u32> = app.workers.iter().filter_map(|worker| worker.pid).collect();
    let open = || pids.iter().map(|pid| process::fds(*pid).len()).collect::<Vec<_>>();
    all_ways(1);
    let before = open();
    all_ways(5);
    wait_until("the workers to close them", SOON, || {
        open().iter().zip(&before).all(|(now, before)| now <= before).then_some(())
    });
    for (from, to) in [(1, 1), (2, 7)] {
        let data = serde_json::json!([to, file]).to_string();
        let outcome = home.run(&["trigger", "web", "give", &data, "--slot", &from.to_string()]);
        let said = outcome.code(1).stdout;
        assert!(said.contains(&format!("slot {to} has no other worker on the bus")), "{said}");
    }
    // The next primary knows which workers take descriptors, and so do replacements.
    process::kill(app.primary_pid, nix::sys::signal::Signal::SIGKILL);
    wait_until("another primary", SOON, || {
        let list = home.run(&["list", "--json"]);
        (list.stdout.contains("\"primary_deaths\": 1")
            || list.stdout.contains("\"primary_deaths\":1"))
        .then_some(())
    });
    all_ways(1);
    home.run(&["reload", "web"]).ok();
    all_ways(1);
}

/// Each worker hands its connections to the next slot, and the last slot answers.
#[test]
fn connections_go_from_language_to_language() {
    let (Some(python), home, port) = (fixtures::need("python3"), tests::home!(), Port::new())
    else {
        return;
    };
    let python =
        |how: &str| format!("{python} {} {how} {port}", fixtures::file("bus/descriptors.py"));
    let programs = [rust(&home, &format!("web {port}")), python("threads"), python("aio")];
    start(&home, &programs, &[]);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let mut connection = TcpStream::connect(port.v4()).expect("connect");
        connection.set_read_timeout(Some(SOON)).expect("a limit");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        assert!(answer.ends_with("answered by slot 2\n"), "{answer}");
        seen.insert(answer);
    }
    println!("{seen:?}");
    assert!(seen.len() >= 2, "{seen:?}");
}

#[test]
fn accept_returns_connections_that_were_handed_over() {
    let (home, port) = (tests::home!(), Port::new());
    let serves = rust(&home, &format!("web {port}"));
    start(&home, &[serves.clone(), serves], &[]);
    for _ in 0..100 {
        let mut connection = TcpStream::connect(port.v4()).expect("connect");
        connection.set_read_timeout(Some(SOON)).expect("a limit");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        assert_eq!(answer, "slot 1\n");
    }
    let app = home.app("web");
    let accepted: Vec<_> = app.workers.iter().filter_map(|w| w.accepted).collect();
    println!("accepted by slot: {accepted:?}");
    assert!(accepted[0] > 0, "no connection was handed over: {accepted:?}");
}

/// A worker that sends descriptors without a message, or a message without its descriptor, is cut
/// off, and the primary closes what it got.
#[test]
fn a_worker_that_sends_them_wrongly_is_cut_off() {
    for (how, why) in [
        ("descriptors", "descriptors without a message"),
        ("no-descriptor", "gave a descriptor without sending one"),
    ] {
        let Some(raw) = tests::bus::raw(how) else { return };
        let home = tests::home!();
        let options = ["-i", "2", "--ready", "uptime", "--min-uptime", "300ms"];
        home.start("web", &options, &by_slot(&[rust(&home, ""), raw])).ok();
        wait_until("the worker to be cut off", SOON, || {
            let log = home.log("web", "primary.log");
            let line = log.lines().find(|line| line.contains("was cut off from the bus"))?;
            assert!(line.contains("slot 1 (pid") && line.contains(why), "{line}");
            Some(())
        });
        let primary = home.app("web").primary_pid;
        // About 45 with two workers; the worker sent up to 300 more.
        let open = process::fds(primary).len();
        assert!(open < 70, "{open} descriptors are open");
    }
}
