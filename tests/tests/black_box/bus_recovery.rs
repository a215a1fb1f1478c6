//! The primary dies again and again while workers of three languages publish and call each other.
//! They stay on the bus, and every call ends with an answer or with an error that says what
//! happened.

use std::collections::BTreeMap;
use std::time::Duration;

use ipc::control::{AppStatus, Status};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::bus::{metric, raw, rust, start, trigger};
use tests::wait::{let_pass, wait_until};
use tests::{Home, fixtures};

const SOON: Duration = Duration::from_secs(60);
const LANGUAGES: [&str; 3] = ["rust", "node", "python"];
/// A call that takes longer has hung: it has a timeout of 30 s.
const HUNG_MS: u64 = 20_000;

fn kills() -> u64 {
    tests::from_env("KILLS", 20)
}

fn joined(home: &Home) -> Option<Workers> {
    let (node, python) = (fixtures::need("node")?, fixtures::need("python3")?);
    let node = format!("{node} {}", fixtures::file("bus/worker.js"));
    let python = format!("{python} {}", fixtures::file("bus/worker.py"));
    start(home, &[rust(home, ""), node, python], &["--min-uptime", "100ms"]);
    Some(Workers { pids: home.pids("web") })
}

/// The three workers as they were at the beginning.
struct Workers {
    pids: Vec<u32>,
}

impl Workers {
    /// Checks that they still run, and that events, calls and messages work.
    fn all_there(&self, home: &Home, deaths: u64) {
        let app = home.listed("web").expect("it is listed");
        let pids: Vec<u32> = app.workers.iter().filter_map(|worker| worker.pid).collect();
        assert_eq!(
            (&pids, app.restarts, u64::from(app.primary_deaths)),
            (&self.pids, 0, deaths),
            "{app:#?}"
        );
        let log = home.log("web", "primary.log");
        assert!(!log.contains("cut off from the bus"), "{log}");
        let asked = trigger(home, "ask", "null", None);
        for (slot, me) in (0..).zip(LANGUAGES) {
            let expected = serde_json::json!([["node", me], ["python", me], ["rust", me]]);
            assert_eq!(asked.get(&slot), Some(&expected), "{asked:?}");
        }
        let sent = home.run(&["send", "web", "shout", "\"person\""]).ok().stdout;
        assert_eq!(sent, "web: sent to 3 workers\n");
    }
}

/// How many events each worker has got from each language.
fn heard(home: &Home) -> BTreeMap<u16, Value> {
    trigger(home, "chatter-heard", "null", None)
}

#[test]
fn heavy_workers_stay_on_the_bus() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(workers) = joined(&home) else { return };
    assert_eq!(trigger(&home, "chatter", "null", None).len(), 3);
    let emitted = metric(&home, "supervisor_bus_emitted");
    for death in 1..=kills() {
        let_pass(Duration::from_millis(death * 37 % 150));
        home.kill_primary("web", Signal::SIGKILL);
        workers.all_there(&home, death);
    }
    let so_far = heard(&home);
    wait_until("events from all workers at all workers", SOON, || {
        let now = heard(&home);
        let more = |slot: u16, who: &str| now[&slot][who].as_u64() > so_far[&slot][who].as_u64();
        (0..3).all(|slot| LANGUAGES.iter().all(|who| more(slot, who))).then_some(())
    });
    let all = trigger(&home, "chatter-end", "null", None);
    println!("{} deaths: {all:?}", kills());
    assert_eq!(all.len(), 3);
    for (slot, talked) in &all {
        let ends = talked["ends"].as_object().expect("how calls ended");
        let known = ends.keys().all(|end| end == "right" || end == "lost");
        assert!(known && ends["right"].as_u64() > Some(10), "{slot}: {talked}");
        assert!(talked["longest_ms"].as_u64() < Some(HUNG_MS), "{slot}: {talked}");
    }
    // The counters survive.
    assert!(metric(&home, "supervisor_bus_emitted") > emitted);
    assert!((metric(&home, "bus_test_starts") - 3.0).abs() < 0.1);
    home.run(&["reload", "web"]).ok();
    assert_eq!(trigger(&home, "ask", "null", None).len(), 3);
}

/// Kills the primary while the workers of a reload join: afterwards every worker is on the bus.
#[test]
fn heavy_workers_that_join_while_the_primary_dies() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    if joined(&home).is_none() {
        return;
    }
    for count in 0..kills().div_ceil(2) {
        let reload = home.spawn(&["reload", "web"]);
        let_pass(Duration::from_millis(count * 97 % 700));
        home.kill_primary("web", Signal::SIGKILL);
        let outcome = reload.end(SOON * 2);
        let settled = |app: &AppStatus| app.status == Status::Ready && app.ready == app.wanted;
        wait_until("the reload to end", SOON * 2, || home.listed("web").filter(settled));
        let asked = trigger(&home, "ask", "null", None);
        assert_eq!(asked.len(), 3, "{asked:?} after {outcome:#?}");
        assert!(asked.values().all(|answers| answers.as_array().is_some()), "{asked:?}");
    }
    let log = home.log("web", "primary.log");
    assert!(!log.contains("cut off from the bus"), "{log}");
}

#[test]
fn half_a_message_is_skipped() {
    let home = tests::home!();
    let Some(raw) = raw("half-over-death") else { return };
    start(&home, &[rust(&home, ""), raw], &["--min-uptime", "100ms"]);
    let pids = home.pids("web");
    home.kill_primary("web", Signal::SIGKILL);
    wait_until("the next whole message", SOON, || {
        let heard = trigger(&home, "heard", "null", None);
        (heard[&0] == serde_json::json!(["whole"])).then_some(())
    });
    assert_eq!(home.pids("web"), pids);
    let log = home.log("web", "primary.log");
    assert!(!log.contains("cut off from the bus"), "{log}");
}

/// How many messages were dropped for this reason.
fn dropped(home: &Home, why: &str) -> f64 {
    let apps = home.run(&["metrics", "web", "--json"]).ok().json();
    let all = apps[0]["metrics"].as_array().cloned().unwrap_or_default();
    let found = all
        .iter()
        .find(|metric| metric["name"] == "supervisor_bus_dropped" && metric["labels"][0][1] == why);
    found.and_then(|metric| metric["value"].as_f64()).expect("it is counted")
}

/// Messages that wait in a primary are lost with it. Its successor counts them, every time.
#[test]
fn heavy_messages_that_waited_are_counted() {
    let _exclusive = tests::exclusive();
    let (home, mut lost) = (tests::home!(), 0.0);
    let (Some(deaf), Some(node)) = (raw("deaf"), fixtures::need("node")) else { return };
    let node = format!("{node} {}", fixtures::file("bus/worker.js"));
    start(&home, &[deaf, node, rust(&home, "")], &["--min-uptime", "100ms"]);
    for round in 1..=3_u32 {
        // A worker that does not read may be cut off by a death in the middle of a message. Start
        // another one then.
        if home.run(&["send", "web", "flood", "0"]).code != Some(0) {
            let deaf = home.app("web").workers[0].pid.expect("its process lives on");
            tests::process::kill(deaf, Signal::SIGKILL);
            wait_until("another worker that does not read", SOON, || {
                (home.run(&["send", "web", "flood", "0"]).code == Some(0)).then_some(())
            });
        }
        let emitted = metric(&home, "supervisor_bus_emitted").round();
        trigger(&home, "flood", "[3000,1000]", Some(1));
        let waiting = wait_until("all messages to be written or to wait", SOON, || {
            let now = metric(&home, "supervisor_bus_emitted").round();
            (now >= emitted + 3000.0).then(|| metric(&home, "supervisor_bus_worker_waiting"))
        });
        println!("{waiting} messages wait");
        assert!(waiting > 1000.0);
        // The third time another build takes over.
        if round < 3 {
            assert_eq!(home.kill_primary("web", Signal::SIGKILL).primary_deaths, round);
        } else {
            home.run(&["upgrade", "web"]).ok();
        }
        lost += waiting;
        assert_eq!(dropped(&home, "primary-ended"), lost);
        let said = format!("there: {waiting} messages (for slot 0 (worker ");
        let log = home.log("web", "primary.log");
        assert!(log.contains(&said) && log.contains(&format!("): {waiting})")), "{log}");
    }
    assert_eq!(dropped(&home, "slow-reader"), 0.0);
}

/// A worker that may have got half a message is cut off, and gets no message after it.
#[test]
fn heavy_no_message_follows_half_a_message() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let (Some(strict), Some(flood), Some(topics)) = (raw("strict"), raw("flood"), raw("topics"))
    else {
        return;
    };
    // The messages are longer than what the channel takes at once, and the state is too large to be
    // written at every turn.
    let programs = [strict, format!("{flood} 500000 0.02"), format!("{topics} 20000")];
    start(&home, &programs, &["--min-uptime", "100ms"]);
    let mut cut = 0;
    for death in 1..=10 {
        let written = metric(&home, "supervisor_bus_emitted");
        wait_until("messages", SOON, || {
            (metric(&home, "supervisor_bus_emitted") > written + 9.0).then_some(())
        });
        assert_eq!(home.kill_primary("web", Signal::SIGKILL).primary_deaths, death);
        home.wait_app("web", "all workers", SOON, |app| app.ready == 3);
        let log = home.log("web", "primary.log");
        cut = log.lines().filter(|line| line.contains("in the middle of a message")).count();
        let out = home.log("web", "out.log");
        assert!(!out.contains("broken"), "after {death} deaths: {out}");
    }
    assert!(cut > 0, "no death came in the middle of a message");
}

#[test]
fn heavy_a_worker_that_may_have_half_a_message_is_cut_off() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let (Some(deaf), Some(flood)) = (raw("deaf"), raw("flood")) else { return };
    start(&home, &[deaf, flood, rust(&home, "")], &["--min-uptime", "100ms"]);
    let pids = home.pids("web");
    wait_until("messages for the worker that does not read", SOON, || {
        (metric(&home, "supervisor_bus_worker_waiting_bytes") > 1e6).then_some(())
    });
    home.kill_primary("web", Signal::SIGKILL);
    home.wait_app("web", "all workers", SOON, |app| app.ready == 3);
    assert!(dropped(&home, "primary-ended") > 0.0);
    let log = home.log("web", "primary.log");
    let said: Vec<&str> = log.lines().filter(|line| line.contains("cut off from")).collect();
    assert_eq!(said.len(), 1, "{log}");
    assert!(said[0].contains("slot 0 (pid") && said[0].contains("in the middle of a message"));
    assert_eq!(home.pids("web"), pids);
    let before = metric(&home, "supervisor_bus_emitted");
    wait_until("the flood to go on", SOON, || {
        (metric(&home, "supervisor_bus_emitted") > before).then_some(())
    });
    assert_eq!(trigger(&home, "heard", "null", None).len(), 1);
}
