//! The lease of the leader: whatever dies, is reloaded, scaled or upgraded, one worker holds it,
//! never two, and the next one has it soon after the last one is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ipc::control::{Contract, Status};
use nix::sys::signal::Signal;
use tests::wait::{let_pass, wait_until};
use tests::{Home, Port, fixtures, process};

const SOON: Duration = Duration::from_secs(30);
/// How long after the end of a leader the next one leads, at most, in seconds.
const LATEST: f64 = 1.0;

/// Workers that all want the lease, and what they wrote.
struct Workers {
    home: Home,
    file: PathBuf,
}

impl Workers {
    fn start(options: &[&str]) -> Option<Self> {
        Self::of(options, |_, arguments| fixtures::python("leader.py", &arguments))
    }

    /// With the program that `command` makes of a port and a file.
    fn of(
        options: &[&str],
        command: impl FnOnce(&Home, [String; 2]) -> Option<Vec<String>>,
    ) -> Option<Self> {
        let (home, port) = (tests::home!(), Port::new());
        let file = home.write("trace", "");
        let command = command(&home, [port.to_string(), file.display().to_string()])?;
        home.start("web", &[&["--leader", "--observe", "200ms"], options].concat(), &command).ok();
        Some(Self { home, file })
    }

    /// What was written: a word, a pid, and seconds.
    fn lines(&self) -> Vec<(String, u32, f64)> {
        let text = fs::read_to_string(&self.file).expect("read what the workers wrote");
        let line = |line: &str| {
            let [word, pid, time] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
            Some((word.to_owned(), pid.parse().ok()?, time.parse().ok()?))
        };
        text.lines().map(|text| line(text).unwrap_or_else(|| panic!("{text:?}"))).collect()
    }

    /// Every leader so far.
    fn leaders(&self) -> Vec<u32> {
        let lines = self.lines();
        lines.iter().filter(|(word, ..)| word == "lead").map(|(_, pid, _)| *pid).collect()
    }

    /// Waits for a leader that lives; its pid.
    fn leader(&self) -> u32 {
        wait_until("a leader", SOON, || {
            self.leaders().last().copied().filter(|pid| process::is_alive(*pid))
        })
    }

    /// Kills the leader; the next one.
    fn depose(&self) -> u32 {
        let old = self.leader();
        process::kill(old, Signal::SIGKILL);
        self.next_after(old)
    }

    fn next_after(&self, old: u32) -> u32 {
        wait_until(&format!("a leader after {old}"), SOON, || {
            self.leaders().last().copied().filter(|pid| *pid != old)
        })
    }

    /// There were never two, and never none for long.
    fn check(&self) {
        for (old, pid, none) in self.changes() {
            assert!(none < LATEST, "{none:.3} s without one between {old} and {pid}");
        }
    }

    /// There were never two. Which one followed on which, and after how many seconds.
    fn changes(&self) -> Vec<(u32, u32, f64)> {
        let lines = self.lines();
        assert!(lines.iter().all(|(word, ..)| word == "lead" || word == "beat"), "{lines:#?}");
        let mut changes = Vec::new();
        let mut last: Option<(u32, f64)> = None;
        for (word, pid, time) in &lines {
            match last {
                Some((old, _)) if word == "beat" => assert_eq!(*pid, old, "two leaders at once"),
                Some((old, then)) => changes.push((old, *pid, time - then)),
                None => assert_eq!(word, "lead"),
            }
            last = Some((*pid, *time));
        }
        changes
    }
}

/// The pids of the leaders by the status.
fn shown(home: &Home) -> Vec<u32> {
    let workers = home.app("web").workers;
    workers.iter().filter(|w| w.leader).filter_map(|w| w.pid).collect()
}

/// Kills the leader and waits for another one.
fn another_leads(home: &Home) {
    let leader = || {
        let leads = shown(home);
        assert!(leads.len() < 2, "{leads:?}");
        leads.first().copied()
    };
    let first = wait_until("a leader", SOON, leader);
    process::kill(first, Signal::SIGKILL);
    wait_until("the other one", SOON, || leader().filter(|pid| *pid != first));
}

#[test]
fn heavy_one_worker_leads_whatever_happens() {
    let _exclusive = tests::exclusive();
    let Some(all) = Workers::start(&["-i", "4"]) else { return };
    let first = all.leader();
    assert_eq!(shown(&all.home), [first]);
    let described = all.home.run(&["describe", "web"]).ok().stdout;
    assert!(described.contains("holds the lease of the leader"), "{described}");
    for _ in 0..3 {
        all.depose();
    }
    all.home.wait_app("web", "4 workers", SOON, |app| app.ready == 4);

    let old = all.leader();
    all.home.run(&["reload", "web"]).ok();
    let new = all.next_after(old);
    assert!(all.home.pids("web").contains(&new), "it is one of the new workers");

    // Whichever slot it has, with one worker it is the one that is left.
    all.home.run(&["scale", "web", "1"]).ok();
    let left = all.home.pids("web");
    wait_until("the worker that is left leads", SOON, || {
        (all.leaders().last() == left.first()).then_some(())
    });
    all.home.run(&["scale", "web", "4"]).ok();

    // The lease outlives the primary, and the workers of the next one have the same.
    let leader = all.leader();
    all.home.kill_primary("web", Signal::SIGKILL);
    assert_eq!((all.leader(), shown(&all.home)), (leader, vec![leader]));
    for _ in 0..4 {
        all.depose();
        all.home.wait_app("web", "4 workers", SOON, |app| app.ready == 4);
    }
    let leader = all.leader();
    all.home.run(&["upgrade", "web"]).ok();
    assert_eq!((all.leader(), shown(&all.home)), (leader, vec![leader]));
    all.depose();
    all.home.wait_app("web", "4 workers", SOON, |app| app.ready == 4);
    all.home.run(&["reload", "web"]).ok();
    all.next_after(leader);
    all.check();
    all.home.run(&["delete", "web"]).ok();
    all.home.nothing_left();
}

/// The program that asks by each client.
fn by_client(language: &str, home: &Home, [port, file]: [String; 2]) -> Option<Vec<String>> {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker");
    let client = clients.join(language).display().to_string();
    match language {
        "python" => fixtures::python("leader.py", &[port, file, client]),
        "node" => {
            let (node, _) = (fixtures::need("node")?, fixtures::need("flock")?);
            Some(vec![node, fixtures::file("node/leader.js"), port, file, client])
        }
        _ => {
            let server = home.built().with_file_name("leader-server");
            Some(vec![server.display().to_string(), port, file])
        }
    }
}

#[test]
fn heavy_with_every_client_one_worker_leads_even_while_it_is_stopped() {
    let _exclusive = tests::exclusive();
    for language in ["python", "node", "rust"] {
        let by = |home: &Home, arguments| by_client(language, home, arguments);
        let Some(all) = Workers::of(&["-i", "3"], by) else { continue };
        let first = all.leader();
        wait_until("the status shows it", SOON, || (shown(&all.home) == [first]).then_some(()));
        process::kill(first, Signal::SIGSTOP);
        let_pass(Duration::from_secs(1));
        assert_eq!(all.leaders(), [first], "{language}: a leader that is stopped leads");
        process::kill(first, Signal::SIGCONT);
        let beats = all.lines().len();
        wait_until("it goes on", SOON, || (all.lines().len() > beats).then_some(()));
        all.depose();
        all.home.wait_app("web", "3 workers", SOON, |app| app.ready == 3);
        all.home.run(&["reload", "web"]).ok();
        let new = all.leader();
        assert!(all.home.pids("web").contains(&new), "{language}: it is one of the new workers");
        all.home.kill_primary("web", Signal::SIGKILL);
        let next = all.depose();
        assert_eq!(all.leader(), next);
        // An old worker may have led for a moment in the reload.
        let changes = all.changes();
        assert!(changes.len() >= 3, "{language}: {changes:?}");
        all.home.run(&["delete", "web"]).ok();
        all.home.nothing_left();
    }
}

/// A child of the leader that outlives it shares the lease. It ends with its worker, so the lease
/// does.
#[test]
fn what_a_leader_leaves_behind_does_not_keep_the_lease() {
    let home = tests::home!();
    let Some(python) = fixtures::need("python3") else { return };
    let script = "import fcntl, os, subprocess, time\n\
         lease = int(os.environ['SUPERVISOR_LEADER_FD'])\n\
         fcntl.flock(lease, fcntl.LOCK_EX)\n\
         subprocess.Popen(['setsid', 'sleep', '1000'], pass_fds=[lease])\n\
         time.sleep(1000)\n";
    let command = [python, "-c".to_owned(), script.to_owned()];
    home.start("web", &["-i", "2", "--leader", "--ready", "uptime"], &command).ok();
    another_leads(&home);
}

/// As docs/leader.md shows it for programs without flock(2).
#[test]
fn a_node_program_leads_by_the_command_flock() {
    let home = tests::home!();
    let (Some(node), Ok(_)) = (fixtures::need("node"), Command::new("flock").arg("-V").output())
    else {
        return;
    };
    let script = "const { spawn } = require('child_process');\n\
         const lease = Number(process.env.SUPERVISOR_LEADER_FD);\n\
         const wait = spawn('flock', ['3'], { stdio: ['ignore', 'ignore', 'inherit', lease] });\n\
         wait.on('exit', (code) => { if (code === 0) console.log('leads'); });\n\
         setInterval(() => {}, 1000);\n";
    let script = home.write("leads.js", script).display().to_string();
    let options = ["-i", "2", "--leader", "--ready", "uptime"];
    home.start("web", &options, &[node, script]).ok();
    another_leads(&home);
    wait_until("both said so", SOON, || {
        (home.log("web", "out.log").matches("leads").count() == 2).then_some(())
    });
}

#[test]
fn without_the_key_there_is_no_lease() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    home.start("web", &[], &command).ok();
    let app = home.app("web");
    let worker = &app.workers[0];
    assert!(app.status == Status::Ready && !worker.leader);
    assert!(!worker.contract.contains(&Contract::Leader));
    let environment = fs::read(format!("/proc/{}/environ", home.pids("web")[0])).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("SUPERVISOR_LEADER_FD"));
}
