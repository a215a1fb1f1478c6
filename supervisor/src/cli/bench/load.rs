//! The load: clients in threads, each with one request at a time, as fast as the server answers.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::figures::{Sample, What, is_enough};
use crate::cli::exit::Failure;
use crate::cli::output::pause;
use crate::cli::trial::exchange::{Connection, Fail};
use crate::cli::trial::interrupt::Interrupt;
use crate::cli::trial::kind::Kind;
use crate::cli::trial::site::Site;

/// A request that takes longer counts as hung.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
/// The longest time that the histogram has a bucket for, in microseconds.
const LONGEST: u64 = 60_000_000;
/// Digits of a time that are kept.
const DIGITS: u8 = 3;
/// Without a pause after an error, one refusal would be counted many times.
const AFTER_ERROR: Duration = Duration::from_millis(20);

/// What the clients saw.
#[derive(Debug)]
pub(super) struct Seen {
    /// In microseconds.
    times: Histogram<u64>,
    errors: BTreeMap<Kind, u64>,
    no_room: u64,
    closed: u64,
    /// What the first error was.
    pub(super) first_error: Option<String>,
}

impl Seen {
    fn nothing() -> Result<Self, Failure> {
        let times = Histogram::new_with_bounds(1, LONGEST, DIGITS)
            .map_err(|error| Failure::failed(format!("cannot make a histogram: {error}")))?;
        let (errors, first_error) = (BTreeMap::new(), None);
        Ok(Self { times, errors, no_room: 0, closed: 0, first_error })
    }

    fn add(&mut self, other: Self) -> Result<(), Failure> {
        self.times
            .add(other.times)
            .map_err(|error| Failure::failed(format!("cannot add histograms: {error}")))?;
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        self.no_room += other.no_room;
        self.closed += other.closed;
        self.first_error = self.first_error.take().or(other.first_error);
        Ok(())
    }

    fn failed(&mut self, fail: Fail) {
        let text = match fail {
            Fail::NoRoom(text) => {
                self.no_room += 1;
                text
            }
            Fail::Lost(kind, text) => {
                *self.errors.entry(kind).or_default() += 1;
                text
            }
            Fail::Unread => {
                *self.errors.entry(Kind::Reset).or_default() += 1;
                "closed twice before the request was read".to_owned()
            }
        };
        self.first_error.get_or_insert(text);
    }

    /// The figures of a load of this length, without CPU times.
    pub(super) fn sample(&self, round: u32, span: Duration) -> Sample {
        let answered = self.times.len();
        let percentile = |of: u64| {
            let value = self.times.value_at_quantile(of as f64 / 1000.0) as f64 / 1000.0;
            is_enough(answered, of).then_some(value)
        };
        Sample {
            round,
            answered,
            per_second: answered as f64 / span.as_secs_f64(),
            p50_ms: percentile(500),
            p99_ms: percentile(990),
            p999_ms: percentile(999),
            errors: self.errors.clone(),
            no_room: self.no_room,
            closed: self.closed,
            ..Sample::default()
        }
    }
}

/// Loads the server for this span. What is answered later does not count.
pub(super) fn load(
    site: &Site,
    what: What,
    clients: u16,
    span: Duration,
    interrupt: &Interrupt,
) -> Result<Seen, Failure> {
    let end = Instant::now() + span;
    thread::scope(|scope| {
        let mut threads = Vec::with_capacity(usize::from(clients));
        for _ in 0..clients {
            let client = move || client(site, what, end, interrupt);
            let thread = thread::Builder::new().spawn_scoped(scope, client);
            threads.push(thread.map_err(|error| Failure::io("cannot start a client", &error))?);
        }
        let mut all = Seen::nothing()?;
        for thread in threads {
            let seen = thread.join().map_err(|_| Failure::failed("a client has panicked"))?;
            all.add(seen?)?;
        }
        Ok(all)
    })
}

/// One client.
fn client(site: &Site, what: What, end: Instant, interrupt: &Interrupt) -> Result<Seen, Failure> {
    let mut seen = Seen::nothing()?;
    let request = site.request(match what {
        What::NewConnections => "close",
        What::KeptConnections => "keep-alive",
    });
    let mut kept = None;
    while Instant::now() < end && !interrupt.came() {
        let begun = Instant::now();
        match ask(site, what, &request, &mut kept, &mut seen.closed) {
            Ok(()) if Instant::now() < end => {
                let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(LONGEST);
                seen.times.saturating_record(took.max(1));
            }
            Ok(()) => {}
            Err(fail) => {
                seen.failed(fail);
                pause(AFTER_ERROR);
            }
        }
    }
    Ok(seen)
}

/// One request. `kept` is the open connection. A server may close that between two requests; then
/// the request is sent over another one.
fn ask(
    site: &Site,
    what: What,
    request: &[u8],
    kept: &mut Option<Connection>,
    closed: &mut u64,
) -> Result<(), Fail> {
    let open = || Connection::open(site.address, LIMIT);
    let mut connection = match kept.take() {
        Some(connection) if !connection.is_closed() => connection,
        Some(_) => {
            *closed += 1;
            open()?
        }
        None => open()?,
    };
    let mut answer = connection.send(request).and_then(|()| connection.answer());
    if answer == Err(Fail::Unread) {
        *closed += 1;
        connection = open()?;
        answer = connection.send(request).and_then(|()| connection.answer());
    }
    let answer = answer?;
    site.check(answer)?;
    match what {
        What::KeptConnections if answer.closes => *closed += 1,
        What::KeptConnections => *kept = Some(connection),
        What::NewConnections => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_come_from_the_times() {
        let mut seen = Seen::nothing().unwrap();
        for at in 1..=1000 {
            seen.times.record(at * 1000).unwrap();
        }
        seen.failed(Fail::Lost(Kind::Hung, "late".to_owned()));
        seen.failed(Fail::NoRoom("no port".to_owned()));
        let sample = seen.sample(3, Duration::from_secs(2));
        assert_eq!((sample.round, sample.answered, sample.per_second), (3, 1000, 500.0));
        let near = |value: Option<f64>, wanted: f64| (value.unwrap() / wanted - 1.0).abs() < 0.002;
        assert!(near(sample.p50_ms, 500.0) && near(sample.p99_ms, 990.0), "{sample:?}");
        assert_eq!(sample.p999_ms, None, "one request above it is chance");
        assert!(!sample.is_valid());
        assert_eq!(seen.first_error.unwrap(), "late");
    }
}
