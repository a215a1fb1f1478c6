//! Starts the process that becomes the primary of an app, and waits until its control socket
//! accepts.
//!
//! The new process reads the spec from stdin and writes one line of JSON to stdout: that its
//! control socket accepts, or why it cannot start. If it does not within 10 seconds, it is killed.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use config::spec::AppSpec;
use ipc::control::FailureKind;
use ipc::lines::{LineReader, to_line};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Deserialize;

use super::zygote;
use crate::cli::exit::{Exit, Failure};
use crate::cli::files::tail::tail;
use crate::cli::output;
use crate::home::{HOME_VARIABLE, Home};
use crate::sys::exec::OWN_PROGRAM;
use crate::sys::strays::{APP_VARIABLE, PRIMARY, WORKER_VARIABLE};
use crate::sys::{daemon, pidfd};

/// How long a primary may take until its control socket accepts.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Variables from which the folders of the user follow.
pub(crate) const LOCATION_VARIABLES: [&str; 3] = ["HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"];

/// Lines of the primary's log that are shown if it ends without a report.
const TAIL_LINES: usize = 10;
/// Bytes of the log in which these lines are looked for.
const TAIL_BYTES: u64 = 16 * 1024;

/// The line that a new primary writes to stdout.
#[derive(Debug, Deserialize)]
struct Report {
    ok: bool,
    #[serde(default)]
    kind: Option<FailureKind>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    last_lines: Vec<String>,
}

/// Starts the primary of `spec` in the background, with `environment` or that of this process.
pub(super) fn start(
    home: &Home,
    spec: &AppSpec,
    environment: Option<&[(OsString, OsString)]>,
) -> Result<(), Failure> {
    let program = own_program()?;
    // If its file was removed, the kernel still has the program.
    let program = if program.is_file() { program } else { OWN_PROGRAM.into() };
    let mut command = Command::new(program);
    command.env_clear();
    match environment {
        Some(environment) => {
            // Other commands must find the app, so its folders follow from the variables of today.
            let locations =
                LOCATION_VARIABLES.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
            command.envs(environment.iter().cloned()).envs(locations);
        }
        None => _ = command.envs(std::env::vars_os()),
    }
    command.args([OsStr::new("primary"), OsStr::new(&spec.name)]);
    start_command(command, home, spec, START_TIMEOUT)
}

/// The path of the program of this process.
pub(crate) fn own_program() -> Result<PathBuf, Failure> {
    daemon::own_program()
        .map_err(|error| Failure::io("cannot find the supervisor's own program", &error))
}

/// Starts `command` as the primary, and waits at most `timeout` for its report.
fn start_command(
    mut command: Command,
    home: &Home,
    spec: &AppSpec,
    timeout: Duration,
) -> Result<(), Failure> {
    home.prepare()?;
    home.prepare_logs(&spec.name)?;
    // Refuses a path that is too long before a process is started.
    home.files(&spec.name).socket()?;
    let log_path = home.primary_log(&spec.name);
    let mut log = OpenOptions::new();
    log.create(true).append(true).read(true).mode(0o640).custom_flags(libc::O_NONBLOCK);
    let log = log.open(&log_path);
    let mut log = log.map_err(|error| {
        Failure::io(format_args!("cannot open the log {}", log_path.display()), &error)
    })?;
    let log_end = log.seek(SeekFrom::End(0)).unwrap_or(0);
    let stderr = log.try_clone().map_err(|error| Failure::io("cannot copy a file", &error))?;
    if let Some(folder) = home.home_override() {
        command.env(HOME_VARIABLE, folder);
    }
    // Called from inside a worker of another app: what is started here is not that worker's.
    command.env(APP_VARIABLE, &spec.name).env(WORKER_VARIABLE, PRIMARY);
    // A file has room for a long spec, which a pipe has not.
    let spec_file = spec_file(spec)
        .map_err(|error| Failure::io("cannot write the spec for the primary", &error))?;
    // The app must not keep a lock or a pipe of the user's shell open.
    crate::sys::exec::close_at_exec()
        .map_err(|error| Failure::io("cannot set close-on-exec on inherited files", &error))?;
    let (stdout, mut keeper) = begin(command, spec_file, stderr).map_err(|error| {
        let mut failure =
            Failure::io(format_args!("cannot start the primary of {}", spec.name), &error);
        if error.kind() == io::ErrorKind::WouldBlock {
            failure.reason.push_str(": this user may have no more processes; raise \"ulimit -u\"");
        }
        failure
    })?;
    match read_report(stdout, timeout) {
        Answer::Report(Report { ok: true, .. }) => Ok(()),
        Answer::Report(report) => {
            let kind = report.kind.unwrap_or(FailureKind::Failed);
            Err(Failure::refused(&spec.name, kind, &report.reason, report.last_lines))
        }
        Answer::Ended(why) => Err(Failure {
            exit: Exit::Failed,
            reason: format!(
                "the primary of {} ended before it could say why ({why}); see {}",
                spec.name,
                log_path.display()
            ),
            last_lines: tail(&mut log, log_end, TAIL_BYTES, TAIL_LINES),
        }),
        Answer::Late => {
            keeper.kill();
            Err(Failure {
                exit: Exit::TimedOut,
                reason: format!(
                    "the primary of {} was not up after {} and was killed; see {}",
                    spec.name,
                    humantime::format_duration(timeout),
                    log_path.display()
                ),
                last_lines: tail(&mut log, log_end, TAIL_BYTES, TAIL_LINES),
            })
        }
    }
}

/// The keeper, which is a child of this process.
enum Keeper {
    Executed(Child),
    Forked(OwnedFd),
}

/// Starts the keeper with these as stdin and stderr, and gives the end of its stdout. The zygote
/// forks it, if there is one.
fn begin(mut command: Command, stdin: File, stderr: File) -> io::Result<(PipeReader, Keeper)> {
    let (stdout, theirs) = io::pipe()?;
    let standard = [stdin.as_fd(), theirs.as_fd(), stderr.as_fd()];
    if let Some(keeper) = zygote::fork_keeper(&command, standard)? {
        return Ok((stdout, Keeper::Forked(keeper)));
    }
    command.current_dir("/").stdin(stdin).stdout(theirs).stderr(stderr);
    Ok((stdout, Keeper::Executed(command.spawn()?)))
}

impl Keeper {
    fn kill(&mut self) {
        // An error means that it has ended already.
        match self {
            Self::Executed(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Self::Forked(keeper) => _ = pidfd::signal(keeper.as_fd(), libc::SIGKILL),
        }
    }
}

/// A file in memory with the spec as a line of JSON.
fn spec_file(spec: &AppSpec) -> io::Result<File> {
    let line = to_line(spec).map_err(io::Error::other)?;
    let mut file = File::from(memfd_create("supervisor-spec", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&line)?;
    file.rewind()?;
    Ok(file)
}

/// What came of the wait for the report.
enum Answer {
    Report(Report),
    /// stdout ended, or something else came over it. With the reason.
    Ended(String),
    /// The time is over.
    Late,
}

/// Waits for the report.
fn read_report(mut stdout: PipeReader, timeout: Duration) -> Answer {
    let until = Instant::now() + timeout;
    let mut reader = LineReader::default();
    let mut bytes = [0; 4096];
    loop {
        match reader.next_message::<Report>() {
            Ok(Some(report)) => return Answer::Report(report),
            Ok(None) => {}
            Err(error) => return Answer::Ended(error.to_string()),
        }
        let left = until.saturating_duration_since(Instant::now());
        match output::wait_readable(&stdout, left) {
            Ok(true) => {}
            Ok(false) if until <= Instant::now() => return Answer::Late,
            Ok(false) => continue,
            Err(error) => return Answer::Ended(error.to_string()),
        }
        match stdout.read(&mut bytes) {
            Ok(0) => return Answer::Ended("its stdout was closed".to_owned()),
            Ok(count) => reader.push(&bytes[..count]),
            Err(error) => return Answer::Ended(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, timeout: Duration) -> (Result<(), Failure>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let spec = AppSpec::new("web", vec!["true".into()], "/".into());
        (start_command(command, &home, &spec, timeout), dir)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_spec_goes_in_and_a_report_comes_out() {
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
    fn an_end_without_a_report_shows_the_log() {
        let (done, _dir) = run("echo boom >&2; exit 3", LONG);
        let failure = done.unwrap_err();
        assert_eq!((failure.exit, failure.last_lines), (Exit::Failed, vec!["boom".to_owned()]));
        assert!(failure.reason.contains("ended before it could say why"), "{}", failure.reason);
    }

    #[test]
    fn a_primary_that_reports_nothing_is_killed() {
        let (done, _dir) = run("exec sleep 600", Duration::from_millis(50));
        let failure = done.unwrap_err();
        assert_eq!(failure.exit, Exit::TimedOut);
        assert!(failure.reason.contains("was not up after 50ms"), "{}", failure.reason);
    }
}
