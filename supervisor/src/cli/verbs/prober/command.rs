//! A probe by a command, which ends with exit code 0 if the worker is well.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use super::time_limit::span;
use crate::runtime::ProbeFound;
use crate::sys::pidfd::{self, Pid};
use crate::sys::poll::ready;

/// Runs the command and waits for it. At `until` it is killed, with what it has started.
pub(super) fn run(
    words: &[String],
    cwd: &Path,
    env: BTreeMap<String, String>,
    user: Option<(u32, u32)>,
    until: Instant,
    time: Duration,
) -> ProbeFound {
    let Some((program, arguments)) = words.split_first() else {
        return ProbeFound::Unknown("the probe has no command".to_owned());
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(cwd).envs(env).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some((uid, gid)) = user {
        command.gid(gid).uid(uid);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return ProbeFound::Unknown(format!("cannot run {program:?}: {error}")),
    };
    let ended = pidfd::open(Pid(child.id())).and_then(|pidfd| {
        let left = until.saturating_duration_since(Instant::now());
        ready(pidfd.as_fd(), PollFlags::POLLIN, Some(left))
    });
    match ended {
        Ok(true) => {}
        Ok(false) => {
            kill(&mut child);
            return ProbeFound::Failed(format!("{program:?} did not end within {}", span(time)));
        }
        Err(error) => {
            kill(&mut child);
            return ProbeFound::Unknown(format!("cannot wait for {program:?}: {error}"));
        }
    }
    match child.wait() {
        Ok(status) if status.success() => ProbeFound::Passed,
        Ok(status) => ProbeFound::Failed(format!("{program:?} ended with {}", shown(status))),
        Err(error) => ProbeFound::Unknown(format!("cannot wait for {program:?}: {error}")),
    }
}

/// Errors mean that it is gone already.
fn kill(child: &mut Child) {
    let _ = pidfd::signal_group(Pid(child.id()), libc::SIGKILL);
    let _ = child.wait();
}

fn shown(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => {
            let name = config::signal::name(signal).map(str::to_owned);
            format!("signal {}", name.unwrap_or_else(|| signal.to_string()))
        }
        (None, None) => "an unknown status".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(script: &str, time: Duration) -> ProbeFound {
        let words: Vec<String> = ["sh", "-c", script].map(str::to_owned).into();
        let env = BTreeMap::from([("SUPERVISOR_SLOT".to_owned(), "3".to_owned())]);
        run(&words, Path::new("/"), env, None, Instant::now() + time, time)
    }

    #[test]
    fn the_exit_code_decides() {
        let long = Duration::from_secs(20);
        assert_eq!(found("test $SUPERVISOR_SLOT = 3", long), ProbeFound::Passed);
        let failed = |why: &str| ProbeFound::Failed(why.to_owned());
        assert_eq!(found("exit 3", long), failed("\"sh\" ended with exit code 3"));
        assert_eq!(found("kill -9 $$", long), failed("\"sh\" ended with signal SIGKILL"));
        let late = found("sleep 60; true", Duration::from_millis(50));
        assert_eq!(late, failed("\"sh\" did not end within 50ms"));
    }

    #[test]
    fn a_command_that_cannot_be_run_says_nothing_of_the_worker() {
        let words = ["/no/such/check".to_owned()];
        let until = Instant::now() + Duration::from_secs(5);
        let found = run(&words, Path::new("/"), BTreeMap::new(), None, until, Duration::ZERO);
        assert!(matches!(found, ProbeFound::Unknown(why) if why.starts_with("cannot run ")));
    }
}
