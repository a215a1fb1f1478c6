//! Admission to the control socket: which users may connect, and what happens when there is no
//! descriptor for a connection. A connection that cannot be taken must not keep the loop busy.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use config::spec::AppSpec;
use ipc::control::FailureKind;

use super::rights::{Access, Rights};
use super::{Clients, refuse, spare};
use crate::home::Home;
use crate::policy::throttle::Throttle;
use crate::runtime::context::Context;
use crate::runtime::source::Source;
use crate::sys::file_id::FileId;
use crate::sys::poller::Poller;
use crate::sys::{clock, peer};

impl Clients {
    /// Makes the control socket again if its path no longer leads to it, and returns whether it
    /// did. The caller holds the app's lock. Connected clients stay connected.
    pub(in crate::runtime) fn keep_socket(&mut self, poller: &Poller) -> io::Result<bool> {
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

    /// From now on the users and groups that `spec` names may connect.
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

    /// Accepts a connection with the descriptor that is kept in reserve, and tells the client that
    /// there are no others.
    pub(super) fn turn_away(&mut self, error: io::Error) -> io::Result<()> {
        self.spare.take().ok_or(error).map(drop)?;
        let (stream, _) = self.listener.accept()?;
        let reason = "too many open files: the supervisor cannot answer";
        refuse(stream, FailureKind::Failed, reason);
        self.spare = spare();
        Ok(())
    }

    /// Stops watching the control socket for a while: a connection that cannot be accepted would
    /// wake the loop again and again.
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
        self.keep_spare();
        if let Err(error) = at.poller.add(self.listener(), Source::Control.token()) {
            self.rest(at, throttle, &error);
        }
    }

    /// Keeps a descriptor in reserve: with it, one client can be told that there are none left.
    pub(in crate::runtime) fn keep_spare(&mut self) {
        self.spare = self.spare.take().or_else(spare);
    }

    /// Applies the spec's rules about who may connect, if they have changed.
    pub(in crate::runtime) fn keep_access(&mut self, at: &mut Context<'_>, home: &Home) {
        if self.access.is_of(at.spec) {
            return;
        }
        if let Err(error) = self.admit(at.spec, &home.log_dir(&at.spec.name)) {
            at.note(format!("cannot let others command this app: {error}"));
        }
    }
}
