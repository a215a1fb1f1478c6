//! Probes the workers (`readiness`, `liveness`) and tells the core what they answer.
//!
//! A probe must reach its worker and no neighbour. The primary makes the socket, binds it to a port
//! of its own, and has the connection from there led to the worker's slot socket: by a rule of the
//! steering program, or where the primary accepts, by the address of the client. What may take
//! time, the answer, is the business of another process (`prober`), which gets the socket.
//! `policy::probe_schedule` says when.

mod questions;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use config::spec::{AppSpec, ProbeAsk, ProbeSpec};

pub(crate) use self::questions::{Answer, Ask, Found, Question};

use super::context::{Context, Place};
use super::lasting_helper::LastingHelper;
use super::source::Source;
use crate::base::ids::{ListenerId, WorkerId};
use crate::base::time::{Time, millis};
use crate::policy::probe_schedule::{Key, ProbeSchedule};
use crate::primary::event::{ProbeKind, ProbeResult};
use crate::sys::{accounts, socket};

/// The verb of the process that probes.
const VERB: &str = "prober";

/// The probes of the app.
#[derive(Debug)]
pub(super) struct Health {
    schedule: ProbeSchedule,
    /// The process that probes.
    prober: LastingHelper,
    /// The connections of probes that are under way, by the number of the question.
    connections: BTreeMap<u64, Connection>,
    /// The core knows that these do not listen yet.
    silent: BTreeSet<Key>,
}

/// A connection that is led to its worker. Our copy keeps its port until the rule is gone.
#[derive(Debug)]
struct Connection {
    listener: ListenerId,
    source: SocketAddr,
    client: OwnedFd,
}

/// Why a probe is not made now.
enum Obstacle {
    /// It may be possible soon.
    Soon,
    /// The worker does not listen there yet, or no longer.
    NotListening(String),
    /// It says this.
    Result(ProbeResult),
}

impl Default for Health {
    fn default() -> Self {
        Self {
            schedule: ProbeSchedule::default(),
            prober: LastingHelper::new(VERB, Source::Prober),
            connections: BTreeMap::new(),
            silent: BTreeSet::new(),
        }
    }
}

impl Health {
    /// When a probe is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.schedule.deadline(self.prober.ready_at())
    }

    /// Nothing is to be probed, and nothing is under way.
    fn is_idle(&self) -> bool {
        self.schedule.deadline(None).is_none() && self.connections.is_empty()
    }

    fn ask(
        &mut self,
        at: &mut Context<'_>,
        now: Time,
        key: Key,
        probe: &ProbeSpec,
    ) -> Result<(), Obstacle> {
        let (worker, _) = key;
        let Some(asked) = &probe.ask else { return Err(Obstacle::Soon) };
        let (ask, connection) = match asked {
            ProbeAsk::Command { command } => (command_of(at, worker, command)?, None),
            ProbeAsk::Http { port, .. } | ProbeAsk::Tcp { port } => {
                let place = place_of(at, worker, *port)?;
                let (connection, to) = connect(at, place).map_err(unknown)?;
                let ask = match asked {
                    ProbeAsk::Http { path, .. } => Ask::Http {
                        path: path.clone(),
                        host: to.to_string(),
                        status: probe.status,
                        body: probe.body.clone(),
                    },
                    ProbeAsk::Tcp { .. } | ProbeAsk::Command { .. } => Ask::Tcp,
                };
                (ask, Some(connection))
            }
        };
        let id = self.schedule.ask(now, key, probe.timeout);
        let timeout_ms = millis(probe.timeout);
        let question = Question { id, timeout_ms, ask };
        let client = connection.as_ref().map(|connection| connection.client.as_fd());
        let sent = self.prober.send(&question, client);
        if let Some(connection) = connection {
            self.connections.insert(id, connection);
        }
        match sent {
            Ok(()) => Ok(()),
            Err(error) => {
                self.end_connection(at, id);
                match error.kind() {
                    io::ErrorKind::InvalidInput => Err(unknown(error)),
                    _ => {
                        self.lose(at, now);
                        Err(Obstacle::Soon)
                    }
                }
            }
        }
    }

    fn end_connection(&mut self, at: &mut Context<'_>, id: u64) {
        let Some(connection) = self.connections.remove(&id) else { return };
        if let Some(open) = at.listeners.get_mut(connection.listener)
            && let Err(error) = open.end_probe(connection.source)
        {
            let address = open.address();
            at.warn(format!("cannot steer the connections of {address}: {error}"));
        }
    }

    /// The process that probes is of no use any more. What it was asked is asked of the next one.
    fn lose(&mut self, at: &mut Context<'_>, now: Time) {
        self.prober.end(at.poller, now);
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        ids.into_iter().for_each(|id| self.end_connection(at, id));
        self.schedule.lose(now);
    }
}

fn spec_of(spec: &AppSpec, kind: ProbeKind) -> &ProbeSpec {
    match kind {
        ProbeKind::Readiness => &spec.readiness,
        ProbeKind::Liveness => &spec.liveness,
    }
}

fn unknown(why: impl ToString) -> Obstacle {
    Obstacle::Result(ProbeResult::Unknown(why.to_string()))
}

/// The slot socket by which a worker is probed: that of its first address, or of this port.
fn place_of(at: &Context<'_>, worker: WorkerId, port: Option<u16>) -> Result<Place, Obstacle> {
    let Some(child) = at.children.get(&worker) else { return Err(Obstacle::Soon) };
    let is_wanted = |place: &&Place| {
        let open = at.listeners.get(place.0);
        let own = open.and_then(|open| open.port());
        own.is_some() && port.is_none_or(|port| own == Some(port))
    };
    let Some(place) = child.lent.keys().find(is_wanted) else {
        let what = port.map_or_else(|| "a TCP address".to_owned(), |port| format!("port {port}"));
        return Err(Obstacle::NotListening(format!("it does not listen on {what}")));
    };
    let Some(open) = at.listeners.get(place.0) else { return Err(Obstacle::Soon) };
    if open.is_shared() {
        let address = open.address();
        return Err(unknown(format!("its workers share one socket for {address}")));
    }
    let serves = match open.hand_over() {
        Some(_) => child.node().is_some_and(|node| node.key_of(*place).is_some()),
        None => open.is_steered_with(place.1),
    };
    match serves {
        true => Ok(*place),
        false => Err(Obstacle::NotListening(format!("it does not listen on {}", open.address()))),
    }
}

/// Begins a connection that is led to this slot socket. Returns it with the listener's address.
fn connect(at: &mut Context<'_>, (id, slot_socket): Place) -> io::Result<(Connection, SocketAddr)> {
    let open = at.listeners.get_mut(id).ok_or(io::ErrorKind::NotFound)?;
    let to = open.tcp_address().ok_or(io::ErrorKind::NotFound)?;
    let (client, source) = socket::client_for(to)?;
    let connected = match open.begin_probe(source, slot_socket) {
        Ok(()) => socket::connect(client.as_fd(), to),
        Err(error) => Err(error),
    };
    if let Err(error) = connected {
        let _ = open.end_probe(source);
        return Err(error);
    }
    Ok((Connection { listener: id, source, client }, socket::reachable(to)))
}

/// A command, with what it may want to know of the worker.
fn command_of(at: &Context<'_>, worker: WorkerId, command: &[String]) -> Result<Ask, Obstacle> {
    let Some(child) = at.children.get(&worker) else { return Err(Obstacle::Soon) };
    let spec = &child.spec;
    let user = match &spec.user {
        Some(user) => {
            let identity = accounts::identity(user, spec.group.as_deref()).map_err(unknown)?;
            Some((identity.uid, identity.gid))
        }
        None => None,
    };
    let mut env = spec.env.clone();
    env.extend([
        ("SUPERVISOR_APP".to_owned(), spec.name.clone()),
        ("SUPERVISOR_SLOT".to_owned(), child.slot.to_string()),
        ("SUPERVISOR_PID".to_owned(), child.pid.to_string()),
    ]);
    Ok(Ask::Command { command: command.to_vec(), cwd: spec.cwd.clone(), env, user })
}
