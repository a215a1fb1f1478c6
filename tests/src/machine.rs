//! A machine that runs systemd, which is PID 1 of its own namespaces, over a copy-on-write view of
//! this machine's files (fixtures/systemd/boot.sh). It shares the network of this machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::run::{self, Outcome, Running};
use crate::wait::{try_until, wait_until};
use crate::{Home, fixtures, process, staging};

const SOON: Duration = Duration::from_secs(60);

/// A running machine. Dropping this kills it.
#[derive(Debug)]
pub struct Machine {
    unshare: Option<Running>,
    folder: PathBuf,
    /// Its PID 1, as this machine sees it.
    pid: u32,
    program: String,
}

impl Machine {
    /// Boots one that keeps its files in `home` and tests the binary of `home`. `None`, and a line
    /// on stderr, where that is not possible; on CI the test fails.
    pub fn boot(home: &Home) -> Option<Self> {
        if !fixtures::need_root("boot systemd in its own namespaces") {
            return None;
        }
        if !Path::new("/lib/systemd/systemd").exists() {
            assert!(!fixtures::on_ci(), "systemd is not installed, and on CI it must be");
            eprintln!("SKIPPED: systemd is not installed");
            return None;
        }
        let program = staging::program(home.built()).display().to_string();
        let folder = home.path().join("machine");
        std::fs::create_dir(&folder).expect("a new folder");
        let mut machine = Self { unshare: None, folder, pid: 0, program };
        machine.power_on();
        Some(machine)
    }

    /// The program under test, as the machine sees it.
    pub fn program(&self) -> &str {
        &self.program
    }

    fn power_on(&mut self) {
        let mut command = Command::new("unshare");
        let spaces = ["--pid", "--mount", "--ipc", "--uts", "--cgroup"];
        command.args(["--fork", "--kill-child"]).args(spaces);
        command.args(["bash", &fixtures::file("systemd/boot.sh")]).arg(&self.folder);
        let unshare = run::spawn(&mut command, &self.folder);
        let parent = unshare.pid();
        self.unshare = Some(unshare);
        self.pid = wait_until("the machine's first process", SOON, || process::child_of(parent));
        let up = try_until(SOON, || {
            let state = self.run_for(SOON, &["systemctl", "is-system-running"]).stdout;
            matches!(state.trim(), "running" | "degraded").then_some(())
        });
        let unshare = self.unshare.as_ref().expect("just started");
        assert!(up.is_some(), "systemd does not start: {}", unshare.stderr());
    }

    /// Whether files that are written inside survive a reboot.
    pub fn keeps_files(&self) -> bool {
        self.folder.join("upper/etc").exists()
    }

    /// Kills the machine and boots it again.
    pub fn reboot(&mut self) {
        self.power_off();
        self.power_on();
    }

    fn power_off(&mut self) {
        if let Some(unshare) = self.unshare.take() {
            process::kill(self.pid, Signal::SIGKILL);
            // unshare ends with its child; its exit code does not matter.
            let _ = try_until(SOON, || (!process::is_alive(self.pid)).then_some(()));
            drop(unshare);
        }
    }

    /// Runs a command inside, to its end.
    pub fn run(&self, command: &[&str]) -> Outcome {
        self.run_for(SOON, command)
    }

    /// Runs a command inside, to its end, which must come within `limit`.
    pub fn run_for(&self, limit: Duration, command: &[&str]) -> Outcome {
        self.spawn(command).end(limit)
    }

    /// Starts a command inside.
    pub fn spawn(&self, command: &[&str]) -> Running {
        let pid = self.pid.to_string();
        let mut inside = Command::new("nsenter");
        inside.args(["--target", &pid, "--all", "--"]).args(command);
        inside.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        run::spawn(&mut inside, &self.folder)
    }

    /// Runs the program under test inside.
    pub fn supervisor(&self, arguments: &[&str]) -> Outcome {
        self.run(&[&[self.program.as_str()], arguments].concat())
    }

    /// The value of a property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> String {
        let shown = self.run(&["systemctl", "show", "--value", "--property", name, unit]).ok();
        shown.stdout.trim().to_owned()
    }

    /// Writes a file inside.
    pub fn write(&self, path: &str, text: &str) {
        let outside = self.folder.join("text");
        std::fs::write(&outside, text).expect("write a file");
        let outside = outside.display().to_string();
        self.run(&["install", "-D", "-m", "644", &outside, path]).ok();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && self.unshare.is_some() {
            let log = self.run(&["journalctl", "--no-pager", "--lines", "60"]);
            eprintln!("---- the machine's journal\n{}", log.stdout);
        }
        self.power_off();
    }
}
