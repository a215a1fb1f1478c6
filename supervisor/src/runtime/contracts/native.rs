//! The native contract: a program that uses one of our clients is on the bus, by the channel that
//! SUPERVISOR_CHANNEL_FD names (see `runtime/bus`).

use std::os::fd::BorrowedFd;

use ipc::control::Contract;
use serde_json::Value;

use super::interface::{Endpoint, Offer, Refusal, WorkerContract};
use crate::runtime::bus::channel::BusChannel;
use crate::sys::held::{Claims, Held};

/// See the module.
#[derive(Debug)]
pub(super) struct Native;

const FIELD: &str = "bus";

impl WorkerContract for Native {
    fn name(&self) -> Contract {
        Contract::Native
    }

    fn variables(&self) -> &'static [&'static str] {
        &["SUPERVISOR_CHANNEL_FD"]
    }

    fn offer(&self, offer: &mut Offer<'_>) -> Result<(), Refusal> {
        let (channel, end) =
            BusChannel::pair().map_err(|error| Refusal::temporary("make its channel", &error))?;
        let number = offer.parts.give(end);
        offer.parts.endpoints.put(channel);
        offer.parts.fixed_variables.push(("SUPERVISOR_CHANNEL_FD", number.to_string()));
        Ok(())
    }

    fn state_field(&self) -> Option<&'static str> {
        Some(FIELD)
    }

    fn restore(&self, state: Value, claims: &mut Claims) -> Option<Box<dyn Endpoint>> {
        let held: Held = serde_json::from_value(state).ok()?;
        Some(Box::new(BusChannel::from_fd(claims.claim(held).ok()?)))
    }
}

impl Endpoint for BusChannel {
    fn contract(&self) -> Contract {
        Contract::Native
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }

    fn state(&self) -> serde_json::Result<(&'static str, Value)> {
        Ok((FIELD, serde_json::to_value(Held::of(self.fd()))?))
    }
}
