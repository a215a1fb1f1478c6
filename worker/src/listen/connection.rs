//! An accepted connection, which counts as open until it is dropped.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};

use crate::state::limits::Open;

/// A `TcpStream` that a [`crate::Listener`] accepted. It counts as one of the open connections
/// (`[shared.limits]`) until it is dropped. Copies of it, such as `try_clone` makes, do not count.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    open: Open,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, open: Open) -> Self {
        Self { stream, open }
    }

    /// The stream, and the value that makes it count as open until it is dropped.
    pub fn into_parts(self) -> (TcpStream, Open) {
        (self.stream, self.open)
    }
}

impl Deref for Connection {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Read for &Connection {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        (&self.stream).read(bytes)
    }

    fn read_vectored(&mut self, pieces: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&self.stream).read_vectored(pieces)
    }
}

impl Write for &Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.stream).write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.stream).write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&self.stream).flush()
    }
}

impl Read for Connection {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        (&self.stream).read(bytes)
    }

    fn read_vectored(&mut self, pieces: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&self.stream).read_vectored(pieces)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.stream).write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.stream).write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&self.stream).flush()
    }
}
