//! Workers that misbehave on the bus: the others talk on, the primary stays small, the offender is
//! named.

use std::time::Duration;

use ipc::control::AppStatus;
use tests::bus::{by_slot, metric, raw, rust, start, trigger};
use tests::{Home, process, wait_until};

const SOON: Duration = Duration::from_secs(30);
/// What the primary may need for what waits for one worker that does not read, and what the
/// allocator keeps of it.
const PER_WORKER_KIB: u64 = 40 * 1024;

/// A misbehaving worker beside two good ones: the good ones talk on, and the primary stays small.
fn beside(how: &str, options: &[&str]) -> Option<(Home, AppStatus)> {
    let raw = raw(how)?;
    let home = tests::home!();
    let app = start(&home, &[rust(&home, ""), rust(&home, "hash"), raw], options);
    Some((home, app))
}

fn good_ones_talk(home: &Home) {
    let before = trigger(home, "heard", "null", Some(1))[&1].as_array().map_or(0, Vec::len);
    trigger(home, "shout", "null", Some(0));
    wait_until("the other to hear it", SOON, || {
        let now = trigger(home, "heard", "null", Some(1))[&1].as_array().map_or(0, Vec::len);
        (now > before).then_some(())
    });
}

#[test]
fn one_that_floods_and_one_that_does_not_read() {
    let _alone = tests::alone();
    let (Some(flood), Some(deaf)) = (raw("flood"), raw("deaf")) else { return };
    let home = tests::home!();
    let app = start(&home, &[rust(&home, ""), rust(&home, "hash"), flood, deaf], &[]);
    let primary = app.primary_pid;
    let before = process::rss_kib(primary);
    wait_until("something to be dropped", SOON, || {
        (metric(&home, "supervisor_bus_worker_lost") > 500.0).then_some(())
    });
    good_ones_talk(&home);
    let rss = process::rss_kib(primary);
    assert!(rss < before + 2 * PER_WORKER_KIB, "{before} KiB became {rss} KiB");
    let log = home.log("web", "primary.log");
    assert!(log.contains("slot 3 (worker") && log.contains("from slot 2 (worker"), "{log}");
    println!("primary: {before} KiB before, {rss} KiB after");
}

#[test]
fn ten_thousand_topics_and_no_more() {
    let Some((home, app)) = beside("topics", &[]) else { return };
    wait_until("all subscriptions", SOON, || {
        (metric(&home, "supervisor_bus_worker_subscriptions") >= 10_000.0).then_some(())
    });
    good_ones_talk(&home);
    let rss = process::rss_kib(app.primary_pid);
    assert!(rss < 2 * PER_WORKER_KIB, "{rss} KiB");
}

#[test]
fn who_breaks_the_rules_is_cut_off_and_named() {
    // Neither says that it is ready: it counts as ready once it has lived for a while.
    for (how, why) in [
        ("many-topics", "subscribed to more than 10000 topics"),
        ("claim", "malformed message"),
        ("garbage", "malformed message"),
    ] {
        let Some(raw) = raw(how) else { return };
        let home = tests::home!();
        let programs = [rust(&home, ""), rust(&home, "hash"), raw];
        let count = programs.len().to_string();
        let options = ["-i", &count, "--ready", "uptime", "--min-uptime", "300ms"];
        home.start("web", &options, &by_slot(&programs)).ok();
        wait_until("it to be cut off", SOON, || {
            let log = home.log("web", "primary.log");
            let line = log.lines().find(|line| line.contains("was cut off from the bus"))?;
            assert!(line.contains("slot 2 (pid") && line.contains(why), "{line}");
            Some(())
        });
        good_ones_talk(&home);
        assert_eq!(home.app("web").restarts, 0, "its process lives on");
    }
}

#[test]
fn half_a_message_and_then_silence() {
    let Some((home, _)) = beside("half", &[]) else { return };
    good_ones_talk(&home);
}
