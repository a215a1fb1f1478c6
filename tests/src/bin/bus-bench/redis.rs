//! Redis in the middle: one connection publishes with pipelining, another has subscribed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tests::{Port, process, run, staging, wait_until};

use crate::{DATA, Measured, TICK_US};

/// How many bytes to write at once.
const BATCH: usize = 64 * 1024;

/// One connection.
struct Connection {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Connection {
    fn open(port: &Port) -> io::Result<Self> {
        let writer = TcpStream::connect(port.v4())?;
        writer.set_nodelay(true)?;
        Ok(Self { reader: BufReader::with_capacity(BATCH, writer.try_clone()?), writer })
    }

    fn subscribed(port: &Port, channel: &str) -> io::Result<Self> {
        let mut connection = Self::open(port)?;
        let mut command = Vec::new();
        request(&["SUBSCRIBE", channel], &mut command);
        connection.writer.write_all(&command)?;
        connection.skip()?;
        Ok(connection)
    }

    /// Reads one answer or message and drops it.
    fn skip(&mut self) -> io::Result<()> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let number = || line[1..].trim_end().parse::<usize>().map_err(io::Error::other);
        match line.as_bytes().first() {
            Some(b'*') => (0..number()?).try_for_each(|_| self.skip()),
            Some(b'$') => {
                let mut rest = vec![0; number()? + 2];
                self.reader.read_exact(&mut rest)
            }
            Some(b':' | b'+') => Ok(()),
            _ => Err(io::Error::other(format!("Redis said {line:?}"))),
        }
    }
}

/// Appends one command in the protocol of Redis.
fn request(words: &[&str], to: &mut Vec<u8>) {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    to.extend_from_slice(text.as_bytes());
}

pub(crate) fn measure(program: &str, messages: u32, trips: u32) -> Option<Measured> {
    let port = Port::new();
    let mut server = Command::new(program);
    server.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    let server = run::spawn(&mut server, staging::root());
    wait_until("Redis", Duration::from_secs(20), || TcpStream::connect(port.v4()).ok());
    let measured = throughput(&port, server.pid(), messages)
        .and_then(|(per_second, cpu_us)| Ok((per_second, cpu_us, round_trip(&port, trips)?)));
    let (per_second, cpu_us, p50_us) = measured.expect("Redis answers");
    Some(Measured { per_second, p50_us, cpu_us, ends_us: None })
}

fn throughput(port: &Port, pid: u32, messages: u32) -> io::Result<(f64, f64)> {
    let mut hears = Connection::subscribed(port, "bench")?;
    let emits = Connection::open(port)?;
    let (mut answers, mut writer) = (emits.reader, emits.writer);
    let mut one = Vec::new();
    request(&["PUBLISH", "bench", &"x".repeat(DATA + 2)], &mut one);
    let (before, began) = (process::ticks(pid), Instant::now());
    let heard = thread::spawn(move || (0..messages).try_for_each(|_| hears.skip()));
    let answered = thread::spawn(move || {
        let mut bytes = vec![0; BATCH];
        // Ends when this process closes the connection.
        while answers.read(&mut bytes).is_ok_and(|count| count > 0) {}
    });
    let at_once = BATCH / one.len();
    let mut left = usize::try_from(messages).map_err(io::Error::other)?;
    while left > 0 {
        let count = at_once.min(left);
        writer.write_all(&one.repeat(count))?;
        left -= count;
    }
    heard.join().expect("the reader")?;
    let seconds = began.elapsed().as_secs_f64();
    let ticks = process::ticks(pid) - before;
    writer.shutdown(std::net::Shutdown::Both)?;
    answered.join().expect("the reader of answers");
    let messages = f64::from(messages);
    Ok((messages / seconds, ticks as f64 * TICK_US / messages))
}

/// The median round trip, there by one channel and back by another.
fn round_trip(port: &Port, trips: u32) -> io::Result<f64> {
    let mut there = Connection::subscribed(port, "there")?;
    let mut echoes = Connection::open(port)?;
    let mut back = Connection::subscribed(port, "back")?;
    let mut asks = Connection::open(port)?;
    let echo = thread::spawn(move || {
        let mut answer = Vec::new();
        request(&["PUBLISH", "back", &"x".repeat(DATA + 2)], &mut answer);
        (0..trips).try_for_each(|_| {
            there.skip()?;
            echoes.writer.write_all(&answer)?;
            echoes.skip()
        })
    });
    let mut ask = Vec::new();
    request(&["PUBLISH", "there", &"x".repeat(DATA + 2)], &mut ask);
    let mut took = Vec::new();
    for _ in 0..trips {
        let one = Instant::now();
        asks.writer.write_all(&ask)?;
        back.skip()?;
        took.push(one.elapsed().as_secs_f64() * 1e6);
        asks.skip()?;
    }
    echo.join().expect("the echo")?;
    took.sort_unstable_by(f64::total_cmp);
    Ok(took[took.len() / 2])
}
