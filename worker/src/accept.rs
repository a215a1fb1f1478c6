//! Connections, until the worker drains: those that its listening socket brings, and those that
//! other workers hand over; no further one while as many are open as may be.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::getpeername;

use crate::bus::locked;
use crate::limits::{Limits, Open};
use crate::{CallError, Connection, Given, Worker};

/// A listener that ends when the worker drains and nobody waits any more.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// Ends when the worker drains.
    drained: io::PipeReader,
    handed: Arc<Handed>,
    /// Holds a byte for each connection in `handed`.
    bell: io::PipeReader,
    limits: Arc<Limits>,
}

/// Connections that other workers have handed over.
#[derive(Debug)]
struct Handed {
    waiting: Mutex<VecDeque<(TcpStream, SocketAddr)>>,
    bell: io::PipeWriter,
}

/// On which connections for a listener are given.
fn topic(name_or_address: &str) -> String {
    format!("supervisor:connection:{name_or_address}")
}

impl Worker {
    /// The listener of this name or address (see [`crate::listener`]), which ends with the
    /// worker. It also accepts what other workers hand over to it. While as many connections are
    /// open as `[shared.limits]` allows it accepts none: they wait in its queue.
    pub fn listener(&self, name_or_address: &str) -> io::Result<Listener> {
        let socket = crate::listener(name_or_address)?;
        socket.set_nonblocking(true)?;
        let (drained, held) = io::pipe()?;
        self.on_drain(move || drop(held));
        let (bell, rope) = io::pipe()?;
        let handed = Arc::new(Handed { waiting: Mutex::default(), bell: rope });
        let weak = Arc::downgrade(&handed);
        self.on_given(&topic(name_or_address), move |given| match weak.upgrade() {
            Some(handed) => handed.take(given),
            // Nobody accepts any more.
            None => Ok(()),
        })?;
        Ok(Listener { socket, drained, handed, bell, limits: Arc::clone(&self.inner.limits) })
    }

    /// Hands a connection over to the listener of that name or address in another slot's worker.
    /// Of what was read from it before, that worker knows nothing. On an error this worker still
    /// has the connection to itself; afterwards it should drop it.
    pub fn hand_over(
        &self,
        slot: u16,
        name_or_address: &str,
        connection: &TcpStream,
    ) -> Result<(), CallError> {
        self.give(slot, &topic(name_or_address), &(), connection)
    }
}

impl Handed {
    fn take(&self, given: Given) -> io::Result<()> {
        let from = SocketAddr::try_from(getpeername(given.fd.as_fd())?.ok_or(Errno::NOTCONN)?)?;
        let connection = TcpStream::from(given.fd);
        connection.set_nonblocking(false)?;
        locked(&self.waiting).push_back((connection, from));
        (&self.bell).write_all(&[0])
    }
}

impl Listener {
    /// The next connection. `None`: the worker drains, and nobody waits any more.
    pub fn accept(&self) -> io::Result<Option<(Connection, SocketAddr)>> {
        if let Some(open) = self.limits.try_enter()
            && let Some(accepted) = self.accept_now(open)?
        {
            return Ok(Some(accepted));
        }
        loop {
            let mut fds = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::new(&self.bell, PollFlags::IN),
                PollFd::new(&self.drained, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [socket, bell, drained] = fds.each_ref().map(|fd| !fd.revents().is_empty());
            if drained && !socket && !bell {
                return Ok(None);
            }
            // Somebody waits: for as long as it takes until another one leaves.
            if (socket || bell)
                && let Some(accepted) = self.accept_now(self.limits.enter())?
            {
                return Ok(Some(accepted));
            }
        }
    }

    /// One that waits.
    fn accept_now(&self, open: Open) -> io::Result<Option<(Connection, SocketAddr)>> {
        let handed = locked(&self.handed.waiting).pop_front();
        if let Some((stream, from)) = handed {
            (&self.bell).read_exact(&mut [0])?;
            return Ok(Some((Connection::new(stream, open), from)));
        }
        loop {
            return match self.socket.accept() {
                Ok((stream, from)) => {
                    stream.set_nonblocking(false)?;
                    Ok(Some((Connection::new(stream, open), from)))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }

    /// The address that is served.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}
