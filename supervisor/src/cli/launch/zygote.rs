//! The zygote: a process of a command that starts many apps, from which their keepers are forked.
//!
//! Each program that is executed gets its constants anew: 0.6 MiB of pointers in them depend on its
//! place in memory, which is random. Keepers and primaries that are forked from one process share
//! these pages, and all others that none of them changes.
//!
//! The zygote is executed, so it has one thread and nothing of the command that runs it. It does
//! nothing but fork. A keeper that comes from it is a child of the command, as one that is
//! executed: it has the same descriptors, arguments, environment and folder. Where the kernel does
//! not let a process change what it shows as its arguments, there is no zygote, and every keeper
//! is executed.
//!
//! The command and the zygote may be two builds, if the program is replaced in that moment. Then
//! they do not have the same [`GREETING`].

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::sys::argv_environ::{self, ArgvEnviron};
use crate::sys::channel::{self, Received};
use crate::sys::fork::{self, Forked};
use crate::sys::poll::ready;
use crate::sys::{daemon, packets};

/// The argument that makes a process the zygote.
pub(crate) const WORD: &str = "zygote";

/// What the zygote says when it can fork keepers; it changes with what the two ends say.
const GREETING: &[u8] = b"zygote 1";
/// How long the zygote may take for one word. It is killed then.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes of a message.
const MESSAGE: usize = 64;
/// The most bytes of arguments and environment: what the kernel takes for an exec (execve(2)).
const MOST_WORDS: u64 = 6 << 20;

/// The zygote of this command.
static ZYGOTE: Mutex<State> = Mutex::new(State::Closed);

#[derive(Debug)]
enum State {
    /// A keeper is executed.
    Closed,
    /// The next keeper needs one.
    Wanted,
    Open(Zygote),
}

/// Keepers come from a zygote until this is dropped.
#[derive(Debug)]
pub(crate) struct ManyStarts(());

impl ManyStarts {
    /// For a command that may start as many apps as this. One app alone is executed.
    pub(crate) fn expect(apps: usize) -> Self {
        if apps > 1 {
            set(State::Wanted);
        }
        Self(())
    }
}

impl Drop for ManyStarts {
    fn drop(&mut self) {
        set(State::Closed);
    }
}

fn set(state: State) {
    *ZYGOTE.lock().unwrap_or_else(PoisonError::into_inner) = state;
}

/// The descriptors 0, 1 and 2 of a keeper.
pub(super) type Standard<'a> = [BorrowedFd<'a>; 3];

/// Has the zygote fork the keeper that `command` would execute; all its variables are set. Returns
/// its pidfd. `None`: there is no zygote.
///
/// # Errors
///
/// It cannot be told whether there is such a process, or the zygote says why there is none.
pub(super) fn fork_keeper(
    command: &Command,
    standard: Standard<'_>,
) -> io::Result<Option<OwnedFd>> {
    let mut state = ZYGOTE.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*state, State::Wanted) {
        *state = Zygote::open(command).map_or(State::Closed, State::Open);
    }
    let State::Open(zygote) = &*state else { return Ok(None) };
    let environment = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let arguments = std::iter::once(command.get_program()).chain(command.get_args());
    let Some(words) = ArgvEnviron::new(arguments, environment) else { return Ok(None) };
    let done = zygote.fork(&words, standard);
    if done.is_err() {
        *state = State::Wanted;
    }
    done.map(Some)
}

/// The command's end.
#[derive(Debug)]
struct Zygote {
    channel: OwnedFd,
    process: Child,
}

impl Zygote {
    /// Executes the program of `command` as a zygote, and waits until it greets.
    fn open(command: &Command) -> io::Result<Self> {
        let (channel, theirs) = packets::pair()?;
        let mut zygote = Command::new(command.get_program());
        zygote.arg(WORD).current_dir("/");
        zygote.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null());
        let zygote = Self { channel, process: zygote.spawn()? };
        let mut greeting = [0; MESSAGE];
        let (count, _) = zygote.hear(&mut greeting)?;
        match &greeting[..count] {
            GREETING => Ok(zygote),
            _ => Err(ErrorKind::Unsupported.into()),
        }
    }

    fn fork(&self, words: &ArgvEnviron, standard: Standard<'_>) -> io::Result<OwnedFd> {
        let mut file = File::from(memfd_create("supervisor-words", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(words.as_bytes())?;
        let [input, output, errors] = standard;
        let fds = [file.as_fd(), input, output, errors];
        say(self.channel.as_fd(), b"fork", &fds)?;
        let mut answer = [0; MESSAGE];
        let (count, mut fds) = self.hear(&mut answer)?;
        if let Some(keeper) = fds.pop() {
            return Ok(keeper);
        }
        let number = std::str::from_utf8(&answer[..count]).ok().and_then(|text| text.parse().ok());
        Err(number.map_or_else(|| ErrorKind::InvalidData.into(), io::Error::from_raw_os_error))
    }

    fn hear(&self, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let until = Instant::now() + PATIENCE;
        loop {
            match channel::receive(self.channel.as_fd(), bytes)? {
                Received::Some(count, fds) => return Ok((count, fds)),
                Received::End => return Err(ErrorKind::UnexpectedEof.into()),
                Received::Nothing => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            ready(self.channel.as_fd(), PollFlags::POLLIN, Some(left))?;
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // An error means that it has ended already. Its keepers are not its children.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Is the zygote until the command has ended. Returns in each keeper as well, with the arguments
/// after its program.
pub(crate) fn serve() -> io::Result<Option<std::vec::IntoIter<OsString>>> {
    daemon::keep_little_memory();
    let stdin = io::stdin();
    let channel = stdin.as_fd();
    if !argv_environ::may_be_taken() {
        return Err(ErrorKind::Unsupported.into());
    }
    say(channel, GREETING, &[])?;
    let mut bytes = [0; MESSAGE];
    loop {
        ready(channel, PollFlags::POLLIN, None)?;
        let fds = match channel::receive(channel, &mut bytes)? {
            Received::Some(_, fds) => fds,
            Received::Nothing => continue,
            Received::End => return Ok(None),
        };
        let Ok([words, standard @ ..]) = <[OwnedFd; 4]>::try_from(fds) else {
            return Err(ErrorKind::InvalidData.into());
        };
        match fork::sibling() {
            Ok(Forked::Child) => return become_keeper(File::from(words), standard).map(Some),
            Ok(Forked::Parent((_, keeper))) => say(channel, b"forked", &[keeper.as_fd()])?,
            Err(error) => {
                let number = error.raw_os_error().unwrap_or_default().to_string();
                say(channel, number.as_bytes(), &[])?;
            }
        }
    }
}

/// Makes the forked process what an executed one would be.
fn become_keeper(
    mut words: File,
    [input, output, errors]: [OwnedFd; 3],
) -> io::Result<std::vec::IntoIter<OsString>> {
    let mut bytes = Vec::new();
    words.rewind()?;
    words.take(MOST_WORDS).read_to_end(&mut bytes)?;
    // The channel to the command is closed with this.
    nix::unistd::dup2_stdin(input)?;
    nix::unistd::dup2_stdout(output)?;
    nix::unistd::dup2_stderr(errors)?;
    let words = ArgvEnviron::parse(bytes).ok_or(ErrorKind::InvalidData)?;
    let arguments: Vec<OsString> = words.arguments().skip(1).collect();
    words.take()?;
    Ok(arguments.into_iter())
}

fn say(channel: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    while channel::send_with(channel, &[IoSlice::new(bytes)], fds)?.is_none() {
        if Instant::now() > until {
            return Err(ErrorKind::TimedOut.into());
        }
        ready(channel, PollFlags::POLLOUT, Some(PATIENCE))?;
    }
    Ok(())
}
