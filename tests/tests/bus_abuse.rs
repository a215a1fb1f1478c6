//! Workers that misbehave on the bus, beside good ones: the primary's memory stays under a stated
//! bound, the good ones keep their rate, the offender is named.

use std::time::Duration;

use tests::bus::{by_slot, metric, raw, rust, trigger};
use tests::{Home, process, wait_until};

const SOON: Duration = Duration::from_secs(60);
/// What the primary may need for one worker that does not read: 17 MiB wait, and the allocator
/// keeps some of what it was given.
const WAITING_KIB: u64 = 40 * 1024;
/// What it may need for one worker's 10,000 subscriptions with the longest names.
const TOPICS_KIB: u64 = 10 * 1024;
/// What everything else may take.
const REST_KIB: u64 = 4 * 1024;

/// A good worker that calls and one that answers, and these beside them. They run for a while
/// before anybody looks.
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
        // Not each of them says that it is ready: it counts as ready once it has lived for a while.
        let options = ["-i", &count, "--ready", "uptime", "--min-uptime", "300ms"];
        home.start("web", &options, &by_slot(&programs)).ok();
        let primary = home.app("web").primary_pid;
        let rss = process::rss_kib(primary);
        Self { home, primary, rss }
    }

    /// Calls in a second, one after the other; the answering worker takes 2 ms for each.
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

    /// The line that tells who was cut off.
    fn cut_off(&self, slot: u16, why: &str) {
        let line = wait_until("it to be cut off", SOON, || {
            let log = self.log();
            log.lines().find(|line| line.contains("was cut off from the bus")).map(str::to_owned)
        });
        assert!(line.contains(&format!("slot {slot} (pid")) && line.contains(why), "{line}");
        assert_eq!(self.home.app("web").restarts, 0, "its process lives on");
    }

    /// The good ones go on, and the primary has not grown by more than this.
    fn holds(&self, what: &str, bound_kib: u64) {
        let alone = Self::with(&[]).rate();
        let (rate, grown) = (self.rate(), self.grown());
        println!(
            "{what}: {rate} calls/s beside {alone} without it, the primary grew by {grown} KiB"
        );
        // They share two CPUs with whoever floods.
        assert!(rate * 3 > alone, "{what}: {rate} calls/s instead of {alone}");
        assert!(grown <= bound_kib, "{what}: the primary grew by {grown} KiB");
    }
}

#[test]
fn heavy_floods_and_deaf_readers() {
    let _exclusive = tests::exclusive();
    for size in ["50000", "1040000"] {
        let (Some(flood), Some(deaf)) = (raw(&format!("flood {size}")), raw("deaf")) else {
            return;
        };
        let scene = Scene::with(&[flood, deaf]);
        wait_until("something to be dropped", SOON, || {
            (metric(&scene.home, "supervisor_bus_worker_lost") > 20.0).then_some(())
        });
        let log = scene.log();
        assert!(log.contains("slot 3 (worker") && log.contains("from slot 2 (worker"), "{log}");
        // One that does not read, and the frame of one that is being read.
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
fn heavy_what_is_no_message() {
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
    // Nobody is cut off for being slow.
    assert!(!scene.log().contains("was cut off"));
}
