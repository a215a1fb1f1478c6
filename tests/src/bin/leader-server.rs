//! A server whose workers want the lease of the leader, by the Rust client:
//! `leader-server PORT FILE`. It writes what `fixtures/python/leader.py` writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::TcpListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{process, thread};

use tests::wait::let_pass;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or_else(|| io::Error::other("leader-server PORT FILE"));
    let (port, file) = (next()?, next()?);
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream);
        }
    });
    lead(&file)
}

fn lead(path: &str) -> io::Result<()> {
    let mut trace = OpenOptions::new().append(true).open(path)?;
    let guard = File::create(format!("{path}.guard"))?;
    let mut write = |word: &str| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        trace.write_all(format!("{word} {} {}\n", process::id(), now.as_secs_f64()).as_bytes())
    };
    while !worker::is_leader()? {
        let_pass(Duration::from_millis(10));
    }
    if guard.try_lock().is_err() {
        write("two")?;
    }
    write("lead")?;
    while worker::is_leader()? {
        write("beat")?;
        let_pass(Duration::from_millis(20));
    }
    write("lost")
}
