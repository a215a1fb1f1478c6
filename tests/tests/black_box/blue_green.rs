//! Blue/green: a whole generation takes over in one step, and gives back in one step, under load.
//! Nothing is lost, also if the primary dies in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ipc::control::{AppStatus, Status};
use nix::sys::signal::Signal;
use tests::fixtures::Deploys;
use tests::{Home, Load, Port, client, process};

const SOON: Duration = Duration::from_secs(60);
/// Far above what a switch takes, for a machine that does other things at the same time.
const SWITCHES_WITHIN: Duration = Duration::from_millis(500);

/// One request over a connection of its own.
struct Seen {
    opened: Instant,
    answered: Instant,
    version: String,
}

/// Clients that note when each of their connections was opened, and which version answered it.
struct Watch {
    enough: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Seen>>>,
}

impl Watch {
    fn new(address: SocketAddr) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let watch = |_| {
            let enough = Arc::clone(&enough);
            thread::spawn(move || {
                let mut all = Vec::new();
                while !enough.load(Ordering::Relaxed) {
                    let opened = Instant::now();
                    let answer = tests::http::get(address, SOON).expect("an answer");
                    let version = answer.value("version").expect("a version").to_owned();
                    all.push(Seen { opened, answered: Instant::now(), version });
                }
                all
            })
        };
        let threads = (0..2).map(watch).collect();
        Self { enough, threads }
    }

    /// Ends, and measures the switch from one version to the other: for how long connections that
    /// were opened went to both.
    fn end(self, what: &str, from: &str, to: &str) {
        self.enough.store(true, Ordering::Relaxed);
        let all = self.threads.into_iter().flat_map(|thread| thread.join().expect("no panic"));
        let all: Vec<Seen> = all.collect();
        let of = |version: &str| all.iter().filter(|seen| seen.version == version).count();
        assert!(of(from) > 0 && of(to) > 0, "{what}: {} and {} answers", of(from), of(to));
        let new = || all.iter().filter(|seen| seen.version == to);
        let old = || all.iter().filter(|seen| seen.version == from);
        let first = new().map(|seen| seen.opened).min().expect("a new answer");
        let last = old().map(|seen| seen.opened).max().expect("an old answer");
        let both = last.saturating_duration_since(first);
        let first = new().map(|seen| seen.answered).min().expect("a new answer");
        let last = old().map(|seen| seen.answered).max().expect("an old answer");
        let answers = last.saturating_duration_since(first);
        println!(
            "{what}: connections went to both for {both:.1?}; from the first new answer to the \
             last old one {answers:.1?}; {} requests",
            all.len()
        );
        assert!(both <= SWITCHES_WITHIN, "{what}: connections went to both for {both:?}");
    }
}

fn of_generation(app: &AppStatus, generation: u32) -> Vec<u32> {
    let its = app.workers.iter().filter(|worker| worker.generation == generation);
    its.filter_map(|worker| worker.pid).collect()
}

fn deployed<'h>(home: &'h Home, port: &Port) -> Option<Deploys<'h>> {
    Deploys::start(home, &["-i", "2", "--min-uptime", "300ms", "--observe", "500ms"], port)
}

/// The same under load.
fn under_clients<'h>(home: &'h Home, port: &Port) -> Option<(Deploys<'h>, client::Running)> {
    let deploys = deployed(home, port)?;
    let load = Load { clients: 16, ..Load::new(port.v4()) }.start();
    load.warm(100);
    Some((deploys, load))
}

const KEPT: [&str; 6] = ["reload", "web", "--strategy", "blue-green", "--keep-old", "10m"];

#[test]
fn heavy_a_switch_and_the_way_back_lose_nothing() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some((mut deploys, load)) = under_clients(&home, &port) else { return };
    let before = of_generation(&home.app("web"), 1);
    deploys.put("new", "pid_server.py");
    let watch = Watch::new(port.v4());
    home.run(&KEPT).ok().shows(&["2 workers replaced", "generation 1 stays for 10min"]);
    load.more(200);
    watch.end("switch", "old", "new");
    let app = home.app("web");
    assert_eq!((app.status, app.ready, app.workers.len()), (Status::Ready, 2, 4), "{app:#?}");
    assert_eq!(of_generation(&app, 1), before);

    home.kill_primary("web", Signal::SIGKILL);
    home.wait_app("web", "the app after the death of its primary", SOON, |app| {
        app.status == Status::Ready && of_generation(app, 1) == before
    });
    let watch = Watch::new(port.v4());
    load.more(200);
    let begun = Instant::now();
    home.run(&["rollback", "web"]).ok().shows(&["generation 1 serves"]);
    println!("rollback: the command took {:.1?}", begun.elapsed());
    load.more(200);
    watch.end("rollback", "new", "old");
    home.run(&["rollback", "web"]).code(1).says(&["cannot roll web back", "it serves again"]);
    home.wait_app("web", "the first generation alone", SOON, |app| {
        app.status == Status::Ready && app.workers.len() == 2 && of_generation(app, 1) == before
    });
    load.stop().nothing_lost("a switch and the way back");
}

#[test]
fn heavy_old_workers_leave_without_loss() {
    let _load = tests::under_load();
    let (home, port) = (tests::home!(), Port::new());
    let Some((_deploys, load)) = under_clients(&home, &port) else { return };
    // A reload while an older generation stays lets that go first.
    home.run(&KEPT).ok();
    home.run(&KEPT[..4]).ok();
    let app = home.app("web");
    assert_eq!((app.workers.len(), of_generation(&app, 3).len()), (2, 2), "{app:#?}");
    home.run(&["rollback", "web"]).code(1).says(&["generation 2 stays no longer"]);
    load.more(200);
    load.stop().nothing_lost("two switches");
}

#[test]
fn the_death_of_an_old_worker_ends_the_way_back() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(_deploys) = deployed(&home, &port) else { return };
    home.run(&["rollback", "web"]).code(1).says(&["no earlier generation of it stays"]);
    home.run(&KEPT).ok();
    home.run(&["describe", "web"]).ok().shows(&["supervisor rollback web"]);
    process::kill(of_generation(&home.app("web"), 1)[0], Signal::SIGKILL);
    home.wait_app("web", "no old worker", SOON, |app| of_generation(app, 1).is_empty());
    home.run(&["rollback", "web"]).code(1).says(&["its worker in slot", "signal SIGKILL"]);
    assert_eq!(home.app("web").ready, 2);
}

#[test]
fn a_new_generation_that_fails_touches_no_old_worker() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(mut deploys) = deployed(&home, &port) else { return };
    let before = home.pids("web");
    deploys.put("bad", "crashes_late.py");
    home.run(&KEPT).code(4).says(&["exit code 3", "late and fatal"]);
    let app = home.app("web");
    assert_eq!((app.status, home.pids("web")), (Status::Ready, before), "{app:#?}");
}
