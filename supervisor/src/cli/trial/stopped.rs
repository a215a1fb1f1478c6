//! A worker whose processes stand still.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::signal::Signal;

use crate::cli::output::pause;
use crate::sys::pidfd::{self, Pid};
use crate::sys::poll::ready;
use crate::sys::procfs;

/// How long stopped processes may take to stand still.
const STILL_TIMEOUT: Duration = Duration::from_millis(500);

/// A process group, named by its leader. The number of the group stays its own for as long as the
/// leader lives, and that is asked before every signal.
#[derive(Debug)]
pub(crate) struct Group {
    number: u32,
    leader: OwnedFd,
}

impl Group {
    /// The group that this process leads.
    pub(crate) fn led_by(leader: u32) -> io::Result<Self> {
        let group = Self { number: leader, leader: pidfd::open(Pid(leader))? };
        match procfs::group_members(leader).contains(&leader) {
            true => Ok(group),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Whether the leader lives.
    pub(crate) fn is_alive(&self) -> bool {
        // A descriptor of a process is readable once the process has ended.
        !ready(self.leader.as_fd(), PollFlags::POLLIN, Some(Duration::ZERO)).unwrap_or(true)
    }

    /// Sends a signal to all of its processes. A group whose leader has ended is left alone.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match self.is_alive() {
            true => pidfd::signal_group(Pid(self.number), signal as i32),
            false => Ok(()),
        }
    }

    /// Waits until SIGSTOP has reached every thread.
    fn wait_until_still(&self, end: Instant) {
        let is_still = || procfs::is_still(&procfs::group_members(self.number), self.number);
        while Instant::now() < end && !is_still() {
            pause(Duration::from_millis(1));
        }
    }
}

/// The processes of workers, which stand still until this is dropped.
#[derive(Debug)]
pub(crate) struct Stopped(Vec<Group>);

impl Stopped {
    /// Stops the workers with these main processes, until `enough` says that no further one is
    /// wanted. The wait until all stand still has one bound, however many they are.
    pub(crate) fn all(workers: &[u32], enough: &dyn Fn() -> bool) -> io::Result<Self> {
        let mut stopped = Self(Vec::with_capacity(workers.len()));
        for worker in workers {
            if enough() {
                break;
            }
            let group = Group::led_by(*worker)?;
            // The leader first: its number cannot become that of another process then.
            pidfd::signal(group.leader.as_fd(), Signal::SIGSTOP as i32)?;
            stopped.0.push(group);
            pidfd::signal_group(Pid(*worker), Signal::SIGSTOP as i32)?;
        }
        let end = Instant::now() + STILL_TIMEOUT;
        stopped.0.iter().for_each(|group| group.wait_until_still(end));
        Ok(stopped)
    }

    /// Kills them.
    pub(crate) fn kill(mut self) -> io::Result<()> {
        // Nothing is left to go on.
        self.0.drain(..).try_for_each(|group| group.signal(Signal::SIGKILL))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for group in &self.0 {
            // A worker that is gone needs nothing.
            let _ = group.signal(Signal::SIGCONT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").process_group(0).spawn().unwrap()
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_was_stopped_goes_on() {
        let child = sleeper();
        let stopped = Stopped::all(&[child.id()], &|| false).unwrap();
        assert!(procfs::is_stopped(child.id()));
        drop(stopped);
        assert!(!procfs::is_stopped(child.id()));
        end(child);
    }

    #[test]
    fn a_number_that_belongs_to_another_group_now_is_left_alone() {
        let (dead, other) = (sleeper(), sleeper());
        let leader = pidfd::open(Pid(dead.id())).unwrap();
        end(dead);
        // As if `other` had got the number of the one that was stopped.
        let held = Stopped::all(&[other.id()], &|| false).unwrap();
        drop(Stopped(vec![Group { number: other.id(), leader }]));
        assert!(procfs::is_stopped(other.id()));
        drop(held);
        end(other);
    }

    #[test]
    fn no_further_worker_is_stopped_once_it_is_enough() {
        let child = sleeper();
        let stopped = Stopped::all(&[child.id()], &|| true).unwrap();
        assert!(!procfs::is_stopped(child.id()));
        drop(stopped);
        end(child);
    }
}
