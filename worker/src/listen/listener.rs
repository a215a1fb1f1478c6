//! Accepts connections until the worker drains: from its listening socket, and from other workers
//! that hand theirs over. Accepts none while as many are open as `[shared.limits]` allows.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::getpeername;

use super::connection::Connection;
use super::socket_activation;
use crate::call_error::CallError;
use crate::registry::Given;
use crate::state::limits::{Limits, Open};
use crate::sync::locked;
use crate::worker::Worker;

/// A listener that ends when the worker drains and no connection waits any more.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// Becomes readable when the worker drains: its other end is closed then.
    drained: io::PipeReader,
    handed_over: Arc<HandedOver>,
    /// Holds a byte for each connection in `handed_over`, so that poll(2) notices them.
    waiting: io::PipeReader,
    limits: Arc<Limits>,
}

/// Connections that other workers have handed over.
#[derive(Debug)]
struct HandedOver {
    connections: Mutex<VecDeque<(TcpStream, SocketAddr)>>,
    /// One byte for each connection.
    announce: io::PipeWriter,
}

/// The topic on which workers give connections to a listener.
fn topic(name_or_address: &str) -> String {
    format!("supervisor:connection:{name_or_address}")
}

impl Worker {
    /// The listener of this name or address (see [`crate::listener`]). It ends when the worker
    /// drains. It also accepts the connections that other workers hand over to it. While as many
    /// are open as `[shared.limits]` allows, it accepts none: they wait in the socket's queue.
    pub fn listener(&self, name_or_address: &str) -> io::Result<Listener> {
        let socket = socket_activation::listener(name_or_address)?;
        socket.set_nonblocking(true)?;
        let (drained, held) = io::pipe()?;
        self.on_drain(move || drop(held));
        let (waiting, announce) = io::pipe()?;
        let handed_over = Arc::new(HandedOver { connections: Mutex::default(), announce });
        let weak = Arc::downgrade(&handed_over);
        self.on_given(&topic(name_or_address), move |given| match weak.upgrade() {
            Some(handed_over) => handed_over.take(given),
            // The program has dropped the listener.
            None => Ok(()),
        })?;
        let limits = Arc::clone(&self.client.state.limits);
        Ok(Listener { socket, drained, handed_over, waiting, limits })
    }

    /// Hands a connection over to the listener of that name or address in another slot's worker.
    /// That worker does not get the bytes that were read before. After success this worker should
    /// drop the connection; after an error it alone has it.
    pub fn hand_over(
        &self,
        slot: u16,
        name_or_address: &str,
        connection: &TcpStream,
    ) -> Result<(), CallError> {
        self.give(slot, &topic(name_or_address), &(), connection)
    }
}

impl HandedOver {
    fn take(&self, given: Given) -> io::Result<()> {
        let from = SocketAddr::try_from(getpeername(given.fd.as_fd())?.ok_or(Errno::NOTCONN)?)?;
        let connection = TcpStream::from(given.fd);
        connection.set_nonblocking(false)?;
        locked(&self.connections).push_back((connection, from));
        (&self.announce).write_all(&[0])
    }
}

impl Listener {
    /// The next connection. `None`: the worker drains, and no connection waits any more.
    pub fn accept(&self) -> io::Result<Option<(Connection, SocketAddr)>> {
        if let Some(open) = self.limits.try_enter()
            && let Some(accepted) = self.accept_now(open)?
        {
            return Ok(Some(accepted));
        }
        loop {
            let mut fds = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::new(&self.waiting, PollFlags::IN),
                PollFd::new(&self.drained, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [socket, waiting, drained] = fds.each_ref().map(|fd| !fd.revents().is_empty());
            if drained && !socket && !waiting {
                return Ok(None);
            }
            // A connection waits. It is accepted when there is room for it.
            if (socket || waiting)
                && let Some(accepted) = self.accept_now(self.limits.enter())?
            {
                return Ok(Some(accepted));
            }
        }
    }

    /// Accepts a connection that waits already.
    fn accept_now(&self, open: Open) -> io::Result<Option<(Connection, SocketAddr)>> {
        let handed_over = locked(&self.handed_over.connections).pop_front();
        if let Some((stream, from)) = handed_over {
            (&self.waiting).read_exact(&mut [0])?;
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

    /// The address of the socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}
