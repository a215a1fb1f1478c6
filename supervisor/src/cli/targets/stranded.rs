//! Workers whose primary is dead. They are recognised by pid and start time, shown, and stopped
//! when the user deletes the app.
//!
//! A signal only goes to a process that is certainly the recorded one.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ipc::control::{AppStatus, Status};
use nix::unistd::getpgid;

use super::recorded;
use crate::cli::exit::Failure;
use crate::cli::output;
use crate::home::{Home, Record, RecordedWorker};
use crate::sys::pidfd::{self, Pid};
use crate::sys::procfs;

/// How long the kernel may take to end a process after SIGKILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// The workers of a dead primary that still run.
#[derive(Debug)]
pub(crate) struct StrandedWorkers {
    /// The record of the primary, with only those workers.
    record: Record,
}

impl StrandedWorkers {
    /// The workers of `record` that still run; `None` if there are none.
    pub(crate) fn of(mut record: Record) -> Option<Self> {
        record.workers.retain(|worker| procfs::alive_since(worker.pid) == Some(worker.start_time));
        (!record.workers.is_empty()).then_some(Self { record })
    }

    /// What happened to the app, and what the user can do.
    pub(crate) fn reason(&self, name: &str) -> String {
        let serve = match self.record.workers.len() {
            1 => "1 worker still serves".to_owned(),
            count => format!("{count} workers still serve"),
        };
        let pid = self.record.primary_pid;
        format!(
            "the primary (pid {pid}) is gone and {serve}: run \"supervisor delete {name}\" to stop \
             them, then start it again"
        )
    }

    /// The failure of a command that needs the primary.
    pub(crate) fn failure(&self, name: &str) -> Failure {
        Failure::failed(format!("{name}: {}", self.reason(name)))
    }

    /// The status of the app.
    pub(crate) fn status(&self, name: &str) -> AppStatus {
        recorded::status(name, &self.record, Status::Lost, &self.reason(name))
    }

    /// Stops the workers as their primary would have, and removes the files of the primary. Returns
    /// a message. Fails if the app was started again, or if a worker survives SIGKILL.
    pub(crate) fn stop(&self, home: &Home, name: &str) -> Result<String, Failure> {
        let failed = |error| Failure::io(format_args!("cannot take the lock of {name}"), &error);
        let files = home.files(name);
        let Some(held) = files.take_lock().map_err(failed)? else {
            return Err(Failure::failed(format!(
                "{name} was started again in the meantime; try again"
            )));
        };
        let spec = &self.record.spec;
        let workers: Vec<(Pid, OwnedFd)> = self.record.workers.iter().filter_map(open).collect();
        for worker in &workers {
            signal_group(worker, spec.stop_signal);
        }
        let until = Instant::now() + spec.times.kill_timeout;
        let mut killed = 0;
        for worker in &workers {
            let left = until.saturating_duration_since(Instant::now());
            if !output::wait_readable(&worker.1, left).unwrap_or(false) {
                killed += 1;
            }
            // Even if the worker itself has ended: its children may not have.
            signal_group(worker, libc::SIGKILL);
        }
        for (pid, pidfd) in &workers {
            if !output::wait_readable(pidfd, KILL_TIMEOUT).unwrap_or(false) {
                return Err(Failure::failed(format!("{name}: the process {pid} cannot be killed")));
            }
        }
        files.remove(&held)?;
        let count = workers.len();
        let stopped = if count == 1 { "1 worker".to_owned() } else { format!("{count} workers") };
        let killed = if killed == 0 { String::new() } else { format!(", {killed} of them killed") };
        Ok(format!("deleted; {stopped} without a primary stopped{killed}"))
    }
}

/// A pidfd of a recorded worker; `None` if the worker has ended.
fn open(worker: &RecordedWorker) -> Option<(Pid, OwnedFd)> {
    let pid = Pid(worker.pid);
    let pidfd = pidfd::open(pid).ok()?;
    // Read after the pidfd was opened, so that both belong to the same process.
    (procfs::alive_since(worker.pid)? == worker.start_time).then_some((pid, pidfd))
}

/// Signals the process group of a worker, or only the worker if it does not lead a group.
fn signal_group((pid, pidfd): &(Pid, OwnedFd), signal: i32) {
    let process = (*pid).into();
    // An error means that it has ended, which is the purpose.
    let _ = match getpgid(Some(process)) {
        Ok(group) if group != process => pidfd::signal(pidfd.as_fd(), signal),
        _ => pidfd::signal_group(*pid, signal),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::spec::AppSpec;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::Command;

    fn sleeper(script: &str) -> std::process::Child {
        Command::new("sh").args(["-c", script]).process_group(0).spawn().unwrap()
    }

    fn record(workers: Vec<RecordedWorker>) -> Record {
        let mut spec = AppSpec::new("web", vec!["sleep".into()], "/".into());
        spec.times.kill_timeout = Duration::from_millis(300);
        Record::new(99, workers, spec)
    }

    fn recorded(pid: u32) -> RecordedWorker {
        RecordedWorker {
            pid,
            start_time: procfs::alive_since(pid).unwrap(),
            slot: 0,
            generation: 3,
        }
    }

    #[test]
    fn a_later_process_with_the_same_pid_is_not_the_worker() {
        let own = recorded(std::process::id());
        assert!(StrandedWorkers::of(record(vec![own])).is_some());
        let other = RecordedWorker { start_time: own.start_time - 1, ..own };
        assert!(StrandedWorkers::of(record(vec![other])).is_none());
        assert!(open(&other).is_none());
    }

    #[test]
    fn stranded_workers_are_shown_and_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        home.prepare().unwrap();
        let mut child = sleeper("exec sleep 600");
        let record = record(vec![recorded(child.id())]);
        home.write_record("web", &record).unwrap();

        let workers = StrandedWorkers::of(record).unwrap();
        let status = workers.status("web");
        assert_eq!(status.status, Status::Lost);
        assert_eq!((status.generation, status.primary_pid), (3, 99));
        let reason = status.reason.unwrap();
        assert!(reason.contains("(pid 99) is gone and 1 worker still serves"), "{reason}");
        assert!(reason.contains("supervisor delete web"), "{reason}");

        let reaper = std::thread::spawn(move || child.wait().unwrap());
        let message = workers.stop(&home, "web").unwrap();
        assert_eq!(reaper.join().unwrap().signal(), Some(15));
        assert!(message.contains("1 worker ") && !message.contains("killed"), "{message}");
        assert!(home.apps().unwrap().is_empty());
    }

    #[test]
    fn a_worker_that_ignores_the_stop_signal_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        home.prepare().unwrap();
        let ready = dir.path().join("ready");
        let script = format!("trap '' TERM; echo > {}; while :; do sleep 1; done", ready.display());
        let mut child = sleeper(&script);
        while !ready.exists() {
            output::pause(Duration::from_millis(5));
        }
        let workers = StrandedWorkers::of(record(vec![recorded(child.id())])).unwrap();
        let reaper = std::thread::spawn(move || child.wait().unwrap());
        let message = workers.stop(&home, "web").unwrap();
        assert_eq!(reaper.join().unwrap().signal(), Some(9));
        assert!(message.contains("killed"), "{message}");
    }
}
