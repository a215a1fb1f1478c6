//! Runs a program to its end, within a time limit. Its output goes to files: with a pipe, a daemon
//! that kept it open would keep the test waiting.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::wait::try_until;

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The command line, for messages.
    pub command: String,
    /// The exit code. `None` if a signal killed it.
    pub code: Option<i32>,
    /// Everything on stdout.
    pub stdout: String,
    /// Everything on stderr.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Panics with the whole outcome unless the exit code is this.
    #[track_caller]
    pub fn code(self, wanted: i32) -> Self {
        assert!(self.code == Some(wanted), "exit code {wanted} expected: {self:#?}");
        self
    }

    /// Panics unless the exit code is 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Panics unless stderr contains all of these words, in upper or lower case.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        let stderr = self.stderr.to_lowercase();
        for word in words {
            assert!(stderr.contains(&word.to_lowercase()), "stderr lacks {word:?}: {self:#?}");
        }
        self
    }

    /// Panics unless stdout contains all of these words.
    #[track_caller]
    pub fn shows(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stdout.contains(word), "stdout lacks {word:?}: {self:#?}");
        }
        self
    }

    /// Panics unless stderr is exactly one line.
    #[track_caller]
    pub fn one_line(self) -> Self {
        let lines = self.stderr.lines().filter(|l| !l.trim().is_empty()).count();
        assert!(lines == 1, "one line on stderr expected: {self:#?}");
        self
    }

    /// Stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("stdout is not JSON ({e}): {self:#?}"))
    }
}

/// A running program, with its output in files.
#[derive(Debug)]
pub struct Running {
    child: Child,
    command: String,
    files: [std::path::PathBuf; 2],
    begun: Instant,
}

/// Starts a program; its output goes to files in `folder`.
pub fn spawn(command: &mut Command, folder: &Path) -> Running {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let files = ["out", "err"].map(|kind| folder.join(format!("run-{count}.{kind}")));
    let [out, err] = files
        .each_ref()
        .map(|path| File::create(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let shown = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    let begun = Instant::now();
    let child = command.spawn().unwrap_or_else(|e| panic!("run {shown}: {e}"));
    Running { child, command: shown, files, begun }
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stdout so far.
    pub fn stdout(&self) -> String {
        read(&self.files[0])
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        read(&self.files[1])
    }

    /// Waits for its end. If it still runs after `limit`, the test fails and kills it.
    #[track_caller]
    pub fn end(mut self, limit: Duration) -> Outcome {
        let status: Option<ExitStatus> =
            try_until(limit, || self.child.try_wait().expect("wait for a child"));
        let Some(status) = status else {
            let (out, err) = (self.stdout(), self.stderr());
            panic!("{} still runs after {limit:?}\nstdout: {out}\nstderr: {err}", self.command);
        };
        Outcome {
            command: self.command.clone(),
            code: status.code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
            took: self.begun.elapsed(),
        }
    }
}

impl Drop for Running {
    /// Kills it if it still runs. An error means that it has ended and was reaped already.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        for file in &self.files {
            drop(fs::remove_file(file));
        }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
