//! `prober`: makes the probes of one app. A primary runs this verb, because an answer may take
//! long. It reads questions from the socket on stdin, makes up to [`MOST`] probes at a time, and
//! ends when its primary does.

mod command;
mod http;
mod time_limit;

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use self::time_limit::span;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Stdout;
use crate::cli::primary_channel::PrimaryChannel;
use crate::runtime::{MESSAGE_BYTES, ProbeAnswer, ProbeAsk, ProbeFound, ProbeQuestion};
use crate::sys::channel::Received;
use crate::sys::poll::ready;

/// The most probes at a time.
const MOST: usize = 256;
/// How long the primary may take to make room for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// The stack of a thread that makes one.
const STACK: usize = 256 << 10;

/// Make the probes that are asked for on the socket on stdin.
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {}

/// Runs the verb until the socket ends.
pub(crate) fn run(_: &Args, _: &mut Stdout) -> Result<Exit, Failure> {
    let channel = Arc::new(PrimaryChannel::open()?);
    let busy = Arc::new(AtomicUsize::new(0));
    let mut space = vec![0; MESSAGE_BYTES];
    loop {
        let received = channel.receive(&mut space);
        let received = received.map_err(|error| Failure::io("cannot read stdin", &error))?;
        match received {
            Received::Nothing => {}
            Received::End => return Ok(Exit::Done),
            Received::Some(length, mut fds) => {
                let question = serde_json::from_slice(&space[..length]);
                let question: ProbeQuestion = question.map_err(|error| {
                    Failure::failed(format!("a question makes no sense: {error}"))
                })?;
                begin(&channel, &busy, question, fds.pop());
            }
        }
    }
}

/// Has a thread make a probe.
fn begin(
    channel: &Arc<PrimaryChannel>,
    busy: &Arc<AtomicUsize>,
    question: ProbeQuestion,
    connection: Option<OwnedFd>,
) {
    let id = question.id;
    let full = busy.fetch_add(1, Ordering::Relaxed) >= MOST;
    let (to, count) = (Arc::clone(channel), Arc::clone(busy));
    let work = move || {
        answer(&to, id, probe(question, connection));
        count.fetch_sub(1, Ordering::Relaxed);
    };
    let begun = match full {
        true => Err(io::Error::other(format!("{MOST} probes are under way"))),
        false => thread::Builder::new().stack_size(STACK).spawn(work).map(drop),
    };
    if let Err(error) = begun {
        busy.fetch_sub(1, Ordering::Relaxed);
        answer(channel, id, ProbeFound::Unknown(format!("cannot probe: {error}")));
    }
}

/// Without the answer, the primary ends this process and starts another one.
fn answer(channel: &PrimaryChannel, id: u64, found: ProbeFound) {
    let _ = channel.send(&ProbeAnswer { id, found }, PATIENCE);
}

fn probe(question: ProbeQuestion, connection: Option<OwnedFd>) -> ProbeFound {
    let time = Duration::from_millis(question.timeout_ms);
    let until = Instant::now() + time;
    match (question.ask, connection) {
        (ProbeAsk::Command { command, cwd, env, user }, _) => {
            command::run(&command, &cwd, env, user, until, time)
        }
        (ProbeAsk::Tcp, Some(connection)) => match connected(connection, until, time) {
            Ok(_) => ProbeFound::Passed,
            Err(why) => ProbeFound::Failed(why),
        },
        (ProbeAsk::Http { path, host, status, body }, Some(connection)) => {
            let wanted = http::Wanted { path, host, status, body };
            let found = connected(connection, until, time)
                .and_then(|stream| http::ask(stream, &wanted, until, time));
            match found {
                Ok(()) => ProbeFound::Passed,
                Err(why) => ProbeFound::Failed(why),
            }
        }
        (ProbeAsk::Tcp | ProbeAsk::Http { .. }, None) => {
            ProbeFound::Unknown("the connection of the probe is missing".to_owned())
        }
    }
}

/// Waits until a socket that is connecting is connected.
fn connected(socket: OwnedFd, until: Instant, time: Duration) -> Result<TcpStream, String> {
    let stream = TcpStream::from(socket);
    let left = until.saturating_duration_since(Instant::now());
    match ready(stream.as_fd(), PollFlags::POLLOUT, Some(left)) {
        Ok(true) => {}
        Ok(false) => return Err(format!("no connection within {}", span(time))),
        Err(error) => return Err(format!("cannot wait for the connection: {error}")),
    }
    let failed = |error: io::Error| format!("cannot connect: {error}");
    match stream.take_error() {
        Ok(Some(error)) | Err(error) => Err(failed(error)),
        Ok(None) => stream.set_nonblocking(false).map_err(failed).map(|()| stream),
    }
}
