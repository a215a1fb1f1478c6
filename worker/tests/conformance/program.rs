//! A program that uses one of the clients, and the primary's end of its channel.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use ipc::bus::codec::Codec;
use ipc::bus::decode::Decoder;
use ipc::bus::{FromWorker, ToWorker};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::{Client, folder, rust_program};

/// No step takes longer. A program that is not welcomed takes 10 seconds.
const LONG: Duration = Duration::from_secs(40);

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Program {
    folder: PathBuf,
    listener: UnixListener,
    commands: Sender<Value>,
    reports: Receiver<Value>,
    child: Option<Child>,
    channel: Option<Channel>,
}

/// The primary's end.
struct Channel {
    stream: UnixStream,
    decoder: Decoder<FromWorker>,
}

impl Program {
    pub(crate) fn start(client: &Client) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("worker-conformance-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("channel");
        let listener = UnixListener::bind(&path).unwrap();
        let (commands, receiver) = channel();
        let (sender, reports) = channel();
        let child = match command(client) {
            Some(mut command) => Some(run(command.arg(path), receiver, sender)),
            None => {
                thread::spawn(move || rust_program::run(path, receiver, sender));
                None
            }
        };
        Self { folder, listener, commands, reports, child, channel: None }
    }

    pub(crate) fn tell(&self, command: &Value) -> Result<(), String> {
        self.commands.send(command.clone()).map_err(|_| "the program has ended".to_owned())
    }

    /// The next report of the program.
    pub(crate) fn report(&self) -> Result<Value, String> {
        self.reports.recv_timeout(LONG).map_err(|_| "no report".to_owned())
    }

    fn channel(&mut self) -> Result<&mut Channel, String> {
        if self.channel.is_none() {
            let mut sources = [PollFd::new(&self.listener, PollFlags::IN)];
            let time = Timespec { tv_sec: LONG.as_secs().cast_signed(), tv_nsec: 0 };
            if poll(&mut sources, Some(&time)) != Ok(1) {
                return Err("the program does not connect".to_owned());
            }
            let (stream, _) = self.listener.accept().map_err(|error| error.to_string())?;
            stream.set_read_timeout(Some(LONG)).map_err(|error| error.to_string())?;
            self.channel = Some(Channel { stream, decoder: Decoder::default() });
        }
        self.channel.as_mut().ok_or_else(|| "no channel".to_owned())
    }

    /// The next message of the worker. `None`: the worker has left.
    pub(crate) fn message(&mut self) -> Result<Option<FromWorker>, String> {
        let channel = self.channel()?;
        let mut bytes = [0; 65536];
        loop {
            if let Some(message) = channel.decoder.next_message().map_err(|e| e.to_string())? {
                return Ok(Some(message));
            }
            match channel.stream.read(&mut bytes).map_err(|_| "no message".to_owned())? {
                0 => return Ok(None),
                count => channel.decoder.push(&bytes[..count]),
            }
        }
    }

    /// Sends messages as the primary, in the worker's codec.
    pub(crate) fn send(&mut self, messages: &[ToWorker]) -> Result<(), String> {
        let channel = self.channel()?;
        let codec = channel.decoder.codec().ok_or("the worker has sent nothing yet")?;
        let mut bytes = Vec::new();
        for message in messages {
            codec.write(message, &mut bytes).map_err(|error| error.to_string())?;
        }
        channel.stream.write_all(&bytes).map_err(|error| error.to_string())
    }

    /// The primary closes the channel.
    pub(crate) fn close(&mut self) -> Result<(), String> {
        self.channel()?.stream.shutdown(Shutdown::Both).map_err(|error| error.to_string())
    }

    /// Sends a line that no client can know, if it speaks lines.
    pub(crate) fn send_unknown(&mut self) -> Result<(), String> {
        let channel = self.channel()?;
        if channel.decoder.codec() == Some(Codec::Lines) {
            let sent = channel.stream.write_all(b"{\"later\":{\"id\":1}}\n");
            sent.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It has ended by itself, unless the conversation failed.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// `None`: the program runs in this process.
fn command(client: &Client) -> Option<Command> {
    let with = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.current_dir(folder()).args(arguments);
        command
    };
    match client {
        Client::Rust => None,
        Client::Node { node } => Some(with(node, &["program.js"])),
        Client::PythonThreads { python } => Some(with(python, &["program.py", "threads"])),
        Client::PythonAsyncio { python } => Some(with(python, &["program.py", "aio"])),
    }
}

fn run(command: &mut Command, commands: Receiver<Value>, reports: Sender<Value>) -> Child {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    thread::spawn(move || {
        for command in commands {
            if writeln!(input, "{command}").is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let report = serde_json::from_str(&line).unwrap_or(Value::String(line));
            if reports.send(report).is_err() {
                return;
            }
        }
    });
    child
}
