//! Connections, until the worker drains.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::Worker;

/// A listener that ends when the worker drains and nobody waits in its queue any more.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// Ends when the worker drains.
    drained: io::PipeReader,
}

impl Worker {
    /// The listener of this name or address (see [`crate::listener`]), which ends with the
    /// worker.
    pub fn listener(&self, name_or_address: &str) -> io::Result<Listener> {
        let socket = crate::listener(name_or_address)?;
        socket.set_nonblocking(true)?;
        let (drained, held) = io::pipe()?;
        let held = Mutex::new(Some(held));
        self.on_drain(move || drop(held));
        Ok(Listener { socket, drained })
    }
}

impl Listener {
    /// The next connection. `None`: the worker drains, and nobody waits any more.
    pub fn accept(&self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        loop {
            match self.socket.accept() {
                Ok((connection, from)) => {
                    connection.set_nonblocking(false)?;
                    return Ok(Some((connection, from)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let mut fds = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::new(&self.drained, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if fds[0].revents().is_empty() && !fds[1].revents().is_empty() {
                return Ok(None);
            }
        }
    }

    /// The address that is served.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}
