//! The door of the control socket: who may come in, and what is done when there is no room for
//! anybody. A connection that cannot be taken must not keep the loop busy.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use config::spec::AppSpec;
use ipc::control::{FailureKind, Reply};
use ipc::lines::to_line;

use super::Clients;
use super::rights::{Access, Rights};
use crate::policy::throttle::Throttle;
use crate::runtime::Runtime;
use crate::runtime::context::Context;
use crate::runtime::source::Source;
use crate::sys::poller::Poller;
use crate::sys::{clock, peer};

/// A descriptor for bad times.
pub(super) fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// A file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file that has this path; `None` if there is none.
    pub(in crate::runtime) fn at(path: &Path) -> Option<Self> {
        let data = std::fs::symlink_metadata(path).ok()?;
        Some(Self { device: data.dev(), inode: data.ino() })
    }
}

/// Ends a connection with a final answer. A new connection has room for a line; a client that does
/// not read it cannot be helped.
pub(super) fn refuse(mut stream: UnixStream, kind: FailureKind, reason: &str) {
    let reply = Reply::failed(kind, reason);
    let _ = stream.write_all(&to_line(&reply).unwrap_or_default());
}

impl Clients {
    /// Makes the control socket again if its path no longer leads to it. The caller holds the
    /// app's lock. Whether it was made. Clients that are connected stay.
    fn keep_socket(&mut self, poller: &Poller) -> io::Result<bool> {
        if self.file.is_some() && FileId::at(&self.path) == self.file {
            return Ok(false);
        }
        let Self { listener, file, access, .. } = Self::listen(&self.path)?;
        if !self.resting {
            poller.add(listener.as_fd(), Source::Control.token())?;
            poller.remove(self.listener());
        }
        (self.listener, self.file, self.access) = (listener, file, access);
        Ok(true)
    }

    /// From now on those may connect whom `spec` says.
    fn admit(&mut self, spec: &AppSpec, logs: &Path) -> Result<(), String> {
        // Remembered whatever comes of it, so that it is tried once for each change.
        let known;
        (self.access, known) = Access::of(spec);
        for client in self.connected.values_mut() {
            let peer = peer::peer(client.stream.as_fd());
            client.rights = peer.map_or(Rights::None, |peer| self.access.rights(&peer));
        }
        known?;
        let admitted = self.access.admit(&self.path);
        admitted.and_then(|()| self.access.open_logs(logs)).map_err(|error| error.to_string())
    }

    /// Takes a connection that there is no descriptor for, by the one that is kept for this, and
    /// says so.
    pub(super) fn turn_away(&mut self, error: io::Error) -> io::Result<()> {
        self.spare.take().ok_or(error).map(drop)?;
        let (stream, _) = self.listener.accept()?;
        let reason = "too many open files: the supervisor cannot answer";
        refuse(stream, FailureKind::Failed, reason);
        self.spare = spare();
        Ok(())
    }

    /// Leaves the control socket alone for a while: a connection that cannot be taken would wake
    /// the loop for ever.
    pub(in crate::runtime) fn rest(
        &mut self,
        at: &mut Context<'_>,
        throttle: &mut Throttle,
        error: &io::Error,
    ) {
        at.note(format!("cannot accept a control connection: {error}; trying again"));
        at.poller.remove(self.listener());
        self.resting = true;
        throttle.out_of_descriptors(clock::now());
    }

    /// Serves the control socket again.
    pub(in crate::runtime) fn hear_again(&mut self, at: &mut Context<'_>, throttle: &mut Throttle) {
        if !std::mem::take(&mut self.resting) {
            return;
        }
        self.open_door();
        if let Err(error) = at.poller.add(self.listener(), Source::Control.token()) {
            self.rest(at, throttle, &error);
        }
    }

    /// From now on people can connect also when there is no descriptor left: one of them.
    pub(in crate::runtime) fn open_door(&mut self) {
        self.spare = self.spare.take().or_else(spare);
    }
}

impl Runtime {
    /// Makes the files by which commands find this app again, if somebody removed them.
    pub(in crate::runtime) fn keep_files(&mut self) {
        let name = self.core.spec().name.clone();
        let socket = |error| format!("cannot make the control socket: {error}");
        let made = self.recorder.keep_files(&name).and_then(|lock| {
            let made = self.clients.keep_socket(&self.events.poller).map_err(socket)?;
            Ok(lock || made)
        });
        match made {
            Ok(false) => {}
            Ok(true) => {
                self.writer.stale = true;
                self.keep_access();
                let socket = self.clients.path.display();
                self.warn(format!("the files of this app were removed; {socket} is made again"));
            }
            Err(why) => self.note(format!(
                "commands cannot find this app, because its files were removed: {why}; trying again"
            )),
        }
        self.keep_record();
        if self.logs.folder_is_gone() {
            let home = self.recorder.home();
            let made = home.prepare_logs(&name).map_err(|error| error.to_string());
            let opened = made.and_then(|()| self.logs.reopen().map_err(|error| error.to_string()));
            if let Err(error) = opened {
                self.note(format!("cannot write the log files: {error}"));
            }
        }
    }

    /// Who may connect is as the spec says now.
    pub(in crate::runtime) fn keep_access(&mut self) {
        let spec = self.core.spec();
        if self.clients.access.is_of(spec) {
            return;
        }
        let logs = self.recorder.home().log_dir(&spec.name);
        if let Err(error) = self.clients.admit(spec, &logs) {
            self.note(format!("cannot let others command this app: {error}"));
        }
    }
}
