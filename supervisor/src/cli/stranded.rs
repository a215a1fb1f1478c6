//! Workers whose primary is gone: recognised by pid and start time, shown, and ended on demand.
//!
//! Never signals a process that is not certainly the recorded one.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use ipc::control::{AppStatus, Status};
use rustix::process::{
    Pid, PidfdFlags, Signal, getpgid, kill_process, kill_process_group, pidfd_open,
};

use super::exit::Failure;
use super::output;
use super::probe;
use crate::home::{Home, Record, RecordedWorker};
use crate::sys::procfs;

/// What a primary left, and which of its workers live.
#[derive(Debug)]
pub(crate) struct Lost {
    record: Record,
}

impl Lost {
    /// `None`: no worker of `record` lives.
    pub(crate) fn new(mut record: Record) -> Option<Self> {
        record.workers.retain(|worker| procfs::alive_since(worker.pid) == Some(worker.start_time));
        (!record.workers.is_empty()).then_some(Self { record })
    }

    /// Why the app is lost, and what to do.
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

    pub(crate) fn status(&self, name: &str) -> AppStatus {
        probe::from_record(name, &self.record, Status::Lost, &self.reason(name))
    }

    /// Ends the workers that live, as their primary would have, and removes what it left.
    pub(crate) fn end(&self, home: &Home, name: &str) -> Result<String, Failure> {
        let failed = |error| Failure::io(format_args!("cannot take the lock of {name}"), &error);
        let Some(held) = home.take_lock(name).map_err(failed)? else {
            return Err(Failure::failed(format!("{name} was started again meanwhile; try again")));
        };
        let spec = &self.record.spec;
        let term = Signal::from_named_raw(spec.stop_signal).unwrap_or(Signal::TERM);
        let living: Vec<(Pid, OwnedFd)> = self.record.workers.iter().filter_map(open).collect();
        for (pid, _) in &living {
            signal_group(*pid, term);
        }
        let until = Instant::now() + spec.times.kill_timeout;
        let mut killed = 0;
        for (pid, pidfd) in &living {
            let left = until.saturating_duration_since(Instant::now());
            if !output::readable(pidfd, left).unwrap_or(false) {
                killed += 1;
            }
            // Also where the worker itself is gone: its children may not be.
            signal_group(*pid, Signal::KILL);
        }
        for (pid, pidfd) in &living {
            if !output::readable(pidfd, Duration::from_secs(2)).unwrap_or(false) {
                return Err(Failure::failed(format!(
                    "{name}: the process {} cannot be killed",
                    pid.as_raw_nonzero()
                )));
            }
        }
        home.remove_leftovers(name, &held)?;
        let count = living.len();
        let workers = if count == 1 { "1 worker".to_owned() } else { format!("{count} workers") };
        let killed = if killed == 0 { String::new() } else { format!(", {killed} of them killed") };
        Ok(format!("deleted; {workers} without a primary stopped{killed}"))
    }
}

/// A hold on a recorded worker; `None`: it is gone.
fn open(worker: &RecordedWorker) -> Option<(Pid, OwnedFd)> {
    let pid = Pid::from_raw(i32::try_from(worker.pid).ok()?)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Looked at after the pidfd was opened, so that both mean the same process.
    (procfs::alive_since(worker.pid)? == worker.start_time).then_some((pid, pidfd))
}

/// Signals the group that a worker leads, or the worker alone where it leads none.
fn signal_group(pid: Pid, signal: Signal) {
    // Errors mean that it is gone meanwhile, which is what is wanted.
    let _ = match getpgid(Some(pid)) {
        Ok(group) if group != pid => kill_process(pid, signal),
        _ => kill_process_group(pid, signal),
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
        Record { primary_pid: 99, workers, spec }
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
    fn a_later_process_with_the_same_pid_is_another() {
        let own = recorded(std::process::id());
        assert!(Lost::new(record(vec![own])).is_some());
        let other = RecordedWorker { start_time: own.start_time - 1, ..own };
        assert!(Lost::new(record(vec![other])).is_none());
        assert!(open(&other).is_none());
    }

    #[test]
    fn lost_workers_are_shown_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        home.prepare().unwrap();
        let mut child = sleeper("exec sleep 600");
        let record = record(vec![recorded(child.id())]);
        home.write_record("web", &record).unwrap();

        let lost = Lost::new(record).unwrap();
        let status = lost.status("web");
        assert_eq!(status.status, Status::Lost);
        assert_eq!((status.generation, status.primary_pid), (3, 99));
        let reason = status.reason.unwrap();
        assert!(reason.contains("(pid 99) is gone and 1 worker still serves"), "{reason}");
        assert!(reason.contains("supervisor delete web"), "{reason}");

        let reaper = std::thread::spawn(move || child.wait().unwrap());
        let message = lost.end(&home, "web").unwrap();
        assert_eq!(reaper.join().unwrap().signal(), Some(15));
        assert!(message.contains("1 worker ") && !message.contains("killed"), "{message}");
        assert!(home.apps().unwrap().is_empty());
    }

    #[test]
    fn a_deaf_worker_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        home.prepare().unwrap();
        let ready = dir.path().join("ready");
        let script = format!("trap '' TERM; echo > {}; while :; do sleep 1; done", ready.display());
        let mut child = sleeper(&script);
        while !ready.exists() {
            output::pause(Duration::from_millis(5));
        }
        let lost = Lost::new(record(vec![recorded(child.id())])).unwrap();
        let reaper = std::thread::spawn(move || child.wait().unwrap());
        let message = lost.end(&home, "web").unwrap();
        assert_eq!(reaper.join().unwrap().signal(), Some(9));
        assert!(message.contains("killed"), "{message}");
    }
}
