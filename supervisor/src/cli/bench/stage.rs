//! Starts and ends the app in each setup, and knows which of its processes are the app's.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use config::spec::{AppSpec, Balance, Engine};
use config::words;
use nix::sys::signal::Signal;

use super::setup::{Program, Setup, with_one_worker};
use crate::cli::exit::Failure;
use crate::cli::files::tail::tail;
use crate::cli::launch::own_program;
use crate::cli::output::pause;
use crate::cli::specs::check;
use crate::cli::targets::probe;
use crate::cli::trial::exchange::Connection;
use crate::cli::trial::guard::{Duty, Guard};
use crate::cli::trial::interrupt::Interrupt;
use crate::cli::trial::own_app;
use crate::cli::trial::site::is_of_this_machine;
use crate::cli::trial::stopped::Group;
use crate::home::Home;
use crate::sys::socket::reachable;
use crate::sys::{diag, target};

/// The longest time that a setup may take to listen and answer.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long its processes may take to end by themselves, and the port to be free then.
const END_TIMEOUT: Duration = Duration::from_secs(2);
const FREE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a command of another supervisor may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes of the end of the output that are looked through for the reason of a failure.
const TAIL: u64 = 4096;
const TAIL_LINES: usize = 20;

/// Node's own cluster: as many copies of a script as the first argument says. They do not inherit
/// the option `-e`.
const CLUSTER: &str = "const c = require('cluster'); const [, n, exec, ...args] = process.argv; \
                       c.setupPrimary({ exec, args, execArgv: [] }); for (let i = 0; i < n; i++) c.fork();";

/// Where setups are started.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) home: Home,
    /// The app: its command, folder, environment and number of workers.
    pub(super) spec: AppSpec,
    pub(super) program: Program,
    /// The program of PM2, if there is one.
    pub(super) pm2: Option<PathBuf>,
    /// For outputs and PM2's files.
    pub(super) folder: PathBuf,
    pub(super) guard: &'a Guard,
    pub(super) interrupt: &'a Interrupt,
    /// How long a setup may take to listen and answer.
    pub(super) patience: Duration,
}

/// A setup that runs.
#[derive(Debug)]
pub(super) struct Running {
    setup: Setup,
    /// The process that has started the copies.
    copies: Option<(Child, Group)>,
}

/// The processes of a setup.
#[derive(Debug, Default)]
pub(super) struct Processes {
    pub(super) app: BTreeSet<u32>,
    /// What is neither the app nor the client.
    pub(super) outside: BTreeSet<u32>,
}

impl Stage<'_> {
    /// Starts the app as one process, and finds out where it listens.
    pub(super) fn single(
        &self,
        chosen: Option<SocketAddr>,
    ) -> Result<(Running, SocketAddr), Failure> {
        let mut running = self.copies(Setup::Single, &with_one_worker(&self.spec.command), 1)?;
        let found = self.address_of(&mut running, chosen);
        self.or_end(running, None, found)
    }

    /// A setup and what was found out about it. If that failed, it is ended.
    fn or_end<T>(
        &self,
        running: Running,
        address: Option<SocketAddr>,
        found: Result<T, Failure>,
    ) -> Result<(Running, T), Failure> {
        match found {
            Ok(found) => Ok((running, found)),
            Err(failure) => {
                self.end(running, address);
                Err(failure)
            }
        }
    }

    /// Starts a setup, and waits until it listens there.
    pub(super) fn start(&self, setup: Setup, address: SocketAddr) -> Result<Running, Failure> {
        let count = self.spec.wanted;
        let mut running = match setup {
            Setup::Kernel(balance) => return self.ours(setup, Engine::Kernel, balance, address),
            Setup::Primary(balance) => return self.ours(setup, Engine::Primary, balance, address),
            Setup::Pm2 => self.pm2(count)?,
            Setup::Single => self.copies(setup, &with_one_worker(&self.spec.command), 1)?,
            Setup::Bare => self.copies(setup, &with_one_worker(&self.spec.command), count)?,
            Setup::Gunicorn => self.copies(setup, &self.spec.command, 1)?,
            Setup::Cluster => self.copies(setup, &self.cluster(), 1)?,
        };
        let sockets = if setup == Setup::Bare { usize::from(count) } else { 1 };
        let listens = self.await_sockets(&mut running, address, sockets);
        self.or_end(running, Some(address), listens).map(|(running, ())| running)
    }

    /// Ends a setup, and waits until its port is free.
    pub(super) fn end(&self, running: Running, address: Option<SocketAddr>) {
        match (running.setup, running.copies) {
            (_, Some((child, group))) => self.end_copies(child, &group),
            (Setup::Pm2, None) => {
                // What it leaves behind, the guard kills in the end.
                let _ = self.run_pm2(&["kill"]);
            }
            (_, None) => {
                // What stays is still in the guard's list.
                let _ = own_app::delete(&self.home, &self.spec.name, false, self.guard);
            }
        }
        let end = Instant::now() + FREE_TIMEOUT;
        let port = address.map_or(0, |address| address.port());
        let is_taken = || diag::listening(port).is_ok_and(|sockets| !sockets.is_empty());
        while address.is_some() && is_taken() && Instant::now() < end {
            pause(LOOK_EVERY);
        }
    }

    fn end_copies(&self, mut child: Child, group: &Group) {
        let leader = child.id();
        let _ = group.signal(Signal::SIGTERM);
        let end = Instant::now() + END_TIMEOUT;
        while Instant::now() < end && matches!(child.try_wait(), Ok(None)) {
            pause(LOOK_EVERY);
        }
        let _ = group.signal(Signal::SIGKILL);
        let _ = child.wait();
        // A guard that is gone needs no word.
        let _ = self.guard.tell(Duty::GroupIsGone { leader });
    }

    /// Starts copies of a command in a session of their own, like the workers of a supervisor: the
    /// kernel divides the CPUs between sessions first.
    fn copies(&self, setup: Setup, command: &[String], count: u16) -> Result<Running, Failure> {
        let cannot = |error: &std::io::Error| {
            Failure::io(format_args!("cannot start {} copies", setup.word()), error)
        };
        let output = File::create(self.output()).map_err(|error| cannot(&error))?;
        let errors = output.try_clone().map_err(|error| cannot(&error))?;
        let mut starter = Command::new(own_program()?);
        starter.args(["copies", "--count", &count.to_string(), "--"]).args(command);
        starter.current_dir(&self.spec.cwd).envs(&self.spec.env);
        starter.stdin(Stdio::null()).stdout(output).stderr(errors);
        let mut child = starter.spawn().map_err(|error| cannot(&error))?;
        let end = Instant::now() + self.patience;
        loop {
            if let Ok(group) = Group::led_by(child.id()) {
                self.guard.tell(Duty::Group { leader: child.id() })?;
                return Ok(Running { setup, copies: Some((child, group)) });
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(self.failed(format!("{} has ended: {status}", setup.word())));
            }
            if Instant::now() > end {
                let _ = child.kill();
                let reason = format!("{} did not start within {:?}", setup.word(), self.patience);
                return Err(self.failed(reason));
            }
            pause(Duration::from_millis(1));
        }
    }

    fn cluster(&self) -> Vec<String> {
        let Program::Node { program, script, arguments } = &self.program else { return Vec::new() };
        let count = self.spec.wanted.to_string();
        let begin = [program.as_str(), "-e", CLUSTER, &count].map(str::to_owned);
        let script = self.spec.cwd.join(script).display().to_string();
        begin.into_iter().chain([script]).chain(arguments.iter().cloned()).collect()
    }

    fn ours(
        &self,
        setup: Setup,
        engine: Engine,
        balance: Balance,
        address: SocketAddr,
    ) -> Result<Running, Failure> {
        let mut spec = self.spec.clone();
        (spec.engine, spec.balance) = (engine, balance);
        spec.command = with_one_worker(&spec.command);
        check(&spec)?;
        let running = Running { setup, copies: None };
        let begun = own_app::start(&self.home, &spec, self.patience, self.guard, self.interrupt)
            .and_then(|()| own_app::listening(&self.home, &spec.name, self.interrupt))
            .and_then(|status| {
                let of_port = |text: &str| {
                    text.parse::<SocketAddr>().is_ok_and(|one| one.port() == address.port())
                };
                let found = status.listeners.iter().find(|one| of_port(&one.address));
                let found = found.ok_or_else(|| {
                    Failure::failed(format!("it listens elsewhere than on port {}", address.port()))
                })?;
                let is_other = found.engine != words::word(engine)
                    || found.balance.as_ref().is_some_and(|used| *used != balance);
                match is_other {
                    true => Err(Failure::failed(format!("not available: {}", found.why))),
                    false => Ok(()),
                }
            });
        self.or_end(running, Some(address), begun).map(|(running, ())| running)
    }

    fn pm2(&self, count: u16) -> Result<Running, Failure> {
        let Program::Node { script, arguments, .. } = &self.program else {
            return Err(Failure::failed("PM2's cluster mode takes Node scripts alone"));
        };
        let count = count.to_string();
        let mut words = vec!["start", script, "-i", &count, "--name", "bench", "--"];
        words.extend(arguments.iter().map(String::as_str));
        let running = Running { setup: Setup::Pm2, copies: None };
        let started = self.run_pm2(&words);
        self.or_end(running, None, started).map(|(running, ())| running)
    }

    fn run_pm2(&self, words: &[&str]) -> Result<(), Failure> {
        let program = self.pm2.clone().unwrap_or_else(|| "pm2".into());
        let cannot = |error: &std::io::Error| {
            Failure::io(format_args!("cannot run {}", program.display()), error)
        };
        let output = File::create(self.output()).map_err(|error| cannot(&error))?;
        let errors = output.try_clone().map_err(|error| cannot(&error))?;
        let mut command = Command::new(&program);
        command.args(words).current_dir(&self.spec.cwd).envs(&self.spec.env);
        command.env("PM2_HOME", self.folder.join("pm2"));
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let mut child = command.spawn().map_err(|error| cannot(&error))?;
        let end = Instant::now() + COMMAND_TIMEOUT;
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(self.failed(format!("pm2 failed ({status})"))),
                Ok(None) if Instant::now() < end => pause(LOOK_EVERY),
                Ok(None) | Err(_) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    let limit = humantime::format_duration(COMMAND_TIMEOUT);
                    return Err(self.failed(format!("pm2 did not end within {limit}")));
                }
            }
        }
    }

    /// The first TCP address that the processes of the setup listen on and where they answer.
    fn address_of(
        &self,
        running: &mut Running,
        chosen: Option<SocketAddr>,
    ) -> Result<SocketAddr, Failure> {
        let end = Instant::now() + self.patience;
        loop {
            let family: Vec<u32> = self.processes(running)?.app.into_iter().collect();
            let inodes = target::sockets_of(&family).unwrap_or_default();
            let sockets = diag::all_listening().unwrap_or_default().into_iter();
            let own = sockets.filter(|(_, inode)| inodes.contains(inode));
            let mut found: Vec<SocketAddr> = own.map(|(address, _)| reachable(address)).collect();
            found.sort_unstable_by_key(|address| (address.port(), *address));
            let is_chosen =
                |one: &&SocketAddr| chosen.is_none_or(|wanted| reachable(wanted) == **one);
            if let Some(address) = found.iter().find(is_chosen).copied() {
                if !is_of_this_machine(address) {
                    return Err(Failure::failed(format!(
                        "{address} is not an address of loopback: let the program listen on one"
                    )));
                }
                return self.await_sockets(running, address, 1).map(|()| address);
            }
            self.check_alive(running)?;
            if Instant::now() > end {
                let where_to =
                    chosen.map_or_else(|| "no TCP address".to_owned(), |one| format!("not {one}"));
                let others = match found.is_empty() {
                    true => String::new(),
                    false => format!(", but on {found:?}"),
                };
                return Err(self.failed(format!(
                    "{} listens on {where_to}{others}, {} after its start: a server is measured",
                    self.spec.command.join(" "),
                    humantime::format_duration(self.patience)
                )));
            }
            self.interrupt.wait(LOOK_EVERY);
        }
    }

    /// Waits until so many sockets listen on the port, and the address accepts.
    fn await_sockets(
        &self,
        running: &mut Running,
        address: SocketAddr,
        count: usize,
    ) -> Result<(), Failure> {
        let end = Instant::now() + self.patience;
        loop {
            let listening = diag::listening(address.port()).map_or(0, |sockets| sockets.len());
            if listening >= count && Connection::open(address, LOOK_EVERY * 50).is_ok() {
                return Ok(());
            }
            self.check_alive(running)?;
            if Instant::now() > end {
                return Err(self.failed(format!(
                    "{listening} of {count} sockets listen on {address} after {}",
                    humantime::format_duration(self.patience)
                )));
            }
            self.interrupt.wait(LOOK_EVERY);
        }
    }

    /// Fails if a copy has ended, or a signal has come.
    fn check_alive(&self, running: &mut Running) -> Result<(), Failure> {
        if self.interrupt.came() {
            return Err(Failure::failed("broken off by a signal"));
        }
        match running.copies.as_mut().map(|(child, _)| child.try_wait()) {
            None | Some(Ok(None)) => Ok(()),
            Some(Ok(Some(_)) | Err(_)) => {
                let copy = if running.setup == Setup::Bare { "one of the copies" } else { "it" };
                Err(self.failed(format!("{copy} has ended")))
            }
        }
    }

    /// The processes of a setup now.
    pub(super) fn processes(&self, running: &Running) -> Result<Processes, Failure> {
        let below = |pid: u32| target::descendants(pid).into_iter().collect::<BTreeSet<u32>>();
        let root = match (&running.copies, running.setup) {
            (Some((child, _)), _) => child.id(),
            (None, Setup::Pm2) => {
                let file = self.folder.join("pm2/pm2.pid");
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                text.trim().parse().map_err(|_| Failure::failed("PM2 has no daemon"))?
            }
            (None, _) => {
                let status = probe::existing(&self.home, &self.spec.name)?;
                let workers = status.workers.iter().filter_map(|worker| worker.pid);
                let app: BTreeSet<u32> = workers.flat_map(below).collect();
                let mut outside = below(status.keeper_pid.unwrap_or(status.primary_pid));
                outside.insert(status.primary_pid);
                outside.retain(|pid| !app.contains(pid));
                return Ok(Processes { app, outside });
            }
        };
        let mut app = below(root);
        app.remove(&root);
        // What starts the copies does nothing while they run, and is not of the setup.
        let mut outside = BTreeSet::new();
        match running.setup {
            Setup::Pm2 => _ = outside.insert(root),
            // The process that has the others as its children.
            Setup::Cluster | Setup::Gunicorn => {
                outside.extend(app.iter().find(|pid| below(**pid).len() == app.len()));
            }
            Setup::Single | Setup::Bare | Setup::Kernel(_) | Setup::Primary(_) => {}
        }
        app.retain(|pid| !outside.contains(pid));
        Ok(Processes { app, outside })
    }

    fn output(&self) -> PathBuf {
        self.folder.join("output")
    }

    /// A failure with the last lines that the setup wrote.
    fn failed(&self, reason: String) -> Failure {
        let output = File::open(self.output());
        let mut last_lines =
            output.map_or_else(|_| Vec::new(), |mut file| tail(&mut file, 0, TAIL, TAIL_LINES));
        last_lines.retain(|line| !line.trim().is_empty());
        Failure { last_lines, ..Failure::failed(reason) }
    }
}
