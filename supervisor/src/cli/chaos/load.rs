//! The load: clients in threads of this process. Each makes one request after the other at its
//! share of the rate, and notes what became of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::clock::Clock;
use super::loss::{Loss, Style};
use super::websocket;
use crate::cli::exit::Failure;
use crate::cli::output::pause;
use crate::cli::trial::exchange::{Answer, Connection, Fail};
use crate::cli::trial::interrupt::Interrupt;
use crate::cli::trial::kind::Kind;
use crate::cli::trial::site::Site;

/// Requests that a pipelining client sends at once.
const PIPELINED: u32 = 3;
/// Between the two halves of a slow writer.
const HALF: Duration = Duration::from_millis(300);
/// How long a connection to a server without HTTP is held.
const HOLD: Duration = Duration::from_millis(300);
/// Without a pause after a loss, one refusal would be counted many times.
const AFTER_LOSS: Duration = Duration::from_millis(20);
/// The longest wait for the next turn at once, so that the end of the load is noticed.
const SLICE: Duration = Duration::from_millis(100);
/// A turn has several requests, each with the time limit, and none takes longer than this many.
const LIMITS_OF_A_TURN: u32 = 8;
/// How often it is checked whether every client has finished.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Losses of one client that are kept with their details. Further ones are counted.
const MOST_LOSSES: usize = 2000;
/// Bytes of the stack of a client.
const STACK: usize = 256 * 1024;

/// What the clients do.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) site: Site,
    pub(super) styles: Vec<Style>,
    pub(super) connections: usize,
    /// Requests a second of all clients together.
    pub(super) rate: u32,
    /// A request that takes longer counts as hung.
    pub(super) limit: Duration,
    /// For how long a kept connection is used before its client closes it.
    pub(super) kept_for: Duration,
    pub(super) seed: u64,
}

/// What became of the requests that began in one row of the table.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Requests that were answered or lost.
    pub(super) requests: u64,
    pub(super) answered: u64,
    /// Requests that were sent again, because the server had closed a kept connection before it
    /// read them.
    pub(super) resent: u64,
    pub(super) longest: Duration,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.answered += other.answered;
        self.resent += other.resent;
        self.longest = self.longest.max(other.longest);
    }
}

/// What all clients have noted.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// By row.
    pub(super) rows: Vec<Tally>,
    pub(super) losses: Vec<Loss>,
    /// Losses beyond those that are kept.
    pub(super) more: u64,
    /// Requests that this machine had no room for.
    pub(super) no_room: u64,
}

#[derive(Debug)]
struct Shared {
    load: Load,
    clock: Clock,
    stop: AtomicBool,
    /// The row of the table that requests belong to that begin now.
    row: AtomicUsize,
    /// One for each client, so that none waits for another.
    notes: Vec<Mutex<Notes>>,
}

/// A load that runs. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts the clients; their requests belong to row `row` of `rows`.
    pub(super) fn start(self, clock: Clock, rows: usize, row: usize) -> Result<Running, Failure> {
        let empty = || Notes { rows: vec![Tally::default(); rows], ..Notes::default() };
        let count = self.connections;
        let shared = Arc::new(Shared {
            load: self,
            clock,
            stop: AtomicBool::new(false),
            row: AtomicUsize::new(row),
            notes: (0..count).map(|_| Mutex::new(empty())).collect(),
        });
        let mut running = Running { shared, threads: Vec::with_capacity(count) };
        for index in 0..count {
            let shared = Arc::clone(&running.shared);
            let thread = thread::Builder::new().stack_size(STACK);
            let started = thread.spawn(move || shared.client(index)).map_err(|error| {
                Failure::io(format_args!("cannot start client {index} of the load"), &error)
            })?;
            running.threads.push(started);
        }
        Ok(running)
    }

    /// Makes one request in this style, to see whether the server can do that.
    pub(super) fn can(&self, style: Style, clock: Clock) -> bool {
        let mut client = Client { load: self, clock, kept: None, tally: Tally::default() };
        client.turn(style).is_ok()
    }
}

impl Running {
    /// Requests that begin from now on belong to this row.
    pub(super) fn enter(&self, row: usize) {
        self.shared.row.store(row, Ordering::Relaxed);
    }

    /// Lets every client finish its request, unless a signal comes, and returns what they have
    /// noted.
    pub(super) fn stop(self, interrupt: &Interrupt) -> Notes {
        self.shared.stop.store(true, Ordering::Relaxed);
        let end = Instant::now() + self.shared.load.limit * LIMITS_OF_A_TURN;
        while !self.threads.iter().all(JoinHandle::is_finished) {
            if Instant::now() > end || interrupt.came() {
                break;
            }
            interrupt.wait(LOOK_EVERY);
        }
        let mut all = Notes::default();
        for notes in &self.shared.notes {
            let notes = std::mem::take(&mut *lock(notes));
            all.rows.resize_with(notes.rows.len().max(all.rows.len()), Tally::default);
            all.rows.iter_mut().zip(&notes.rows).for_each(|(row, own)| row.add(own));
            all.losses.extend(notes.losses);
            all.more += notes.more;
            all.no_room += notes.no_room;
        }
        all.losses.sort_by_key(|loss| loss.ended);
        all
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn client(&self, index: usize) {
        let load = &self.load;
        let style = load.styles[index % load.styles.len()];
        let mut random = Rng::with_seed(load.seed ^ index as u64);
        let share = Duration::from_secs_f64(load.connections as f64 / f64::from(load.rate));
        let mut client = Client { load, clock: self.clock, kept: None, tally: Tally::default() };
        let mut next = Instant::now() + share.mul_f64(random.f64());
        while !self.stop.load(Ordering::Relaxed) {
            let left = next.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                pause(left.min(SLICE));
                continue;
            }
            // Late clients do not catch up: the rate is a bound.
            next = Instant::now() + share.mul_f64(0.5 + random.f64());
            let row = self.row.load(Ordering::Relaxed);
            let begun = self.clock.now();
            let done = client.turn(style);
            let later = self.row.load(Ordering::Relaxed);
            self.note(index, [row, later], begun, &mut client, style, done);
        }
    }

    /// Notes what became of a turn that began in the first of these rows and ended in the second.
    fn note(
        &self,
        index: usize,
        [row, later]: [usize; 2],
        begun: u64,
        client: &mut Client<'_>,
        style: Style,
        done: Result<(), (Fail, Mark)>,
    ) {
        let ended = self.clock.now();
        let tally = std::mem::take(&mut client.tally);
        let mut notes = lock(&self.notes[index]);
        notes.rows[row].add(&tally);
        notes.rows[later].longest = notes.rows[later].longest.max(tally.longest);
        let (kind, text, mark) = match done {
            Ok(()) => return,
            Err((Fail::NoRoom(_), _)) => {
                notes.no_room += 1;
                drop(notes);
                return pause(AFTER_LOSS);
            }
            Err((Fail::Unread, mark)) => {
                (Kind::Reset, "closed twice before the request was read".to_owned(), mark)
            }
            Err((Fail::Lost(kind, text), mark)) => (kind, text, mark),
        };
        notes.rows[row].requests += 1;
        if notes.losses.len() < MOST_LOSSES {
            let Mark { client, opened } = mark;
            let opened = opened.unwrap_or(begun);
            notes.losses.push(Loss { kind, style, client, opened, begun, ended, text });
        } else {
            notes.more += 1;
        }
        drop(notes);
        pause(AFTER_LOSS);
    }
}

/// The connection of a request that was lost.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    client: Option<SocketAddr>,
    opened: Option<u64>,
}

/// An open connection.
struct Open {
    connection: Connection,
    opened: u64,
}

impl Open {
    fn mark(&self) -> Mark {
        Mark { client: Some(self.connection.client), opened: Some(self.opened) }
    }
}

/// One client.
struct Client<'l> {
    load: &'l Load,
    clock: Clock,
    kept: Option<Open>,
    /// Of the present turn.
    tally: Tally,
}

impl Client<'_> {
    /// Makes the requests of one turn.
    fn turn(&mut self, style: Style) -> Result<(), (Fail, Mark)> {
        match style {
            Style::New => self.single(|site, connection| {
                connection.send(&site.request("close"))?;
                connection.answer().map(Some)
            }),
            Style::SlowReader => self.single(|site, connection| {
                connection.read_slowly();
                connection.send(&site.request("close"))?;
                connection.answer().map(Some)
            }),
            Style::SlowWriter => self.single(|site, connection| {
                let request = site.request("close");
                let (first, second) = request.split_at(request.len() / 2);
                connection.send(first)?;
                pause(HALF);
                connection.send(second)?;
                connection.answer().map(Some)
            }),
            Style::Hold => self.single(|_, connection| {
                connection.hold(HOLD)?;
                Ok(None)
            }),
            Style::WebSocket => self.single(|site, connection| {
                websocket::echo(site, connection)?;
                Ok(None)
            }),
            Style::Kept => self.kept(),
            Style::Pipelined => self.pipelined(),
        }
    }

    /// One request over a connection of its own.
    fn single(
        &mut self,
        act: impl FnOnce(&Site, &mut Connection) -> Result<Option<Answer>, Fail>,
    ) -> Result<(), (Fail, Mark)> {
        let begun = Instant::now();
        let mut open = self.open()?;
        let done = act(&self.load.site, &mut open.connection);
        let mark = open.mark();
        let answer = done.map_err(|fail| (fail, mark))?;
        if let Some(answer) = answer {
            self.load.site.check(answer).map_err(|fail| (fail, mark))?;
        }
        self.answered(begun);
        Ok(())
    }

    /// The next request over the kept connection.
    fn kept(&mut self) -> Result<(), (Fail, Mark)> {
        let begun = Instant::now();
        let keep = u64::try_from(self.load.kept_for.as_millis()).unwrap_or(u64::MAX);
        let now = self.clock.now();
        let mut open = match self.kept.take() {
            Some(open)
                if now.saturating_sub(open.opened) < keep && !open.connection.is_closed() =>
            {
                open
            }
            Some(_) | None => self.open()?,
        };
        let mut seen = self.ask_kept(&mut open.connection);
        if seen == Err(Fail::Unread) {
            self.tally.resent += 1;
            open = self.open()?;
            seen = self.ask_kept(&mut open.connection);
        }
        let answer = seen.map_err(|fail| (fail, open.mark()))?;
        self.load.site.check(answer).map_err(|fail| (fail, open.mark()))?;
        self.answered(begun);
        if !answer.closes {
            self.kept = Some(open);
        }
        Ok(())
    }

    fn ask_kept(&self, connection: &mut Connection) -> Result<Answer, Fail> {
        connection.send(&self.load.site.request("keep-alive"))?;
        connection.answer()
    }

    /// Several requests at once. Where the server says that it closes, what is left is sent again.
    /// If it closes without a word, the kernel tells that it has not read everything: so only the
    /// last request is known to be unread.
    fn pipelined(&mut self) -> Result<(), (Fail, Mark)> {
        let mut left = PIPELINED;
        while left > 0 {
            let mut open = self.open()?;
            let request = self.load.site.request("keep-alive").repeat(left as usize);
            let mark = open.mark();
            open.connection.send(&request).map_err(|fail| (fail, mark))?;
            while left > 0 {
                let begun = Instant::now();
                match open.connection.answer() {
                    Ok(answer) => {
                        self.load.site.check(answer).map_err(|fail| (fail, mark))?;
                        self.answered(begun);
                        left -= 1;
                        if answer.closes {
                            break;
                        }
                    }
                    Err(Fail::Unread) if left == 1 => break,
                    Err(Fail::Unread) => {
                        let text = format!("closed before {left} pipelined requests, unannounced");
                        return Err((Fail::Lost(Kind::Reset, text), mark));
                    }
                    Err(fail) => return Err((fail, mark)),
                }
            }
            self.tally.resent += u64::from(left);
        }
        Ok(())
    }

    fn open(&self) -> Result<Open, (Fail, Mark)> {
        let opened = self.clock.now();
        let connection = Connection::open(self.load.site.address, self.load.limit);
        let connection = connection.map_err(|fail| (fail, Mark::default()))?;
        Ok(Open { connection, opened })
    }

    fn answered(&mut self, begun: Instant) {
        self.tally.answered += 1;
        self.tally.requests += 1;
        self.tally.longest = self.tally.longest.max(begun.elapsed());
    }
}

/// No client panics while it holds its notes.
fn lock(notes: &Mutex<Notes>) -> std::sync::MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// What a pipelining client makes of a server that answers one request, reads this many
    /// further ones, and closes.
    fn pipelined(reads: usize) -> (Result<(), Fail>, Tally) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let site = Site { address, path: "/".into(), status: Some(200), socket: None };
        let request = site.request("keep-alive").len();
        let server = move || {
            let (mut first, _) = listener.accept().unwrap();
            let good = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            first.read_exact(&mut vec![0; request]).unwrap();
            first.write_all(good).unwrap();
            if reads > 1 {
                first.read_exact(&mut vec![0; request]).unwrap();
                first.write_all(good).unwrap();
            } else {
                first.read_exact(&mut vec![0; reads * request]).unwrap();
            }
            // The answers arrive before the reset, which would take them away.
            pause(Duration::from_millis(100));
            drop(first);
            if reads > 1 {
                let (mut second, _) = listener.accept().unwrap();
                second.read_exact(&mut vec![0; request]).unwrap();
                second.write_all(good).unwrap();
            }
        };
        let server = thread::Builder::new().spawn(server).unwrap();
        let load = Load {
            site,
            styles: vec![Style::Pipelined],
            connections: 1,
            rate: 1,
            limit: Duration::from_secs(5),
            kept_for: Duration::from_secs(1),
            seed: 1,
        };
        let clock = Clock::begin();
        let mut client = Client { load: &load, clock, kept: None, tally: Tally::default() };
        let done = client.turn(Style::Pipelined).map_err(|(fail, _)| fail);
        server.join().unwrap();
        (done, client.tally)
    }

    #[test]
    fn a_pipelined_request_that_may_have_been_read_is_lost() {
        let (done, _) = pipelined(1);
        assert!(matches!(done, Err(Fail::Lost(Kind::Reset, _))), "{done:?}");
    }

    #[test]
    fn a_pipelined_request_that_was_not_read_is_sent_again() {
        let (done, tally) = pipelined(2);
        assert_eq!((done, tally.answered, tally.resent), (Ok(()), 3, 1));
    }
}
