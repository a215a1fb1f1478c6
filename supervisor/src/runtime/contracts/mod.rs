//! The registry of worker contracts: how a program gets its sockets, becomes ready or talks to the
//! supervisor. A program may use several.
//!
//! To add one: give it a name (`ipc::control::Contract`), implement [`WorkerContract`] in a file or
//! folder here, and add one line to [`REGISTRY`].

mod activation;
pub(super) mod intercept;
pub(super) mod interface;
mod leader;
mod native;
mod node;
mod notify;

use ipc::control::Contract;

use self::activation::Activation;
use self::intercept::Intercept;
use self::interface::{Readiness, WorkerContract};
use self::leader::Leader;
use self::native::Native;
use self::node::Node;
use self::notify::Notify;
use super::Runtime;
use crate::base::ids::WorkerId;

/// Reads an endpoint of a worker.
type Take = fn(&mut Runtime, WorkerId, Readiness);

/// Every contract, with what reads its endpoint. Their descriptors are numbered in the worker in
/// this order; the lent sockets must come first (LISTEN_FDS).
const REGISTRY: [(&dyn WorkerContract, Take); 6] = [
    (&Activation, |_, _, _| {}),
    (&Intercept, Runtime::take_calls),
    (&Notify, Runtime::take_notifications),
    (&Node, Runtime::take_node),
    (&Native, Runtime::take_bus),
    (&Leader, |_, _, _| {}),
];

/// All contracts, in the order in which a worker gets its descriptors.
pub(super) fn all() -> impl Iterator<Item = &'static dyn WorkerContract> + Clone {
    REGISTRY.into_iter().map(|(contract, _)| contract)
}

/// Reads the endpoint of a contract with a worker.
pub(super) fn take(runtime: &mut Runtime, name: Contract, worker: WorkerId, ready: Readiness) {
    if let Some((_, take)) = REGISTRY.iter().find(|(contract, _)| contract.name() == name) {
        take(runtime, worker, ready);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_has_one_contract_and_every_endpoint_a_field_of_its_own() {
        let names: Vec<Contract> = all().map(WorkerContract::name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>(), Contract::KNOWN.iter().collect());
        assert_eq!(names.len(), Contract::KNOWN.len());
        let fields: Vec<&str> = all().filter_map(WorkerContract::state_field).collect();
        assert_eq!(fields.iter().collect::<BTreeSet<_>>().len(), fields.len());
    }

    #[test]
    fn the_sockets_that_a_worker_inherits_come_first() {
        assert_eq!(all().map(WorkerContract::name).next(), Some(Contract::Activation));
    }
}
