//! The leader contract: a program finds a descriptor in SUPERVISOR_LEADER_FD, and is the leader
//! while it holds an exclusive lock on it (flock(2)). See `runtime/lease`.

use ipc::control::Contract;
use serde_json::Value;

use super::interface::{Endpoint, Offer, Refusal, WorkerContract};
use crate::sys::held::Claims;

/// See the module.
#[derive(Debug)]
pub(super) struct Leader;

const VARIABLE: &str = "SUPERVISOR_LEADER_FD";

impl WorkerContract for Leader {
    fn name(&self) -> Contract {
        Contract::Leader
    }

    fn variables(&self) -> &'static [&'static str] {
        &[VARIABLE]
    }

    fn offer(&self, offer: &mut Offer<'_>) -> Result<(), Refusal> {
        if !offer.spec.leader {
            return Ok(());
        }
        let lease = offer.lease.open();
        let lease = lease.map_err(|error| Refusal::temporary("open its lease", &error))?;
        let parts = &mut offer.parts;
        let number = parts.give(lease);
        parts.lease = Some(number);
        parts.fixed_variables.push((VARIABLE, number.to_string()));
        parts.used.insert(Contract::Leader);
        Ok(())
    }

    fn state_field(&self) -> Option<&'static str> {
        None
    }

    fn restore(&self, _: Value, _: &mut Claims) -> Option<Box<dyn Endpoint>> {
        None
    }
}
