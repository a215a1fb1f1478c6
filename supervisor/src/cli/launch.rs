//! Starts the process that will be an app's primary, and waits until it can be spoken to.
//!
//! The new process says one line of JSON on its stdout: that its control socket accepts, or why
//! there will be none. It gets 10 seconds for that and no more.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use config::spec::AppSpec;
use ipc::control::FailureKind;
use ipc::lines::{LineReader, to_line};
use serde::Deserialize;

use super::ask::refused;
use super::exit::{Exit, Failure};
use super::output;
use crate::home::{HOME_VARIABLE, Home};
use crate::sys::daemon;

/// How long a primary may take until its control socket accepts.
const PATIENCE: Duration = Duration::from_secs(10);

/// Variables by which the folders are found.
pub(super) const PLACES: [&str; 3] = ["HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"];

/// So much of the primary's log is shown when it ends without a word.
const TAIL_LINES: usize = 10;
const TAIL_BYTES: u64 = 16 * 1024;

/// The one line that a new primary says.
#[derive(Debug, Deserialize)]
struct Launched {
    ok: bool,
    #[serde(default)]
    kind: Option<FailureKind>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    last_lines: Vec<String>,
}

/// Starts the primary of `spec` in the background.
pub(crate) fn launch(
    home: &Home,
    spec: &AppSpec,
    environment: Option<&BTreeMap<String, String>>,
) -> Result<(), Failure> {
    let program = own_program()?;
    // It is there still, even if its file was taken away.
    let program = if program.is_file() { program } else { "/proc/self/exe".into() };
    let mut command = Command::new(program);
    if let Some(environment) = environment {
        // Where things are is as here and now; what is found there must be found by others, too.
        let here = PLACES.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        command.env_clear().envs(environment).envs(here);
    }
    command.args([OsStr::new("primary"), OsStr::new(&spec.name)]);
    launch_as(command, home, spec, PATIENCE)
}

/// The file of this process's program.
pub(crate) fn own_program() -> Result<PathBuf, Failure> {
    daemon::own_program()
        .map_err(|error| Failure::io("cannot find the supervisor's own program", &error))
}

fn launch_as(
    mut command: Command,
    home: &Home,
    spec: &AppSpec,
    patience: Duration,
) -> Result<(), Failure> {
    home.prepare()?;
    home.prepare_logs(&spec.name)?;
    // Before anything runs: a path that is too long is refused here, with advice.
    home.socket(&spec.name)?;
    let log_path = home.primary_log(&spec.name);
    let log = OpenOptions::new().create(true).append(true).read(true).mode(0o640).open(&log_path);
    let mut log = log.map_err(|error| {
        Failure::io(format_args!("cannot open the log {}", log_path.display()), &error)
    })?;
    let before = log.seek(SeekFrom::End(0)).unwrap_or(0);
    let stderr = log.try_clone().map_err(|error| Failure::io("cannot copy a file", &error))?;
    if let Some(folder) = home.moved_to() {
        command.env(HOME_VARIABLE, folder);
    }
    command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
    // A lock or a pipe of whoever typed "start" is not to live as long as the app.
    crate::sys::exec::close_at_exec()
        .map_err(|error| Failure::io("cannot keep files to ourselves", &error))?;
    let mut child = command.spawn().map_err(|error| {
        Failure::io(format_args!("cannot start the primary of {}", spec.name), &error)
    })?;
    let line = to_line(spec).map_err(|error| Failure::failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A primary that does not read it says why, or ends, or is late; all are seen below. A long
        // spec does not fit into the pipe, so nobody here waits for it to be read.
        std::thread::spawn(move || stdin.write_all(&line));
    }
    let Some(stdout) = child.stdout.take() else {
        return Err(Failure::failed("the primary has no stdout"));
    };
    match report(stdout, patience) {
        Report::Said(Launched { ok: true, .. }) => Ok(()),
        Report::Said(said) => {
            let kind = said.kind.unwrap_or(FailureKind::Failed);
            Err(refused(&spec.name, kind, &said.reason, said.last_lines))
        }
        Report::Nothing(why) => Err(Failure {
            exit: Exit::Failed,
            reason: format!(
                "the primary of {} ended before it could say why ({why}); see {}",
                spec.name,
                log_path.display()
            ),
            last_lines: tail(&mut log, before),
        }),
        Report::Late => {
            end(&mut child);
            Err(Failure {
                exit: Exit::TimedOut,
                reason: format!(
                    "the primary of {} was not up after {} and was killed; see {}",
                    spec.name,
                    humantime::format_duration(patience),
                    log_path.display()
                ),
                last_lines: tail(&mut log, before),
            })
        }
    }
}

enum Report {
    Said(Launched),
    Nothing(String),
    Late,
}

/// Waits for the line.
fn report(mut stdout: ChildStdout, patience: Duration) -> Report {
    let until = Instant::now() + patience;
    let mut reader = LineReader::default();
    let mut bytes = [0; 4096];
    loop {
        match reader.next_message::<Launched>() {
            Ok(Some(said)) => return Report::Said(said),
            Ok(None) => {}
            Err(error) => return Report::Nothing(error.to_string()),
        }
        let left = until.saturating_duration_since(Instant::now());
        match output::readable(&stdout, left) {
            Ok(true) => {}
            Ok(false) if until <= Instant::now() => return Report::Late,
            Ok(false) => continue,
            Err(error) => return Report::Nothing(error.to_string()),
        }
        match stdout.read(&mut bytes) {
            Ok(0) => return Report::Nothing("its stdout was closed".to_owned()),
            Ok(count) => reader.push(&bytes[..count]),
            Err(error) => return Report::Nothing(error.to_string()),
        }
    }
}

fn end(child: &mut Child) {
    // Errors mean that it is gone already.
    let _ = child.kill();
    let _ = child.wait();
}

/// The last lines that were added to the log since `from`.
fn tail(log: &mut File, from: u64) -> Vec<String> {
    let end = log.seek(SeekFrom::End(0)).unwrap_or(from);
    let start = from.max(end.saturating_sub(TAIL_BYTES));
    let mut bytes = Vec::new();
    let read =
        log.seek(SeekFrom::Start(start)).and_then(|_| log.take(TAIL_BYTES).read_to_end(&mut bytes));
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|&line| line.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, patience: Duration) -> (Result<(), Failure>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let spec = AppSpec::new("web", vec!["true".into()], "/".into());
        (launch_as(command, &home, &spec, patience), dir)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_spec_goes_in_and_a_word_comes_out() {
        let (done, dir) = run("cat > $SUPERVISOR_HOME/spec; pwd >&2; echo '{\"ok\":true}'", LONG);
        assert_eq!(done, Ok(()));
        let spec = std::fs::read(dir.path().join("spec")).unwrap();
        assert_eq!(serde_json::from_slice::<AppSpec>(&spec).unwrap().name, "web");
        let log = std::fs::read_to_string(dir.path().join("logs/web/primary.log")).unwrap();
        assert_eq!(log, "/\n");
    }

    #[test]
    fn a_refusal_comes_with_its_kind() {
        let (done, _dir) =
            run(r#"echo '{"ok":false,"kind":"not-permitted","reason":"no bpf"}'"#, LONG);
        assert_eq!(done.unwrap_err(), Failure::new(Exit::NotPermitted, "web: no bpf"));
    }

    #[test]
    fn an_end_without_a_word_shows_the_log() {
        let (done, _dir) = run("echo boom >&2; exit 3", LONG);
        let failure = done.unwrap_err();
        assert_eq!((failure.exit, failure.last_lines), (Exit::Failed, vec!["boom".to_owned()]));
        assert!(failure.reason.contains("ended before it could say why"), "{}", failure.reason);
    }

    #[test]
    fn silence_has_an_end() {
        let (done, _dir) = run("exec sleep 600", Duration::from_millis(50));
        let failure = done.unwrap_err();
        assert_eq!(failure.exit, Exit::TimedOut);
        assert!(failure.reason.contains("was not up after 50ms"), "{}", failure.reason);
    }
}
