//! One test's own SUPERVISOR_HOME: a folder with a short path, the command line run in it, and a
//! guard that kills every process of the home when the test ends. If the test fails, it prints the
//! logs.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ipc::control::{AppStatus, Request, WorkerStatus};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, chown};
use tempfile::TempDir;

use crate::control::{self, Control};
use crate::run::{Outcome, Running, spawn};
use crate::wait::{try_until, wait_until};
use crate::{process, staging};

/// How long any one command may take, unless a test says otherwise.
pub const LIMIT: Duration = Duration::from_secs(60);

/// `nobody`, on every Linux.
const NOBODY: u32 = 65_534;

/// A home; the head of this file says more.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
    binary: PathBuf,
    built: PathBuf,
    user: Option<u32>,
}

impl Home {
    /// A new home for the user that runs the tests.
    pub fn new(binary: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("sv-").tempdir_in("/tmp");
        let folder = folder.expect("make a temporary folder");
        Self { folder, binary: binary.into(), built: binary.into(), user: None }
    }

    /// A new home for `nobody`. `None` if the tests do not run as root.
    pub fn of_nobody(binary: &str) -> Option<Self> {
        if !crate::fixtures::need_root("run programs as another user") {
            return None;
        }
        let mut home = Self::new(binary);
        home.binary = staging::program(Path::new(binary));
        home.user = Some(NOBODY);
        home.give(home.folder.path());
        Some(home)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The binary that is tested.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The binary where Cargo built it, with the other programs of this package beside it.
    pub fn built(&self) -> &Path {
        &self.built
    }

    /// Writes a file into the folder and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("make a folder");
            self.give(parent);
        }
        fs::write(&path, text).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
        self.give(&path);
        path
    }

    /// Gives a path to the user of this home.
    pub fn give(&self, path: &Path) {
        if let Some(user) = self.user {
            chown(path, Some(Uid::from_raw(user)), Some(Gid::from_raw(user)))
                .unwrap_or_else(|e| panic!("chown {}: {e}", path.display()));
        }
    }

    /// The supervisor's command without arguments, with an environment of its own.
    pub fn command(&self) -> Command {
        self.command_of(&self.binary)
    }

    /// Another program, with the same environment and user.
    pub fn command_of(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path())
            .env("LANG", "C.UTF-8")
            .env("RUST_BACKTRACE", "1")
            .env("npm_config_update_notifier", "false")
            .env("SUPERVISOR_HOME", self.path())
            .env("SUPERVISOR_TEST_HOME", self.path())
            .current_dir(self.path());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs a command to its end.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Outcome {
        self.run_for(LIMIT, args)
    }

    /// Runs a command to its end, which must come within `limit`.
    pub fn run_for<S: AsRef<OsStr>>(&self, limit: Duration, args: &[S]) -> Outcome {
        self.spawn(args).end(limit)
    }

    /// Starts a command that runs on (`--foreground`, `logs -f`).
    pub fn spawn<S: AsRef<OsStr>>(&self, args: &[S]) -> Running {
        spawn(self.command().args(args), self.path())
    }

    /// `start --name NAME OPTIONS -- COMMAND`.
    pub fn start<S: AsRef<str>>(&self, name: &str, options: &[&str], command: &[S]) -> Outcome {
        let mut args = vec!["start", "--name", name];
        args.extend(options);
        args.push("--");
        args.extend(command.iter().map(AsRef::as_ref));
        self.run(&args)
    }

    /// `supervisor demo` with two workers on this port. Its name is `demo`.
    #[track_caller]
    pub fn demo(&self, port: u16) -> Outcome {
        self.run(&["demo", "--port", &port.to_string(), "-i", "2"])
    }

    /// Writes the configuration of one app: its command, and more lines of TOML. Returns its path.
    pub fn config(&self, name: &str, command: &[String], more: &str) -> String {
        let command = serde_json::to_string(command).expect("strings are JSON, and this is TOML");
        let text = format!("name = \"{name}\"\ncommand = {command}\n{more}\n");
        self.write(&format!("{name}.toml"), &text).display().to_string()
    }

    /// What `list --json` shows.
    #[track_caller]
    pub fn list(&self) -> Vec<AppStatus> {
        let outcome = self.run(&["list", "--json"]).ok();
        serde_json::from_str(&outcome.stdout)
            .unwrap_or_else(|e| panic!("cannot read what list --json prints ({e}): {outcome:#?}"))
    }

    /// The status of one app, from its control socket.
    pub fn app(&self, name: &str) -> AppStatus {
        control::status(&self.socket(name))
    }

    /// The pids of an app's live workers, by slot.
    pub fn pids(&self, name: &str) -> Vec<u32> {
        self.app(name).workers.iter().filter_map(|w| w.pid).collect()
    }

    /// Waits until the status of the app is as wanted. The app may be just starting.
    #[track_caller]
    pub fn wait_app(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&AppStatus) -> bool,
    ) -> AppStatus {
        let mut last = None;
        try_until(limit, || {
            let app = control::status_if_listening(&self.socket(name))?;
            let done = wanted(&app);
            last = Some(app.clone());
            done.then_some(app)
        })
        .unwrap_or_else(|| panic!("no {what} within {limit:?}; {name} is {last:#?}"))
    }

    /// Waits until one of the workers of the app is as wanted.
    #[track_caller]
    pub fn wait_worker(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&WorkerStatus) -> bool,
    ) -> WorkerStatus {
        let app = self.wait_app(name, what, limit, |app| app.workers.iter().any(&wanted));
        app.workers.into_iter().find(wanted).expect("just seen")
    }

    /// Sends a request to the primary of an app. When this returns, a subscription has begun.
    pub fn ask(&self, name: &str, request: &Request) -> Control {
        let socket = self.socket(name);
        let asked = Control::ask(&socket, request);
        if *request == Request::Subscribe {
            // A subscription has no answer. The primary answers in order, so it has begun before
            // this.
            Control::ask(&socket, &Request::Status).answer(Duration::from_secs(5));
        }
        asked
    }

    /// Waits for the control socket of the app and returns its path.
    pub fn socket(&self, name: &str) -> PathBuf {
        let file = format!("{name}.sock");
        wait_until(&format!("the control socket {file}"), Duration::from_secs(5), || {
            self.files().into_iter().find(|p| p.file_name() == Some(OsStr::new(&file)))
        })
    }

    /// The text of one of the app's log files (`out.log`, `err.log`, `primary.log`).
    pub fn log(&self, name: &str, file: &str) -> String {
        let path = self.files().into_iter().find(|p| {
            p.file_name() == Some(OsStr::new(file))
                && p.parent().and_then(Path::file_name) == Some(OsStr::new(name))
        });
        path.map_or_else(String::new, |path| {
            String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
        })
    }

    /// Every file below the folder, down to the depth that the supervisor uses.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![(self.path().to_owned(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let is_folder = entry.file_type().is_ok_and(|t| t.is_dir());
                if is_folder && depth < 4 {
                    folders.push((entry.path(), depth + 1));
                } else if !is_folder {
                    found.push(entry.path());
                }
            }
        }
        found
    }

    /// Panics if a process of this home lives on, or if `list` shows an app.
    #[track_caller]
    pub fn nothing_left(&self) {
        let mut left = Vec::new();
        let gone = try_until(Duration::from_secs(5), || {
            left = process::of_home(self.path());
            left.is_empty().then_some(())
        });
        assert!(gone.is_some(), "left behind: {left:#?}");
        let apps = self.list();
        assert!(apps.is_empty(), "still listed: {apps:#?}");
    }

    fn show_logs(&self) {
        let names = ["primary.log", "keeper.log", "out.log", "err.log"].map(OsStr::new);
        for path in self.files() {
            if path.file_name().is_some_and(|name| names.contains(&name)) {
                let text = fs::read(&path).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let lines: Vec<&str> = text.lines().collect();
                eprintln!("---- the end of {}", path.display());
                for line in &lines[lines.len().saturating_sub(60)..] {
                    eprintln!("{line}");
                }
            }
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        // Repeated, since a process may start another one just before it is killed.
        let gone = try_until(Duration::from_secs(10), || {
            let left = process::of_home(self.path());
            left.iter().for_each(|p| process::kill(p.pid, Signal::SIGKILL));
            left.is_empty().then_some(())
        });
        if gone.is_none() {
            eprintln!("processes of {} cannot be killed", self.path().display());
        }
    }
}
