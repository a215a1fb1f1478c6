//! The intercept contract: `bind` and `listen` of an unchanged program wait for our answer (see
//! `runtime/intercept`). The descriptor of its calls comes from the child, between fork and exec.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipc::control::Contract;
use serde_json::Value;

use super::interface::{Endpoint, Offer, Refusal, WorkerContract};
use crate::runtime::workers::Child;
use crate::sys::held::{Claims, Held};

/// See the module.
#[derive(Debug)]
pub(super) struct Intercept;

/// A worker's intercepted calls.
#[derive(Debug)]
pub(in crate::runtime) struct Calls(pub(in crate::runtime) OwnedFd);

const FIELD: &str = "calls";

impl WorkerContract for Intercept {
    fn name(&self) -> Contract {
        Contract::Intercept
    }

    fn variables(&self) -> &'static [&'static str] {
        &[]
    }

    fn offer(&self, offer: &mut Offer<'_>) -> Result<(), Refusal> {
        offer.parts.intercept = offer.spec.intercept;
        Ok(())
    }

    fn state_field(&self) -> Option<&'static str> {
        Some(FIELD)
    }

    fn restore(&self, state: Value, claims: &mut Claims) -> Option<Box<dyn Endpoint>> {
        let held: Held = serde_json::from_value(state).ok()?;
        Some(Box::new(Calls(claims.claim(held).ok()?)))
    }
}

impl Endpoint for Calls {
    fn contract(&self) -> Contract {
        Contract::Intercept
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn outlives_worker(&self) -> bool {
        true
    }

    fn state(&self) -> serde_json::Result<(&'static str, Value)> {
        Ok((FIELD, serde_json::to_value(Held::of(self.fd()))?))
    }
}

impl Child {
    /// The descriptor of its intercepted calls.
    pub(in crate::runtime) fn calls(&self) -> Option<BorrowedFd<'_>> {
        self.endpoints.get::<Calls>().map(Calls::fd)
    }
}
