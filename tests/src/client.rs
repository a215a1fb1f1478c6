//! The strict load client. Its clients send one request after the other, each over a new connection
//! or over a connection that they close after a number of requests. Anything but a complete and
//! correct answer is counted by kind. Every load ends within a time limit.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http::{Answer, Connection, Fault, FaultKind};
use crate::wait::let_pass;

/// How the clients connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A new connection for each request.
    NewConnection,
    /// Several requests over each connection; then the client closes it.
    KeepAlive {
        /// After how many requests.
        requests_per_connection: u32,
    },
    /// One request after the other over the same connection, without a pause and without an end:
    /// as a reverse proxy holds its connections, and as `wrk` does. Only the server closes it.
    Kept,
}

/// What the clients do.
#[derive(Debug, Clone)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// How many clients at once.
    pub clients: usize,
    /// How they connect.
    pub mode: Mode,
    /// What the body of every correct answer begins with.
    pub expect: String,
    /// The path that they request.
    pub path: String,
    /// A request that takes longer counts as hung.
    pub hang: Duration,
    /// The load ends by itself after this time.
    pub at_most: Duration,
    /// The load ends by itself after this number of answers.
    pub requests: u64,
}

impl Load {
    /// 32 clients that use new connections for at most five minutes and expect `pid=`.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            clients: 32,
            mode: Mode::NewConnection,
            expect: "pid=".to_owned(),
            path: "/".to_owned(),
            hang: Duration::from_secs(10),
            at_most: Duration::from_secs(300),
            requests: u64::MAX,
        }
    }

    /// Starts the clients. [`Running::warm`] waits for the first answers.
    pub fn start(self) -> Running {
        let tallies = (0..self.clients).map(|_| Mutex::new(Tally::default())).collect();
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            stop: AtomicBool::new(false),
            answers: AtomicU64::new(0),
            tallies,
            load: self,
        });
        let threads = (0..shared.load.clients)
            .map(|index| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.client(index))
            })
            .collect();
        Running { shared, threads }
    }

    /// Runs until the load ends by itself.
    pub fn run(self) -> Tally {
        let mut running = self.start();
        running.join();
        running.so_far()
    }
}

/// A load that runs.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// The results up to now.
    pub fn so_far(&self) -> Tally {
        let mut sum = Tally::default();
        for tally in &self.shared.tallies {
            sum.add(&tally.lock().expect("no client panics"));
        }
        sum.took = self.shared.begun.elapsed();
        sum
    }

    /// Waits until the clients have got this many answers or faults.
    #[track_caller]
    pub fn warm(&self, answers: u64) {
        crate::wait_until("the first answers", Duration::from_secs(30), || {
            let tally = self.so_far();
            (tally.ok + tally.lost() >= answers).then_some(())
        });
    }

    /// Waits until the clients have got this many more answers or faults.
    #[track_caller]
    pub fn more(&self, answers: u64) {
        let tally = self.so_far();
        self.warm(tally.ok + tally.lost() + answers);
    }

    /// Lets every client finish its request, and ends the load.
    pub fn stop(mut self) -> Tally {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.join();
        self.so_far()
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            thread.join().expect("no client panics");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Shared {
    load: Load,
    begun: Instant,
    stop: AtomicBool,
    answers: AtomicU64,
    /// One for each client, so that none waits for another.
    tallies: Vec<Mutex<Tally>>,
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
            && self.begun.elapsed() < self.load.at_most
            && self.answers.load(Ordering::Relaxed) < self.load.requests
    }

    fn client(&self, index: usize) {
        while self.goes_on() {
            if let Err(fault) = self.connection(index) {
                self.tally(index, |tally| tally.fault(self.begun.elapsed(), fault));
                // Without a pause one refusal would be counted many times.
                let_pass(Duration::from_millis(5));
            }
        }
    }

    /// Opens a connection, uses it, and closes it.
    fn connection(&self, index: usize) -> Result<(), Fault> {
        let requests = match self.load.mode {
            Mode::NewConnection => 1,
            Mode::KeepAlive { requests_per_connection } => requests_per_connection,
            Mode::Kept => u32::MAX,
        };
        let mut begun = Instant::now();
        let mut connection = Connection::open(self.load.address, self.load.hang)?;
        for count in 1..=requests {
            let answer = connection.get(&self.load.path, requests == 1)?;
            let pid = self.check(&answer)?;
            let took = begun.elapsed();
            self.answers.fetch_add(1, Ordering::Relaxed);
            self.tally(index, |tally| tally.answer(&answer, pid, took));
            if answer.closes || count == requests || !self.goes_on() {
                break;
            }
            begun = Instant::now();
        }
        Ok(())
    }

    fn check(&self, answer: &Answer) -> Result<u32, Fault> {
        let bad = |text: &str| Fault {
            kind: FaultKind::Bad,
            text: format!("{text}: {:?}", answer.body.chars().take(80).collect::<String>()),
        };
        if !answer.body.starts_with(&self.load.expect) {
            return Err(bad("another body than expected"));
        }
        answer.pid().ok_or_else(|| bad("no pid in the body"))
    }

    fn tally(&self, index: usize, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tallies[index].lock().expect("no client panics"));
    }
}

/// The results of a load.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Complete and correct answers.
    pub ok: u64,
    /// The number of faults, by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// The first faults of each client, with their times.
    pub first_faults: Vec<String>,
    /// Answers of each process.
    pub by_pid: BTreeMap<u32, u64>,
    /// Answers of each `version=` (or `generation=`) in a body that has one.
    pub by_version: BTreeMap<String, u64>,
    /// The longest time from connecting, or from the request on a kept connection, to the answer.
    pub slowest: Duration,
    /// How long the load has run.
    pub took: Duration,
}

impl Tally {
    /// Faults of one kind.
    pub fn count(&self, kind: FaultKind) -> u64 {
        self.faults.get(&kind).copied().unwrap_or(0)
    }

    /// All faults but those of this machine.
    pub fn lost(&self) -> u64 {
        self.faults.iter().filter(|(kind, _)| **kind != FaultKind::NoPort).map(|(_, n)| n).sum()
    }

    /// Answers per second.
    pub fn rate(&self) -> f64 {
        self.ok as f64 / self.took.as_secs_f64()
    }

    /// Panics with the results if anything was lost or nothing was answered.
    #[track_caller]
    pub fn nothing_lost(self, what: &str) -> Self {
        assert!(self.lost() == 0 && self.ok > 0, "{what}: lost\n{self}");
        println!("{what}: nothing lost\n{self}");
        self
    }

    fn answer(&mut self, answer: &Answer, pid: u32, took: Duration) {
        self.ok += 1;
        *self.by_pid.entry(pid).or_default() += 1;
        if let Some(version) = answer.value("version").or_else(|| answer.value("generation")) {
            *self.by_version.entry(version.to_owned()).or_default() += 1;
        }
        self.slowest = self.slowest.max(took);
    }

    fn fault(&mut self, at: Duration, fault: Fault) {
        *self.faults.entry(fault.kind).or_default() += 1;
        if self.first_faults.len() < 5 {
            self.first_faults.push(format!("after {at:.3?}: {fault}"));
        }
    }

    fn add(&mut self, other: &Self) {
        self.ok += other.ok;
        self.slowest = self.slowest.max(other.slowest);
        other.faults.iter().for_each(|(k, n)| *self.faults.entry(*k).or_default() += n);
        other.by_pid.iter().for_each(|(k, n)| *self.by_pid.entry(*k).or_default() += n);
        for (version, n) in &other.by_version {
            *self.by_version.entry(version.clone()).or_default() += n;
        }
        self.first_faults.extend(other.first_faults.iter().cloned());
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use FaultKind::{Bad, ClosedIdle, Empty, Hung, NoPort, Refused, Reset, Truncated};
        write!(f, "  ok {} in {:.1?} ({:.0}/s)", self.ok, self.took, self.rate())?;
        for kind in [Refused, Reset, Truncated, Empty, ClosedIdle, Hung, Bad, NoPort] {
            write!(f, ", {kind:?} {}", self.count(kind))?;
        }
        write!(f, "\n  slowest {:.1?}, {} pids", self.slowest, self.by_pid.len())?;
        if self.by_pid.len() <= 8 {
            write!(f, " {:?}", self.by_pid)?;
        }
        if !self.by_version.is_empty() && self.by_version.len() <= 8 {
            write!(f, ", versions {:?}", self.by_version)?;
        }
        for fault in self.first_faults.iter().take(10) {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
