//! Carries the faults out, with the requests that other verbs send and with signals.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use config::change::{SpecChange, Written};
use config::spec::{AppSpec, ReadyRule};
use ipc::control::{AppStatus, Method, Request, Status, WorkerState};
use nix::sys::signal::Signal;

use super::clock::Clock;
use super::fault::Fault;
use super::plan::Step;
use super::verdict::Death;
use crate::cli::args::WaitOptions;
use crate::cli::exit::{Exit, Failure};
use crate::cli::launch::own_program;
use crate::cli::targets::{ask, probe, running_spec};
use crate::cli::trial::guard::{Duty, Guard};
use crate::cli::trial::interrupt::Interrupt;
use crate::cli::trial::stopped::Stopped;
use crate::home::Home;
use crate::sys::pidfd::{self, Pid};
use crate::sys::{diag, procfs, target};

/// How long a request to the primary may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(150);
/// How long the app may take to be as before after a step.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is asked.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The ready timeout of a deploy that never listens.
const HANGS_FOR: Duration = Duration::from_secs(3);
/// The most connections that fill queues, and the longest time for that.
const MOST_QUEUED: usize = 2000;
const FILL_TIMEOUT: Duration = Duration::from_millis(1500);
/// A connection that takes longer meets a full queue.
const QUEUE_IS_FULL: Duration = Duration::from_millis(100);

/// What a step needs.
#[derive(Debug, Clone)]
pub(super) struct Actor {
    pub(super) home: Home,
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) clock: Clock,
    pub(super) interrupt: Interrupt,
    pub(super) guard: Guard,
    /// The workers that were killed.
    pub(super) deaths: Arc<Mutex<Vec<Death>>>,
}

impl Actor {
    /// Carries a step out, and waits until the app is as before. An error says what became of it
    /// otherwise than expected.
    pub(super) fn perform(&self, step: &Step) -> Result<(), Failure> {
        match step.fault {
            Fault::Reload => self.reload()?,
            Fault::Scale => self.scale(step.delay)?,
            Fault::KillWorker => self.kill_worker(step)?,
            Fault::StopWorker => self.stop_worker(step)?,
            Fault::KillPrimary => self.kill_primary()?,
            Fault::Upgrade => {
                let binary = Some(own_program()?);
                self.ask(&Request::Upgrade { binary }, "upgrading")?;
            }
            Fault::DeployExits => self.deploy(&["sh", "-c", "exit 3"], None)?,
            Fault::DeployThrows => {
                let command = ["sh", "-c", "sleep 0.3; echo 'Error: chaos' >&2; exit 1"];
                self.deploy(&command, None)?;
            }
            Fault::DeployHangs => self.deploy(&["sleep", "600"], Some(HANGS_FOR))?,
            Fault::KillPrimaryInReload => self.in_reload(step, Self::kill_primary)?,
            Fault::KillWorkerInReload => self.in_reload(step, |actor| actor.kill_worker(step))?,
            Fault::FillQueue => self.fill_queue(step)?,
        }
        self.settle()
    }

    /// Whether an app of this configuration can have such a fault. `is_own`: chaos has started it,
    /// and deletes it.
    pub(super) fn is_possible(fault: Fault, spec: &AppSpec, is_own: bool) -> bool {
        match fault {
            // Whatever goes wrong, an app of the user's keeps its program and its supervisor.
            Fault::DeployExits | Fault::DeployThrows | Fault::DeployHangs | Fault::Upgrade
                if !is_own =>
            {
                false
            }
            Fault::DeployHangs => fails_without_listening(spec),
            // The supervisor kills a worker that does not do its work, as the user wants it to.
            Fault::StopWorker | Fault::FillQueue => {
                spec.times.hang_timeout.is_zero() && spec.liveness.ask.is_none()
            }
            Fault::DeployExits
            | Fault::DeployThrows
            | Fault::Upgrade
            | Fault::Reload
            | Fault::Scale
            | Fault::KillWorker
            | Fault::KillPrimary
            | Fault::KillPrimaryInReload
            | Fault::KillWorkerInReload => true,
        }
    }

    /// Waits until the app is ready, with all workers that are wanted.
    pub(super) fn settle(&self) -> Result<(), Failure> {
        let end = Instant::now() + SETTLE_TIMEOUT;
        loop {
            let seen = probe::status(&self.home, &self.name);
            let is_settled = |status: &AppStatus| {
                status.status == Status::Ready && status.ready == status.wanted
            };
            if matches!(&seen, Ok(Some(status)) if is_settled(status)) || self.interrupt.came() {
                return Ok(());
            }
            if Instant::now() > end {
                let state = match seen {
                    Ok(Some(status)) => {
                        let reason = status.reason.unwrap_or_default();
                        format!("{} of {} workers are ready: {reason}", status.ready, status.wanted)
                    }
                    Ok(None) => "there is no such app any more".to_owned(),
                    Err(failure) => failure.reason,
                };
                return Err(Failure::failed(format!(
                    "not ready {} later: {state}",
                    humantime::format_duration(SETTLE_TIMEOUT)
                )));
            }
            self.interrupt.wait(LOOK_EVERY);
        }
    }

    fn ask(&self, request: &Request, activity: &str) -> Result<(), Failure> {
        let wait = WaitOptions { timeout: Some(REQUEST_TIMEOUT), ..WaitOptions::default() };
        ask(&self.home, &self.name, request, activity, &wait).map(drop)
    }

    fn status(&self) -> Result<AppStatus, Failure> {
        probe::existing(&self.home, &self.name)
    }

    fn reload(&self) -> Result<(), Failure> {
        self.configure(SpecChange::default())
    }

    fn configure(&self, change: SpecChange) -> Result<(), Failure> {
        let method = Method::Rolling { pool: None };
        self.ask(&Request::Configure { change, method }, "reloading")
    }

    /// One worker more, and back.
    fn scale(&self, delay: Duration) -> Result<(), Failure> {
        let status = self.status()?;
        let before = status.pools.first().map_or(status.wanted, |pool| pool.wanted);
        let to = |wanted: u16, because: &str| {
            let because = because.to_owned();
            self.ask(&Request::Scale { wanted, because, pool: None }, "scaling")
        };
        to(before.saturating_add(1), "chaos")?;
        self.interrupt.wait(delay);
        to(before, &status.wanted_because)
    }

    /// The worker that a step means.
    fn worker(&self, step: &Step) -> Result<u32, Failure> {
        let ready = ready_workers(&self.status()?);
        let chosen = step.choose(ready.len()).map(|at| ready[at]);
        chosen.ok_or_else(|| Failure::failed("no worker is ready"))
    }

    /// Stops these workers, and does something meanwhile. The guard lets them go on if this process
    /// ends.
    fn while_stopped(
        &self,
        workers: &[u32],
        act: impl FnOnce(Stopped) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for worker in workers {
            self.guard.tell(Duty::Stopped { worker: *worker })?;
        }
        let stopped = Stopped::all(workers, &|| self.interrupt.came());
        let done = match stopped {
            Ok(stopped) => act(stopped),
            Err(error) => {
                let workers: Vec<String> = workers.iter().map(u32::to_string).collect();
                let what = format!("cannot stop worker {}", workers.join(", "));
                Err(Failure::io(what, &error))
            }
        };
        for worker in workers {
            self.guard.tell(Duty::GoesOn { worker: *worker })?;
        }
        done
    }

    /// Kills a worker and its processes. They stand still before that, so that what they have
    /// accepted is known.
    fn kill_worker(&self, step: &Step) -> Result<(), Failure> {
        let pid = self.worker(step)?;
        let cannot = |error| Failure::io(format_args!("cannot kill worker {pid}"), &error);
        self.while_stopped(&[pid], |stopped| {
            let clients = accepted_by(pid, self.address.port()).map_err(cannot)?;
            let death = Death { at: self.clock.now(), clients };
            self.deaths.lock().unwrap_or_else(PoisonError::into_inner).push(death);
            stopped.kill().map_err(cannot)
        })
    }

    fn stop_worker(&self, step: &Step) -> Result<(), Failure> {
        let pid = self.worker(step)?;
        self.while_stopped(&[pid], |stopped| {
            self.interrupt.wait(step.delay);
            drop(stopped);
            Ok(())
        })
    }

    /// Kills the primary, and waits until there is another one.
    fn kill_primary(&self) -> Result<(), Failure> {
        let before = self.status()?.primary_pid;
        let killed = pidfd::open(Pid(before)).and_then(|held| {
            // The number belongs to the primary as long as that says so.
            match self.status() {
                Ok(status) if status.primary_pid == before => {
                    pidfd::signal(held.as_fd(), Signal::SIGKILL as i32)
                }
                Ok(_) | Err(_) => Err(io::Error::other("there is another primary already")),
            }
        });
        killed
            .map_err(|error| Failure::io(format_args!("cannot kill primary {before}"), &error))?;
        let end = Instant::now() + SETTLE_TIMEOUT;
        while Instant::now() < end && !self.interrupt.came() {
            let is_another = |status: AppStatus| ![0, before].contains(&status.primary_pid);
            if self.status().is_ok_and(is_another) {
                return Ok(());
            }
            self.interrupt.wait(LOOK_EVERY);
        }
        if self.interrupt.came() {
            return Ok(());
        }
        Err(Failure::failed("no primary took over"))
    }

    /// Deploys what cannot work. The reload must be rolled back.
    fn deploy(&self, command: &[&str], ready_timeout: Option<Duration>) -> Result<(), Failure> {
        let good = running_spec(&self.home, &self.name)?;
        let mut broken = good.clone();
        broken.command = command.iter().map(|word| (*word).to_owned()).collect();
        broken.times.ready_timeout = ready_timeout.unwrap_or(broken.times.ready_timeout);
        match self.configure(written(broken)) {
            Err(failure) if failure.exit == Exit::RolledBack => Ok(()),
            Err(failure) => Err(failure),
            Ok(()) => {
                self.configure(written(good))?;
                Err(Failure::failed("the deploy of a broken program was taken for a good one"))
            }
        }
    }

    /// Reloads, and strikes in the middle. What the reload says then does not matter: it goes on
    /// or is rolled back, and the app must be as before.
    fn in_reload(
        &self,
        step: &Step,
        strike: impl FnOnce(&Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let cannot = |error| Failure::io("cannot start a thread for a reload", &error);
        thread::scope(|scope| {
            let reload = || self.reload();
            let reload = thread::Builder::new().spawn_scoped(scope, reload).map_err(cannot)?;
            self.interrupt.wait(step.delay);
            let struck = strike(self);
            let _ = reload.join();
            struck
        })
    }

    /// Stops all workers, and connects until their queues are full.
    fn fill_queue(&self, step: &Step) -> Result<(), Failure> {
        let workers = ready_workers(&self.status()?);
        self.while_stopped(&workers, |stopped| {
            let end = Instant::now() + FILL_TIMEOUT;
            let mut waiting = Vec::new();
            while waiting.len() < MOST_QUEUED && Instant::now() < end && !self.interrupt.came() {
                match std::net::TcpStream::connect_timeout(&self.address, QUEUE_IS_FULL) {
                    Ok(stream) => waiting.push(stream),
                    // The queue is full, or this process has no descriptor left.
                    Err(_) => break,
                }
            }
            self.interrupt.wait(step.delay / 2);
            drop(waiting);
            drop(stopped);
            Ok(())
        })
    }
}

/// Whether a program that listens nowhere is never ready. One that inherits its sockets, or whose
/// sockets the supervisor does not see, counts as ready when it has lived for a while.
fn fails_without_listening(spec: &AppSpec) -> bool {
    let says_so = spec.readiness.ask.is_some() || spec.ready == ReadyRule::Notify;
    let is_seen = spec.listen.is_empty() && spec.intercept;
    says_so || (spec.ready != ReadyRule::Uptime && is_seen)
}

/// A change to this spec.
fn written(spec: AppSpec) -> SpecChange {
    let written = Written { spec: Box::new(spec), counted: BTreeSet::new() };
    SpecChange { written: Some(written), ..SpecChange::default() }
}

fn ready_workers(status: &AppStatus) -> Vec<u32> {
    let ready = status.workers.iter().filter(|worker| worker.state == WorkerState::Ready);
    ready.filter_map(|worker| worker.pid).collect()
}

/// The clients' ends of the connections that the processes of this worker have accepted.
fn accepted_by(worker: u32, port: u16) -> io::Result<BTreeSet<SocketAddr>> {
    let mut family = procfs::group_members(worker);
    family.extend(target::descendants(worker));
    let sockets = target::sockets_of(&family)?;
    let connections = diag::connections(&[port])?.into_iter();
    let held = connections.filter(|connection| sockets.contains(&connection.inode));
    Ok(held.map(|connection| connection.remote).collect())
}
