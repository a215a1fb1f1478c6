//! Tests of `sys` against the real kernel: sockets, steering, children, interception.

mod intercept;
mod sockets;
mod spawning;
mod steering;

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::pidfd;
use super::poller::Poller;
use super::spawn::Spawned;
use super::spawn::report::{self, Report};
use crate::base::exit::Exit;

/// Longer than any step takes on a busy machine; only a failure reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what holds once a descriptor is closed in all processes.
///
/// Another test may have started a process meanwhile: until it executes its program, it has a copy
/// of every descriptor of this one.
pub(crate) fn eventually(holds: impl Fn() -> bool) {
    let deadline = super::clock::now() + PATIENCE;
    while !holds() {
        assert!(super::clock::now() < deadline, "the wait timed out");
        std::thread::yield_now();
    }
}

fn wait_readable(fd: BorrowedFd<'_>) {
    let mut poller = Poller::new().unwrap();
    poller.add(fd, 0).unwrap();
    let deadline = super::clock::now() + PATIENCE;
    while poller.wait(Some(PATIENCE)).unwrap().is_empty() {
        assert!(super::clock::now() < deadline, "the wait timed out");
    }
}

fn next_report(spawned: &Spawned) -> Report {
    loop {
        match report::look_at(spawned.report.as_fd()).unwrap() {
            Some(report) => {
                report::done_with(spawned.report.as_fd());
                return report;
            }
            None => wait_readable(spawned.report.as_fd()),
        }
    }
}

fn wait_exit(spawned: &Spawned) -> Exit {
    wait_readable(spawned.pidfd.as_fd());
    let seen = pidfd::peek_child(spawned.pid).unwrap();
    let reaped = pidfd::reap_child(spawned.pid).unwrap();
    assert_eq!(seen, reaped);
    reaped.unwrap()
}

/// Puts a copy of `content` at `path`, as a program of this mode. Another process writes it: if a
/// file were open for writing in this one, a child that another test is just starting would have it
/// open for a moment, too, and the program could not run (ETXTBSY).
fn install(path: &Path, content: File, mode: &str) {
    let mut install = Command::new("install");
    install.args(["-m", mode, "/dev/stdin"]).arg(path).stdin(content);
    let status = install.status().unwrap();
    assert!(status.success(), "install {}: {status}", path.display());
}

fn local(fd: &OwnedFd) -> SocketAddr {
    crate::sys::socket::local_address(fd.as_fd()).unwrap()
}

fn read_all(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
