//! What can wake the loop, and the number by which the kernel hands it back.

use ipc::control::Contract;

use crate::base::ids::{ClientId, ListenerId, MergeId, SocketId, WorkerId};

/// One registered fd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Signals to the primary.
    Signals,
    /// The control socket: somebody connects.
    Control,
    /// One control connection.
    Client(ClientId),
    /// A worker's main process ended.
    Process(WorkerId),
    /// What happened between fork and exec.
    Report(WorkerId),
    /// A worker's stdout.
    Out(WorkerId),
    /// A worker's stderr.
    Err(WorkerId),
    /// A hand-over listener.
    Accept(ListenerId),
    /// A connection that waits for its PROXY header.
    Header(u64),
    /// A slot socket whose worker has closed it and lives on.
    Abandoned(ListenerId, SocketId),
    /// Our end of a contract with a worker.
    Endpoint(Contract, WorkerId),
    /// The keeper has ended.
    Keeper,
    /// Another build has said whether it can take over.
    UpgradeCheck,
    /// The process that merges a change has ended.
    Merge(MergeId),
    /// The process that looks after rotated log files has ended.
    Housekeeping,
    /// The process that probes has answered, or ended.
    Prober,
    /// The process that watches files has reported something, or ended.
    FileWatcher,
}

/// The kind is in the low bits, the id above them; ids never come near 2^59.
const KIND_BITS: u32 = 5;
/// The kind of the first contract's endpoints; those of the others follow.
const FIRST_ENDPOINT: u64 = 16;
/// A listener never has near as many sockets.
const SOCKET_BITS: u32 = 27;
const SOCKET_MASK: u64 = (1 << SOCKET_BITS) - 1;

impl Source {
    /// The number for the poller.
    pub(crate) fn token(self) -> u64 {
        let (kind, id) = match self {
            Self::Signals => (0, 0),
            Self::Control => (1, 0),
            Self::Client(id) => (2, id.0),
            Self::Process(id) => (3, id.0),
            Self::Report(id) => (4, id.0),
            Self::Out(id) => (5, id.0),
            Self::Err(id) => (6, id.0),
            Self::Accept(id) => (7, id.0.into()),
            Self::Header(id) => (8, id),
            Self::Abandoned(listener, socket) => {
                (9, u64::from(listener.0) << SOCKET_BITS | u64::from(socket.0) & SOCKET_MASK)
            }
            Self::Keeper => (10, 0),
            Self::UpgradeCheck => (11, 0),
            Self::Merge(id) => (12, id.0),
            Self::Housekeeping => (13, 0),
            Self::Prober => (14, 0),
            Self::FileWatcher => (15, 0),
            Self::Endpoint(contract, id) => (FIRST_ENDPOINT + contract as u64, id.0),
        };
        id << KIND_BITS | kind
    }

    /// Back from the number; `None`: not one of ours.
    pub(crate) fn from_token(token: u64) -> Option<Self> {
        let id = token >> KIND_BITS;
        Some(match token & ((1 << KIND_BITS) - 1) {
            0 => Self::Signals,
            1 => Self::Control,
            2 => Self::Client(ClientId(id)),
            3 => Self::Process(WorkerId(id)),
            4 => Self::Report(WorkerId(id)),
            5 => Self::Out(WorkerId(id)),
            6 => Self::Err(WorkerId(id)),
            7 => Self::Accept(ListenerId(u32::try_from(id).ok()?)),
            8 => Self::Header(id),
            9 => Self::Abandoned(
                ListenerId(u32::try_from(id >> SOCKET_BITS).ok()?),
                SocketId(u32::try_from(id & SOCKET_MASK).ok()?),
            ),
            10 => Self::Keeper,
            11 => Self::UpgradeCheck,
            12 => Self::Merge(MergeId(id)),
            13 => Self::Housekeeping,
            14 => Self::Prober,
            15 => Self::FileWatcher,
            kind => {
                let is_it = |known: &&Contract| FIRST_ENDPOINT + **known as u64 == kind;
                Self::Endpoint(*Contract::KNOWN.iter().find(is_it)?, WorkerId(id))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let worker = WorkerId(123_456_789);
        for source in [
            Source::Signals,
            Source::Control,
            Source::Client(ClientId(7)),
            Source::Process(worker),
            Source::Report(worker),
            Source::Out(worker),
            Source::Err(worker),
            Source::Accept(ListenerId(3)),
            Source::Header(9),
            Source::Abandoned(ListenerId(u32::MAX), SocketId(5)),
            Source::Keeper,
            Source::UpgradeCheck,
            Source::Merge(MergeId(3)),
            Source::Housekeeping,
            Source::Prober,
            Source::FileWatcher,
        ] {
            assert_eq!(Source::from_token(source.token()), Some(source));
        }
        for contract in Contract::KNOWN {
            let source = Source::Endpoint(contract, worker);
            assert_eq!(Source::from_token(source.token()), Some(source));
        }
        assert_eq!(Source::from_token(31), None);
    }
}
