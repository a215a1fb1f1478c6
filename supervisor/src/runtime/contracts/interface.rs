//! What a worker contract is to the runtime: what a worker gets by it, our end of it, and how that
//! end passes from a primary to its successor.
//!
//! What a contract's descriptor tells becomes cues for the core (`Listening`, `Notified`, …); the
//! core decides by the cues alone when a worker is ready, and knows no contract.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use config::spec::AppSpec;
use ipc::control::Contract;
use serde_json::Value;

use crate::base::ids::{Place, WorkerId};
use crate::home::Home;
use crate::runtime::lease::Lease;
use crate::runtime::listeners::Listeners;
use crate::runtime::notes::Notes;
use crate::runtime::source::Source;
use crate::sys::held::Claims;

/// The first inherited descriptor (sd_listen_fds(3), SD_LISTEN_FDS_START).
pub(in crate::runtime) const FIRST_FD: i32 = 3;

/// One way in which a program gets its sockets, becomes ready or talks to the supervisor.
pub(in crate::runtime) trait WorkerContract: Debug + Sync {
    /// Its name in the status.
    fn name(&self) -> Contract;

    /// The variables by which a program learns of it. A worker never inherits those that the
    /// primary was started with.
    fn variables(&self) -> &'static [&'static str];

    /// Adds what a worker gets by it. A worker whose spec does not ask for the contract gets
    /// nothing. An error means that the worker cannot start.
    fn offer(&self, offer: &mut Offer<'_>) -> Result<(), Refusal>;

    /// The field of a worker's state in which its endpoint is; `None`: it has no endpoint.
    fn state_field(&self) -> Option<&'static str>;

    /// The endpoint that a predecessor wrote down in that field. `None`: it had ended, or the
    /// field cannot be read.
    fn restore(&self, state: Value, claims: &mut Claims) -> Option<Box<dyn Endpoint>>;
}

/// Our end of a contract with one worker: a descriptor that the loop watches.
pub(in crate::runtime) trait Endpoint: Any + Debug {
    /// The contract to which it belongs.
    fn contract(&self) -> Contract;

    /// The descriptor.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Whether it also serves processes that the worker started and that outlive it.
    fn outlives_worker(&self) -> bool {
        false
    }

    /// The field in the state of its worker, and what a successor needs.
    fn state(&self) -> serde_json::Result<(&'static str, Value)>;
}

/// What the loop saw on an endpoint's descriptor.
#[derive(Debug, Clone, Copy)]
pub(in crate::runtime) struct Readiness {
    /// There is something to read, or an end.
    pub(in crate::runtime) readable: bool,
    /// The other end is closed.
    pub(in crate::runtime) hangup: bool,
}

/// The endpoints of one worker: at most one of each type.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Endpoints(Vec<Box<dyn Endpoint>>);

impl Endpoints {
    /// Those that a predecessor had.
    pub(in crate::runtime) fn of(all: Vec<Box<dyn Endpoint>>) -> Self {
        Self(all)
    }

    /// Adds one.
    pub(in crate::runtime) fn put(&mut self, endpoint: impl Endpoint) {
        self.0.push(Box::new(endpoint));
    }

    /// The endpoint of this type.
    pub(in crate::runtime) fn get<T: Endpoint>(&self) -> Option<&T> {
        self.0.iter().find_map(|endpoint| (endpoint.as_ref() as &dyn Any).downcast_ref())
    }

    /// The same, to be changed.
    pub(in crate::runtime) fn get_mut<T: Endpoint>(&mut self) -> Option<&mut T> {
        self.0.iter_mut().find_map(|endpoint| (endpoint.as_mut() as &mut dyn Any).downcast_mut())
    }

    /// Takes the endpoint of this type out; its descriptor must leave the poller.
    pub(in crate::runtime) fn take<T: Endpoint>(&mut self) -> Option<Box<T>> {
        let at = self.0.iter().position(|it| (it.as_ref() as &dyn Any).is::<T>())?;
        let endpoint: Box<dyn Any> = self.0.remove(at);
        endpoint.downcast().ok()
    }

    /// Drops those that serve the worker alone; the descriptors of all must have left the poller.
    pub(in crate::runtime) fn worker_ended(&mut self) {
        self.0.retain(|endpoint| endpoint.outlives_worker());
    }

    /// What the poller watches for this worker.
    pub(in crate::runtime) fn sources(
        &self,
        worker: WorkerId,
    ) -> impl Iterator<Item = (BorrowedFd<'_>, Source)> {
        let all = self.0.iter();
        all.map(move |it| (it.fd(), Source::Endpoint(it.contract(), worker)))
    }

    /// The fields that describe them in the state of their worker.
    pub(in crate::runtime) fn state(&self) -> serde_json::Result<BTreeMap<String, Value>> {
        let all = self.0.iter().map(|endpoint| endpoint.state());
        all.map(|state| state.map(|(field, value)| (field.to_owned(), value))).collect()
    }
}

/// What a worker that is about to start gets: each contract adds its part.
#[derive(Debug)]
pub(in crate::runtime) struct Offer<'a> {
    pub(in crate::runtime) worker: WorkerId,
    pub(in crate::runtime) spec: &'a AppSpec,
    /// The sockets that the core lends it from the beginning.
    pub(in crate::runtime) lend: &'a [Place],
    pub(in crate::runtime) listeners: &'a mut Listeners,
    pub(in crate::runtime) home: &'a Home,
    pub(in crate::runtime) lease: &'a mut Lease,
    pub(in crate::runtime) notes: &'a mut Notes,
    /// The program and its arguments.
    pub(in crate::runtime) argv: Vec<OsString>,
    pub(in crate::runtime) parts: Parts,
}

/// What the contracts added.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Parts {
    /// Variables that the app's own ones may replace.
    pub(in crate::runtime) variables: BTreeMap<String, String>,
    /// Variables that stand behind the app's own ones.
    pub(in crate::runtime) fixed_variables: Vec<(&'static str, String)>,
    /// LISTEN_PID is the worker's own pid, which only the child knows.
    pub(in crate::runtime) listen_pid: bool,
    /// Its calls of `bind` and `listen` are intercepted.
    pub(in crate::runtime) intercept: bool,
    /// Its program ends its kept connections when it is told to.
    pub(in crate::runtime) ends_kept: bool,
    /// Lent sockets, by their number in the worker.
    pub(in crate::runtime) lent: BTreeMap<i32, Place>,
    /// Other descriptors for the worker, with their number there.
    pub(in crate::runtime) given: Vec<(OwnedFd, i32)>,
    /// The number of its lease.
    pub(in crate::runtime) lease: Option<i32>,
    /// Our ends.
    pub(in crate::runtime) endpoints: Endpoints,
    /// Contracts that it uses from the beginning.
    pub(in crate::runtime) used: BTreeSet<Contract>,
}

impl Parts {
    /// Lends a socket of a listener, under the next number.
    pub(in crate::runtime) fn lend(&mut self, place: Place) {
        let number = self.next_fd();
        self.lent.insert(number, place);
    }

    /// Gives a descriptor to the worker; its number there.
    pub(in crate::runtime) fn give(&mut self, fd: OwnedFd) -> i32 {
        let number = self.next_fd();
        self.given.push((fd, number));
        number
    }

    fn next_fd(&self) -> i32 {
        let taken = i32::try_from(self.lent.len() + self.given.len()).unwrap_or(i32::MAX);
        FIRST_FD.saturating_add(taken)
    }
}

/// Why there is no process.
#[derive(Debug)]
pub(in crate::runtime) struct Refusal {
    pub(in crate::runtime) reason: String,
    /// Trying again cannot help.
    pub(in crate::runtime) permanent: bool,
}

impl Refusal {
    /// The machine is short of something. `what` stands behind "cannot".
    pub(in crate::runtime) fn temporary(what: &str, error: &io::Error) -> Self {
        let reason = format!("cannot start a worker: cannot {what}: {error}");
        Self { reason, permanent: false }
    }

    /// What a person wrote is wrong.
    pub(in crate::runtime) fn permanent(reason: String) -> Self {
        Self { reason, permanent: true }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::base::ids::{ListenerId, SocketId};

    #[derive(Debug)]
    struct One(OwnedFd);

    #[derive(Debug)]
    struct Other(OwnedFd);

    impl Endpoint for One {
        fn contract(&self) -> Contract {
            Contract::Notify
        }

        fn fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }

        fn state(&self) -> serde_json::Result<(&'static str, Value)> {
            Ok(("one", 1.into()))
        }
    }

    impl Endpoint for Other {
        fn contract(&self) -> Contract {
            Contract::Native
        }

        fn fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }

        fn state(&self) -> serde_json::Result<(&'static str, Value)> {
            Ok(("other", 2.into()))
        }
    }

    #[test]
    fn endpoints_are_found_by_their_type() {
        let (one, other) = io::pipe().unwrap();
        let mut all = Endpoints::default();
        all.put(One(one.into()));
        assert!(all.get::<One>().is_some() && all.get::<Other>().is_none());
        all.put(Other(other.into()));
        let sources: Vec<Source> = all.sources(WorkerId(7)).map(|(_, source)| source).collect();
        let expected = [Contract::Notify, Contract::Native];
        assert_eq!(sources, expected.map(|contract| Source::Endpoint(contract, WorkerId(7))));
        let fields = BTreeMap::from([("one".to_owned(), 1.into()), ("other".to_owned(), 2.into())]);
        assert_eq!(all.state().unwrap(), fields);
        assert!(all.take::<One>().is_some() && all.take::<One>().is_none());
        assert!(all.get_mut::<Other>().is_some());
        all.worker_ended();
        assert!(all.get::<Other>().is_none());
    }

    #[test]
    fn descriptors_are_numbered_in_the_order_in_which_they_are_added() {
        let (one, other) = io::pipe().unwrap();
        let mut parts = Parts::default();
        parts.lend((ListenerId(1), SocketId(4)));
        parts.lend((ListenerId(2), SocketId(0)));
        assert_eq!((parts.give(one.into()), parts.give(other.into())), (5, 6));
        assert_eq!(parts.lent.keys().copied().collect::<Vec<_>>(), [3, 4]);
    }
}
