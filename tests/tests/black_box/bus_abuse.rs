//! Workers that misbehave on the bus, beside good workers. The memory of the primary stays under a
//! bound, the good workers keep their rate, and the log names the offender.

use std::time::Duration;

use tests::bus::{by_slot, metric, raw, rust, trigger};
use tests::{Home, process, wait_until};

const SOON: Duration = Duration::from_secs(60);
/// How much memory the primary may need for one worker that does not read: 17 MiB wait, and the
/// allocator keeps some memory that is free.
const WAITING_KIB: u64 = 40 * 1024;
/// How much it may need for 10,000 subscriptions of one worker with the longest names.
const TOPICS_KIB: u64 = 10 * 1024;
/// How much it may need for everything else.
const REST_KIB: u64 = 4 * 1024;

/// A good worker that calls, one that answers, and offenders beside them.
struct Scene {
    home: Home,
    primary: u32,
    rss: u64,
}

impl Scene {
    fn with(offenders: &[String]) -> Self {
        let home = tests::home!();
        let mut programs = vec![rust(&home, ""), rust(&home, "hash")];
        programs.extend_from_slice(offenders);
        let count = programs.len().to_string();
        // Not all of them report readiness, so each counts as ready after some time.
        let options = ["-i", &count, "--ready", "uptime", "--min-uptime", "300ms"];
        home.start("web", &options, &by_slot(&programs)).ok();
        let primary = home.app("web").primary_pid;
        let rss = process::rss_kib(primary);
        Self { home, primary, rss }
    }

    /// Calls per second, one after the other. The answering worker takes 2 ms for each.
    fn rate(&self) -> u64 {
        let end = &trigger(&self.home, "load", "2", Some(0))[&0];
        assert!(end["ends"]["wrong"].is_null() && end["ends"]["timed out"].is_null(), "{end}");
        end["ends"]["right"].as_u64().unwrap_or(0) / 2
    }

    fn grown(&self) -> u64 {
        process::rss_kib(self.primary).saturating_sub(self.rss)
    }

    fn log(&self) -> String {
        self.home.log("web", "primary.log")
    }

    /// Checks that the log names the worker that was cut off, and why.
    fn cut_off(&self, slot: u16, why: &str) {
        let line = wait_until("the worker to be cut off", SOON, || {
            let log = self.log();
            log.lines().find(|line| line.contains("was cut off from the bus")).map(str::to_owned)
        });
        assert!(line.contains(&format!("slot {slot} (pid")) && line.contains(why), "{line}");
        assert_eq!(self.home.app("web").restarts, 0, "its process lives on");
    }

    /// Checks that the good workers keep their rate and that the primary has grown by this at most.
    fn holds(&self, what: &str, bound_kib: u64) {
        let without = Self::with(&[]).rate();
        let (rate, grown) = (self.rate(), self.grown());
        println!(
            "{what}: {rate} calls/s beside {without} without it, the primary grew by {grown} KiB"
        );
        // They share two CPUs with the offender.
        assert!(rate * 3 > without, "{what}: {rate} calls/s instead of {without}");
        assert!(grown <= bound_kib, "{what}: the primary grew by {grown} KiB");
    }
}

#[test]
fn heavy_floods_and_readers_that_do_not_read() {
    let _exclusive = tests::exclusive();
    for size in ["50000", "1040000"] {
        let (Some(flood), Some(deaf)) = (raw(&format!("flood {size}")), raw("deaf")) else {
            return;
        };
        let scene = Scene::with(&[flood, deaf]);
        wait_until("the primary to drop messages", SOON, || {
            (metric(&scene.home, "supervisor_bus_worker_lost") > 20.0).then_some(())
        });
        let log = scene.log();
        assert!(log.contains("slot 3 (worker") && log.contains("from slot 2 (worker"), "{log}");
        // One worker that does not read, and one message that is being received.
        scene.holds(&format!("a flood of {size} bytes each"), WAITING_KIB + REST_KIB);
    }
}

#[test]
fn heavy_a_hundred_thousand_subscriptions() {
    let _exclusive = tests::exclusive();
    let Some(ten_thousand) = raw("topics 10000") else { return };
    let scene = Scene::with(&vec![ten_thousand; 10]);
    wait_until("all subscriptions", SOON, || {
        (metric(&scene.home, "supervisor_bus_worker_subscriptions") >= 100_000.0).then_some(())
    });
    scene.holds("100,000 subscriptions of ten workers", 10 * TOPICS_KIB);
}

#[test]
fn heavy_a_hundred_thousand_subscriptions_of_one() {
    let _exclusive = tests::exclusive();
    let Some(raw) = raw("topics 100000") else { return };
    let scene = Scene::with(&[raw]);
    scene.cut_off(2, "it subscribed to more than 10000 topics");
    scene.holds("100,000 subscriptions of one worker", TOPICS_KIB + REST_KIB);
}

#[test]
fn heavy_malformed_messages() {
    let _exclusive = tests::exclusive();
    for (how, why) in [
        ("claim", "malformed message"),
        ("garbage", "malformed message"),
        ("long-line", "a message is longer than 1048576 bytes"),
    ] {
        let Some(raw) = raw(how) else { return };
        let scene = Scene::with(&[raw]);
        scene.cut_off(2, why);
        scene.holds(how, REST_KIB);
    }
}

#[test]
fn heavy_half_a_message_and_then_silence() {
    let _exclusive = tests::exclusive();
    let Some(raw) = raw("half") else { return };
    let scene = Scene::with(&[raw]);
    scene.holds("half a message", REST_KIB);
    // Being slow is no reason to be cut off.
    assert!(!scene.log().contains("was cut off"));
}
