//! Deaths of the primary and of the keeper. The primary is killed again and again under load, at
//! rest and in the middle of reloads and scaling. No worker notices, neither engine loses a
//! request, and the next primary finishes a job or rolls it back.
//!
//! `KILLS` sets the number of kills (20).

use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ipc::control::{Request, Status};
use nix::sys::signal::Signal;
use tests::fixtures::{self, Kind};
use tests::http::FaultKind;
use tests::{Home, Load, Port, process};

/// How long after its death a new primary's list is right: half of the times, and at most.
const USUAL: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5);
/// What both become on a machine that is busy elsewhere: this many times what `list` takes there
/// from a primary that lives. Where `list` takes less than 50 ms, the bounds above hold.
const PACE: u32 = 20;
const SOON: Duration = Duration::from_secs(60);

fn kills() -> u64 {
    tests::from_env("KILLS", 20)
}

/// Pseudo-random numbers, the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.below(most * 1000))
    }
}

fn start(home: &Home, kind: Kind, engine: &str) -> Option<Port> {
    let port = Port::new();
    let command = kind.command(home, port.number())?;
    let options = ["-i", "2", "--min-uptime", "100ms", "--observe", "100ms", "--engine", engine];
    home.start("web", &options, &command).ok();
    assert!(engine == "auto" || home.app("web").engine == engine);
    Some(port)
}

fn load(address: SocketAddr) -> tests::client::Running {
    let mut load = Load::new(address);
    load.clients = 16;
    load.at_most = Duration::from_secs(900);
    let load = load.start();
    load.warm(200);
    load
}

fn at_rest(kind: Kind, engine: &str) {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(port) = start(&home, kind, engine) else { return };
    let (workers, keeper) = (home.pids("web"), home.app("web").keeper_pid);
    let load = load(port.v4());
    let mut chance = Chance(7);
    let (mut pace, mut right_after) = (Vec::new(), Vec::new());
    for count in 1..=kills() {
        tests::wait::let_pass(chance.millis(30));
        let asked = Instant::now();
        home.listed("web").expect("it is listed");
        pace.push(asked.elapsed());
        let killed = Instant::now();
        let app = home.kill_primary("web", Signal::SIGKILL);
        right_after.push(killed.elapsed());
        let pids: Vec<u32> = app.workers.iter().filter_map(|worker| worker.pid).collect();
        assert_eq!(pids, workers, "after {count} kills");
        assert_eq!((app.status, app.ready), (Status::Ready, 2), "after {count} kills: {app:#?}");
        assert_eq!((app.keeper_pid, app.restarts), (keeper, 0));
        assert_eq!(u64::from(app.primary_deaths), count);
    }
    let seen = load.so_far().ok;
    load.warm(seen + 200);
    load.stop().nothing_lost(&format!("{kind:?}, {engine}: {} kills at rest", kills()));
    let ((usual, longest), (pace, slowest)) = (median_and_most(right_after), median_and_most(pace));
    println!("the list was right again after {usual:?}, at most {longest:?}");
    println!("a list takes {pace:?}, at most {slowest:?}");
    assert!(usual < USUAL.max(pace * PACE), "the list was right only after {usual:?}");
    assert!(longest < LONGEST.max(slowest * PACE), "the list was right only after {longest:?}");
    home.run(&["delete", "web"]).ok();
    home.nothing_left();
}

fn median_and_most(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

/// Kills the primary in the middle of jobs. Each job then has its whole effect or none.
fn at_work(kind: Kind, engine: &str) {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(port) = start(&home, kind, engine) else { return };
    let load = load(port.v4());
    let mut chance = Chance(11);
    let jobs: [&[&str]; 4] =
        [&["reload", "web"], &["scale", "web", "3"], &["reload", "web"], &["scale", "web", "2"]];
    for count in 0..kills() {
        let job = jobs[(count % 4) as usize];
        let before = home.listed("web").expect("it is listed");
        let running = home.spawn(job);
        tests::wait::let_pass(chance.millis(400));
        home.kill_primary("web", Signal::SIGKILL);
        let outcome = running.end(SOON * 2);
        let after = tests::wait::try_until(SOON, || {
            home.listed("web").filter(|app| app.status == Status::Ready && app.ready == app.wanted)
        });
        let Some(after) = after else {
            panic!("{job:?} never ended: {outcome:#?}\n{:#?}", home.listed("web"))
        };
        // The exit code of the job must be true.
        if outcome.code == Some(0) && job[0] == "reload" {
            // The number of a generation that was rolled back is not used again.
            assert!(after.generation > before.generation, "{outcome:#?}");
        }
        if outcome.code == Some(0) && job[0] == "scale" {
            assert_eq!(after.wanted.to_string(), job[2], "{outcome:#?}");
        }
        if outcome.code == Some(4) {
            assert_eq!(after.generation, before.generation, "{outcome:#?}");
        }
        println!("{count}: {job:?} -> {:?} {}", outcome.code, outcome.stderr.trim());
    }
    let seen = load.so_far().ok;
    load.warm(seen + 200);
    load.stop().nothing_lost(&format!("{kind:?}, {engine}: {} kills at work", kills()));
    home.run(&["reload", "web"]).ok();
    home.run(&["delete", "web"]).ok();
    home.nothing_left();
}

macro_rules! matrix {
    ($module:ident, $run:ident) => {
        mod $module {
            use super::*;

            #[test]
            fn node_in_the_kernel() {
                $run(Kind::Node, "kernel");
            }

            #[test]
            fn node_by_the_primary() {
                $run(Kind::Node, "primary");
            }

            #[test]
            fn go() {
                $run(Kind::Go, "auto");
            }

            #[test]
            fn python() {
                $run(Kind::Python, "auto");
            }
        }
    };
}

matrix!(heavy_rest, at_rest);
matrix!(heavy_work, at_work);

#[test]
fn heavy_the_primary_may_die_of_any_signal() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(port) = start(&home, Kind::Python, "auto") else { return };
    let workers = home.pids("web");
    let load = load(port.v4());
    for signal in [Signal::SIGSEGV, Signal::SIGABRT, Signal::SIGBUS, Signal::SIGKILL] {
        let app = home.kill_primary("web", signal);
        assert_eq!(app.workers.iter().filter_map(|w| w.pid).collect::<Vec<_>>(), workers);
        let log = home.log("web", "primary.log");
        assert!(log.contains(&format!("signal {}", signal.as_str())), "{signal}: {log}");
    }
    load.stop().nothing_lost("four ways to die");
}

#[test]
fn workers_that_die_with_the_primary_are_replaced() {
    let home = tests::home!();
    let Some(_port) = start(&home, Kind::Python, "auto") else { return };
    for _ in 0..5 {
        let app = home.wait_app("web", "both workers", SOON, |app| app.ready == 2);
        let victim = app.workers[1].pid.expect("it is ready");
        process::kill(app.primary_pid, Signal::SIGSTOP);
        process::kill(victim, Signal::SIGKILL);
        process::kill(app.primary_pid, Signal::SIGKILL);
        tests::wait::wait_until("the dead worker to be replaced", SOON, || {
            let app = home.listed("web")?;
            let fresh = app.workers.get(1)?.pid.is_some_and(|pid| pid != victim);
            (fresh && app.ready == 2 && app.status == Status::Ready).then_some(())
        });
    }
    home.run(&["delete", "web"]).ok();
    home.nothing_left();
}

/// Its workers serve meanwhile, and nobody is told to reload or restart what cannot answer.
#[test]
fn a_primary_that_a_signal_stopped_is_named() {
    let home = tests::home!();
    let Some(port) = start(&home, Kind::Python, "auto") else { return };
    let primary = home.app("web").primary_pid;
    process::kill(primary, Signal::SIGSTOP);
    let stopped = home.listed("web").expect("it is listed");
    let explained = home.run(&["explain", "web"]);
    let health = home.run(&["health", "web"]);
    let answer = tests::http::get(port.v4(), SOON);
    process::kill(primary, Signal::SIGCONT);
    assert_eq!(stopped.status, Status::Unresponsive);
    let reason = stopped.reason.expect("it has one");
    assert!(reason.ends_with(&format!("\"kill -CONT {primary}\" lets it go on")), "{reason}");
    assert!(explained.stdout.contains("kill -CONT") && !explained.stdout.contains("reload web"));
    assert_eq!(health.code, Some(1));
    answer.expect("its workers serve");
    home.wait_app("web", "the primary to go on", SOON, |app| app.status == Status::Ready);
}

#[test]
fn the_successor_answers_a_reload() {
    let home = tests::home!();
    let Some(_port) = start(&home, Kind::Python, "auto") else { return };
    let before = home.app("web");
    let running = home.spawn(&["reload", "web"]);
    home.wait_app("web", "the reload to begin", SOON, |app| {
        app.status == Status::Reloading && app.workers.len() > 2
    });
    process::kill(home.app("web").primary_pid, Signal::SIGKILL);
    let outcome = running.end(SOON).ok();
    assert!(
        outcome.stderr.contains("generation 2 serves") || outcome.stdout.contains("generation 2")
    );
    assert_eq!(home.app("web").generation, before.generation + 1);
}

/// It is not known whether the dead primary had read a request of this client.
#[test]
fn a_client_that_had_not_asked_yet_is_told_to_ask_again() {
    let home = tests::home!();
    let Some(_port) = start(&home, Kind::Python, "auto") else { return };
    let mut silent = UnixStream::connect(home.socket("web")).expect("connect to the primary");
    silent.set_read_timeout(Some(SOON)).expect("set a timeout");
    // With this, the primary writes down that it has this client.
    home.run(&["scale", "web", "3"]).ok();
    process::kill(home.app("web").primary_pid, Signal::SIGKILL);
    let mut answer = String::new();
    silent.read_to_string(&mut answer).expect("an answer, and the end");
    assert!(answer.contains("busy") && answer.contains("ask again"), "{answer}");
}

/// A client that only looks changes nothing that a successor must know.
#[test]
fn a_list_writes_no_state() {
    let home = tests::home!();
    home.run(&["start", "--name", "web", "--", "sleep", "60"]).ok();
    let primary = home.app("web").primary_pid;
    // The first seconds of a worker have other reasons to write it.
    tests::wait_until("a list that writes nothing", SOON, || {
        let before = state_numbers(primary);
        (0..3).for_each(|_| _ = home.app("web"));
        (!before.is_empty() && state_numbers(primary) == before).then_some(())
    });
    // After a reload it is written again.
    let before = state_numbers(primary);
    home.run(&["restart", "--hard", "web"]).ok();
    assert_ne!(state_numbers(primary), before);
}

/// The first lines of the two copies of the state, with their numbers.
fn state_numbers(primary: u32) -> Vec<String> {
    let folder = std::fs::read_dir(format!("/proc/{primary}/fd")).expect("it lives");
    let first_line = |path: std::path::PathBuf| {
        let name = std::fs::read_link(&path).ok()?.display().to_string();
        if !name.starts_with("/memfd:") {
            return None;
        }
        let mut begin = Vec::new();
        std::fs::File::open(path).ok()?.take(64).read_to_end(&mut begin).ok()?;
        let text = String::from_utf8_lossy(&begin).into_owned();
        text.starts_with("supervisor ").then_some(text)
    };
    folder.filter_map(|entry| first_line(entry.ok()?.path())).collect()
}

#[test]
fn a_keeper_costs_almost_nothing() {
    let home = tests::home!();
    let Some(_port) = start(&home, Kind::Python, "auto") else { return };
    let app = home.app("web");
    let keeper = app.keeper_pid.expect("there is one");
    // When memory runs out, the kernel kills others first. Workers keep the value of the shell.
    let worth = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj"));
        text.expect("it lives").trim().parse::<i32>().expect("a number")
    };
    let worker = worth(app.workers[0].pid.expect("it is ready"));
    assert_eq!(worker, worth(std::process::id()));
    if has_capability(24) {
        assert_eq!((worth(keeper), worth(app.primary_pid)), (-500, -500));
    }
    let private = private_kib(keeper);
    println!("the keeper has {private} KiB of its own");
    assert!(private <= 1024, "the keeper has {private} KiB of its own");
    // It sleeps in one call, so the kernel does not switch to it in this time.
    let switches = || status_number(keeper, "voluntary_ctxt_switches:");
    let before = switches();
    tests::wait::let_pass(Duration::from_secs(1));
    assert_eq!(switches(), before, "it was awake");
}

#[test]
fn heavy_without_its_keeper_an_app_serves_on_and_reports_it() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(port) = start(&home, Kind::Python, "auto") else { return };
    let workers = home.pids("web");
    let load = load(port.v4());
    process::kill(home.app("web").keeper_pid.expect("there is one"), Signal::SIGKILL);
    let app =
        home.wait_app("web", "the note about the keeper", SOON, |app| app.keeper_pid.is_none());
    assert!(app.notes.iter().any(|note| note.contains("the keeper")), "{:#?}", app.notes);
    process::kill(workers[0], Signal::SIGKILL);
    home.wait_app("web", "a replacement", SOON, |app| {
        app.ready == 2 && app.workers[0].pid != Some(workers[0])
    });
    home.run(&["reload", "web"]).ok();
    let tally = load.stop();
    // The worker that was killed under load may have lost the requests that it held, and no others.
    assert_eq!(tally.count(FaultKind::Refused) + tally.count(FaultKind::Hung), 0, "{tally}");
    home.run(&["delete", "web"]).ok();
    home.nothing_left();
}

#[test]
fn signals_to_the_keeper_reach_the_primary() {
    let home = tests::home!();
    let Some(_port) = start(&home, Kind::Python, "auto") else { return };
    let keeper = home.app("web").keeper_pid.expect("there is one");
    process::kill(keeper, Signal::SIGHUP);
    home.wait_app("web", "a reload", SOON, |app| {
        app.generation == 2 && app.status == Status::Ready
    });
    process::kill(keeper, Signal::SIGTERM);
    home.nothing_left();
}

#[test]
fn notices_and_names_survive() {
    let home = tests::home!();
    let Some(_port) = start(&home, Kind::Python, "auto") else { return };
    let mut follower = home.ask("web", &Request::Subscribe);
    home.kill_primary("web", Signal::SIGKILL);
    let heard = tests::wait::try_until(SOON, || {
        follower.notice(Duration::from_millis(100)).filter(|n| n.message.contains("primary died"))
    });
    assert!(heard.is_some(), "a subscriber did not hear of the death");
    home.run(&["start", "--name", "web", "--", "true"]).code(1).says(&["running already"]);
}

/// The memory that only this process uses. Unchanged pages of the program belong to the page cache.
fn private_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it lives");
    let of = |key: &str| -> u64 {
        let line =
            text.lines().find(|line| line.starts_with(key)).expect("the kernel has this line");
        line.split_ascii_whitespace().nth(1).expect("a number").parse().expect("a number")
    };
    println!("no other process maps {} KiB of the program", of("Private_Clean:"));
    of("Private_Dirty:")
}

/// Whether this process has the capability (capabilities(7): 24 is CAP_SYS_RESOURCE).
fn has_capability(number: u32) -> bool {
    let text = std::fs::read_to_string("/proc/self/status").expect("it lives");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .expect("the kernel has this line");
    u64::from_str_radix(line.trim(), 16).expect("a mask") >> number & 1 == 1
}

fn status_number(pid: u32, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = text.lines().find(|line| line.starts_with(key)).expect("the kernel has this line");
    line[key.len()..].trim().parse().expect("a number")
}

#[test]
fn orphans_are_reaped() {
    let home = tests::home!();
    let Some(python) = fixtures::need("python3") else { return };
    // A worker whose grandchildren lose their parent and end later.
    let script = home.write(
        "orphans.py",
        "import os, signal, time\n\
         for _ in range(50):\n\
         \x20   if os.fork() == 0:\n\
         \x20       if os.fork() == 0:\n\
         \x20           os.setsid(); time.sleep(0.05)\n\
         \x20       os._exit(0)\n\
         \x20   os.wait()\n\
         signal.pause()\n",
    );
    let script = script.display().to_string();
    home.start("orphans", &["-i", "1", "--ready", "uptime"], &[python, script]).ok();
    let keeper = home.app("orphans").keeper_pid.expect("there is one");
    let children = || {
        let path = format!("/proc/{keeper}/task/{keeper}/children");
        std::fs::read_to_string(path).expect("it lives").split_ascii_whitespace().count()
    };
    tests::wait::wait_until("the keeper to have no children but two", SOON, || {
        (children() == 2).then_some(())
    });
}
