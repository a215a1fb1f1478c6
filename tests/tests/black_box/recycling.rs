//! A worker that is well and reaches a limit (memory, age, connections) is replaced without a lost
//! request, and its replacement does not count as a failure.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipc::control::{NoticeKind, Request, Status};
use nix::sys::signal::Signal;
use tests::wait::wait_until;
use tests::{Home, Load, Port, fixtures, process};

const SOON: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

fn light(port: &Port) -> Load {
    Load { clients: 4, ..Load::new(port.v4()) }
}

/// A Node program that leaks so many MiB a second.
fn leaking(port: &Port, rate: u32) -> Option<Vec<String>> {
    let node = fixtures::need("node")?;
    Some(vec![node, fixtures::file("node/leaks.js"), port.to_string(), rate.to_string()])
}

/// Waits for so many replacements.
fn recycled(home: &Home, times: u64) {
    home.wait_app("web", "replacements", SOON, |app| app.recycles >= times);
}

#[test]
fn a_leak_is_recycled_without_a_lost_request_and_that_is_told() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = leaking(&port, 20) else { return };
    home.start("web", &["-i", "2", "--max-memory-restart", "110M"], &command).ok();
    let mut notices = home.ask("web", &Request::Subscribe);
    let load = light(&port).start();
    let notice = notices.notice_of(NoticeKind::WorkerRecycled, SOON);
    let begin = "is replaced as soon as its successor is ready: its resident memory (RSS) is ";
    assert!(notice.message.starts_with(begin), "{notice:?}");
    recycled(&home, 3);
    load.stop().nothing_lost("while leaking workers were recycled");
    let app = home.app("web");
    assert_eq!((app.restarts, app.generation), (0, 1), "{app:#?}");
    let exits: Vec<_> = app.workers.iter().filter_map(|w| w.last_exit.as_deref()).collect();
    assert!(exits.iter().any(|exit| exit.starts_with("recycled (")), "{exits:?}");
    let described = home.run(&["describe", "web"]).ok().stdout;
    assert!(described.contains("recycled"), "{described}");
    assert!(home.log("web", "primary.log").contains(begin));
}

#[test]
fn workers_that_are_too_old_are_replaced_also_after_the_primary_died() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let options = ["-i", "2", "--max-age", "3s", "--recycle-jitter", "40"];
    home.start("web", &options, &command).ok();
    let load = light(&port).start();
    recycled(&home, 1);
    let before = home.kill_primary("web", Signal::SIGKILL).recycles;
    assert!(before >= 1, "the successor knows what was before");
    recycled(&home, before + 2);
    load.stop().nothing_lost("while old workers were replaced");
    let app = home.app("web");
    assert_eq!((app.restarts, app.ready), (0, 2), "{app:#?}");
}

#[test]
fn a_worker_that_has_accepted_its_connections_is_replaced() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    home.start("web", &["--max-connections", "300"], &command).ok();
    let load = light(&port).start();
    recycled(&home, 2);
    load.stop().nothing_lost("while workers were replaced by their connections");
    let app = home.app("web");
    let exit = app.workers[0].last_exit.clone().expect("one has ended");
    assert!(exit.contains("it has accepted ") && app.restarts == 0, "{app:#?}");
}

#[test]
fn a_limit_below_what_the_program_needs_is_told_and_bounded() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let options = ["--max-memory", "1M", "--max-restarts", "2"];
    home.start("web", &options, &command).ok();
    let mut notices = home.ask("web", &Request::Subscribe);
    let warning = notices.notice_of(NoticeKind::Warning, SOON);
    let said = "its memory grows faster than recycling helps: its slot was recycled 2 times";
    assert!(warning.message.starts_with(said), "{warning:?}");
    let app = home.app("web");
    assert_eq!((app.recycles, app.status), (2, Status::Ready), "{app:#?}");
}

/// A control group with a limit of memory, removed in the end.
struct Group(PathBuf);

impl Group {
    /// `None`, visibly, where this user cannot make one.
    fn new(limit: u64) -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let old = groups.lines().find_map(|line| line.split_once(":memory:").map(|(_, own)| own));
        let name = format!("supervisor-test-{}", std::process::id());
        let (folder, key) = match old {
            Some(own) => {
                (Path::new("/sys/fs/cgroup/memory").join(&own[1..]), "memory.limit_in_bytes")
            }
            None => (PathBuf::from("/sys/fs/cgroup"), "memory.max"),
        };
        let group = Self(folder.join(name));
        let made = fs::create_dir(&group.0);
        let made = made.and_then(|()| fs::write(group.0.join(key), limit.to_string()));
        match made {
            Ok(()) => Some(group),
            Err(error) => {
                eprintln!("SKIPPED: no control group with a limit of memory here: {error}");
                None
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_worker_that_the_kernel_kills_for_its_memory_is_named_so() {
    let Some(group) = Group::new(160 * MIB) else { return };
    let home = tests::home!();
    let Some(python) = fixtures::need("python3") else { return };
    let program = "import time; time.sleep(1); all = bytearray(600 << 20); time.sleep(60)";
    let into = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
    let args = ["start", "--name", "web", "--ready", "uptime", "--min-uptime", "100ms", "--"];
    let mut start = home.command_of("sh");
    start.args(["-c", into]).arg(&group.0).arg(home.binary()).args(args);
    let started = start.args([&python, "-c", program]).output().expect("run sh");
    assert!(started.status.success(), "{started:?}");
    let app = home.wait_app("web", "the kill", SOON, |app| app.restarts > 0);
    let exit = app.workers[0].last_exit.clone().expect("it was killed");
    assert_eq!(exit, "signal SIGKILL: the kernel killed it because memory ran out (OOM)");
    // Another kill is none of the kernel's.
    let worker = home.wait_worker("web", "a worker", SOON, |worker| worker.pid.is_some());
    process::kill(worker.pid.expect("it lives"), Signal::SIGKILL);
    home.wait_app("web", "its end", SOON, |app| {
        app.workers[0].last_exit.as_deref() == Some("signal SIGKILL")
    });
    home.run(&["delete", "web"]).ok();
}

/// The memory of each worker that serves, in MiB, by its pid.
fn memory(home: &Home) -> BTreeMap<u32, u64> {
    let workers = home.app("web").workers.into_iter();
    workers.filter_map(|worker| Some((worker.pid?, worker.rss_bytes? / MIB))).collect()
}

/// Two workers that leak 20 MiB a second each, for three minutes (`LEAK_SECONDS`).
#[test]
fn heavy_a_fast_leak_under_load_is_caught_before_a_tenth_above_its_limit() {
    const LIMIT: u64 = 300;
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = leaking(&port, 20) else { return };
    home.start("web", &["-i", "2", "--max-memory", &format!("{LIMIT}M")], &command).ok();
    let load = Load::new(port.v4()).start();
    let span = Duration::from_secs(tests::primary_death::from_env("LEAK_SECONDS", 60));
    let (began, mut most) = (Instant::now(), BTreeMap::new());
    wait_until("the end of the load", span + SOON, || {
        for (pid, mib) in memory(&home) {
            let highest = most.entry(pid).or_insert(0);
            *highest = mib.max(*highest);
        }
        (began.elapsed() >= span).then_some(())
    });
    let tally = load.stop();
    let app = home.app("web");
    let highest = most.values().max().copied().expect("workers were measured");
    println!(
        "{} recycled in {span:?}, the most memory {highest} MiB of {LIMIT}\n{tally}",
        app.recycles
    );
    tally.nothing_lost("while fast leaks were recycled");
    assert!(app.recycles >= 5, "{}", app.recycles);
    assert!(highest <= LIMIT * 11 / 10, "{highest} MiB");
    assert_eq!(app.restarts, 0);
}

#[test]
fn a_schedule_replaces_all_workers_also_after_the_primary_died() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let times = ["--min-uptime", "100ms", "--observe", "0s"];
    let options = ["-i", "2", "--cron-restart", "*/4 * * * * *", "--cron-timezone", "UTC"];
    home.start("web", &[&options[..], &times].concat(), &command).ok();
    assert!(home.app("web").next_restart_unix_ms.is_some());
    let load = light(&port).start();
    let replaced = |than: u32| {
        home.wait_app("web", "a replacement", SOON, |app| {
            app.generation > than && app.status == Status::Ready
        })
    };
    let generation = replaced(1).generation;
    let generation = home.kill_primary("web", Signal::SIGKILL).generation.max(generation);
    let app = replaced(generation);
    load.stop().nothing_lost("while a schedule replaced the workers");
    assert_eq!((app.restarts, app.recycles), (0, 0), "{app:#?}");
    assert!(home.log("web", "primary.log").contains("cron_restart \"*/4 * * * * *\" is due"));
    assert!(home.run(&["describe", "web"]).ok().stdout.contains("next reload"));
}
