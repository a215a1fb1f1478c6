//! One worker, snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use config::spec::AppSpec;
use ipc::control::Contract;
use ipc::node::ServerAsk;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::specs::Specs;
use crate::base::exit::Exit;
use crate::base::ids::{Generation, ListenerId, Place, Slot, SocketId, Ticket, WorkerId};
use crate::runtime::contracts::interface::{Endpoints, WorkerContract};
use crate::runtime::on_stop::LeftToParents;
use crate::runtime::output::logs::Tail;
use crate::runtime::probe::hang::Progress;
use crate::runtime::workers::{Asking, Call, Child, Pipe};
use crate::sys::held::{Claims, Held};
use crate::sys::pidfd::{self, Pid};
use crate::sys::unseen::Theirs;

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChildSnapshot {
    id: WorkerId,
    slot: Slot,
    generation: Generation,
    spec: usize,
    #[serde(default, skip_serializing_if = "is_no")]
    is_hook: bool,
    pid: u32,
    uid: Option<u32>,
    pidfd: Held,
    report: Option<Held>,
    out: Option<Held>,
    err: Option<Held>,
    tail: Vec<String>,
    lent: Vec<(ListenerId, SocketId, u64)>,
    inherited: Vec<(i32, ListenerId, SocketId)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<i32>,
    accepted: u64,
    asking: Vec<(Ticket, AskingSnapshot)>,
    #[serde(default)]
    shut_down: Vec<(u64, ListenerId, SocketId)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bound_only: Vec<(u64, ListenerId, SocketId)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    let_through: Option<BTreeSet<u64>>,
    contracts: Vec<Contract>,
    told_to_stop: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<LeftToParents>,
    #[serde(default)]
    ends_kept: bool,
    ended: Option<Exit>,
    failed: Option<(String, bool)>,
    /// What each contract has of it, in a field of its own.
    #[serde(flatten)]
    endpoints: BTreeMap<String, Value>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AskingSnapshot {
    Call {
        listener: ListenerId,
        call: u64,
        theirs: ReportSnapshot,
        fd: i32,
        nonblocking: bool,
        cloexec: bool,
        address: SocketAddr,
    },
    Node {
        seq: u64,
        ask: Box<ServerAsk>,
        listener: ListenerId,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ReportSnapshot {
    Copy(Held),
    Place { tid: u32, fd: i32 },
}

impl ChildSnapshot {
    pub(super) fn of(child: &Child, specs: &mut Specs) -> serde_json::Result<Self> {
        let pipe = |pipe: &Option<Pipe>| pipe.as_ref().map(|pipe| Held::of(pipe.fd()));
        Ok(Self {
            id: child.id,
            slot: child.slot,
            generation: child.generation,
            spec: specs.place(&child.spec),
            is_hook: child.is_hook,
            pid: child.pid.0,
            uid: child.uid,
            pidfd: Held::of(child.pidfd.as_fd()),
            report: child.report.as_ref().map(|fd| Held::of(fd.as_fd())),
            out: pipe(&child.out),
            err: pipe(&child.err),
            tail: child.tail.lines(),
            lent: child.lent.iter().map(|((of, socket), given)| (*of, *socket, *given)).collect(),
            inherited: child
                .inherited
                .iter()
                .map(|(fd, (of, socket))| (*fd, *of, *socket))
                .collect(),
            lease: child.lease,
            accepted: child.accepted,
            asking: child
                .asking
                .iter()
                .map(|(ticket, a)| (*ticket, AskingSnapshot::of(a)))
                .collect(),
            shut_down: inodes_of(&child.shut_down),
            bound_only: inodes_of(&child.bound_only),
            let_through: child.let_through.clone(),
            contracts: child.contracts.iter().copied().collect(),
            told_to_stop: child.told_to_stop,
            left: child.left.clone(),
            ends_kept: child.ends_kept,
            ended: child.ended,
            failed: child.failed.clone(),
            endpoints: child.endpoints.state()?,
        })
    }

    /// The worker again. Descriptors that are gone are those of things that had ended; only
    /// without its pidfd there is nothing to go on with.
    pub(super) fn restore(
        mut self,
        specs: &[Arc<AppSpec>],
        contracts: impl Iterator<Item = &'static dyn WorkerContract>,
        claims: &mut Claims,
    ) -> io::Result<Child> {
        let spec = specs.get(self.spec).ok_or_else(|| io::Error::other("its spec is missing"))?;
        let mut claim = |held: Option<Held>| held.and_then(|held| claims.claim(held).ok());
        let pid = Pid(self.pid);
        // Our keeper has not let go of its number, so the number is still its own.
        let pidfd = claim(Some(self.pidfd)).map_or_else(|| pidfd::open(pid), Ok)?;
        // A contract of a later build means nothing here.
        let known = |contract: &Contract| *contract != Contract::Unknown;
        let report = claim(self.report);
        let (out, err) = (claim(self.out), claim(self.err));
        let endpoints = contracts.filter_map(|contract| {
            let state = self.endpoints.remove(contract.state_field()?)?;
            contract.restore(state, claims)
        });
        Ok(Child {
            id: self.id,
            slot: self.slot,
            generation: self.generation,
            is_hook: self.is_hook,
            pid,
            uid: self.uid,
            pidfd,
            report,
            endpoints: Endpoints::of(endpoints.collect()),
            out: out.map(|reader| Pipe::new(reader.into())),
            err: err.map(|reader| Pipe::new(reader.into())),
            tail: Tail::of(&self.tail),
            lent: self.lent.into_iter().map(|(of, socket, given)| ((of, socket), given)).collect(),
            inherited: self.inherited.into_iter().map(|(fd, of, s)| (fd, (of, s))).collect(),
            lease: self.lease,
            accepted: self.accepted,
            held: 0,
            asking: restore_asking(self.asking, claims),
            shut_down: self.shut_down.into_iter().map(|(i, of, s)| (i, (of, s))).collect(),
            bound_only: self.bound_only.into_iter().map(|(i, of, s)| (i, (of, s))).collect(),
            let_through: self.let_through,
            contracts: self.contracts.into_iter().filter(known).collect(),
            told_to_stop: self.told_to_stop,
            left: self.left,
            ends_kept: self.ends_kept,
            ended: self.ended,
            failed: self.failed,
            drain: None,
            progress: Progress::default(),
            spec: Arc::clone(spec),
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_no(flag: &bool) -> bool {
    !*flag
}

fn inodes_of(sockets: &BTreeMap<u64, Place>) -> Vec<(u64, ListenerId, SocketId)> {
    sockets.iter().map(|(inode, (of, socket))| (*inode, *of, *socket)).collect()
}

fn restore_asking(
    asking: Vec<(Ticket, AskingSnapshot)>,
    claims: &mut Claims,
) -> BTreeMap<Ticket, Asking> {
    let restored =
        asking.into_iter().filter_map(|(ticket, asking)| Some((ticket, asking.restore(claims)?)));
    restored.collect()
}

impl AskingSnapshot {
    fn of(asking: &Asking) -> Self {
        match asking {
            Asking::Call(call) => Self::Call {
                listener: call.listener,
                call: call.call,
                theirs: match &call.theirs {
                    Theirs::Copy(copy) => ReportSnapshot::Copy(Held::of(copy.as_fd())),
                    Theirs::Place { tid, fd } => ReportSnapshot::Place { tid: *tid, fd: *fd },
                },
                fd: call.fd,
                nonblocking: call.nonblocking,
                cloexec: call.cloexec,
                address: call.address,
            },
            Asking::Node { seq, ask, listener } => {
                Self::Node { seq: *seq, ask: ask.clone(), listener: *listener }
            }
        }
    }

    fn restore(self, claims: &mut Claims) -> Option<Asking> {
        Some(match self {
            Self::Call { listener, call, theirs, fd, nonblocking, cloexec, address } => {
                let theirs = match theirs {
                    ReportSnapshot::Copy(held) => Theirs::Copy(claims.claim(held).ok()?),
                    ReportSnapshot::Place { tid, fd } => Theirs::Place { tid, fd },
                };
                Asking::Call(Call { listener, call, theirs, fd, nonblocking, cloexec, address })
            }
            Self::Node { seq, ask, listener } => Asking::Node { seq, ask, listener },
        })
    }
}
