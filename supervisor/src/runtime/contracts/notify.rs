//! The notify contract: a program says on NOTIFY_SOCKET (sd_notify(3)) that it is ready, stops or
//! still lives (see `runtime/notifications`).

use std::os::fd::BorrowedFd;

use ipc::control::Contract;
use serde_json::Value;

use super::interface::{Endpoint, Offer, Refusal, WorkerContract};
use crate::sys::held::{Claims, Held};
use crate::sys::notify::NotifySocket;

/// See the module.
#[derive(Debug)]
pub(super) struct Notify;

const FIELD: &str = "notify";

impl WorkerContract for Notify {
    fn name(&self) -> Contract {
        Contract::Notify
    }

    fn variables(&self) -> &'static [&'static str] {
        &["NOTIFY_SOCKET"]
    }

    fn offer(&self, offer: &mut Offer<'_>) -> Result<(), Refusal> {
        let socket = NotifySocket::new(&offer.spec.name, offer.worker.0)
            .map_err(|error| Refusal::temporary("make its NOTIFY_SOCKET", &error))?;
        offer.parts.variables.insert("NOTIFY_SOCKET".to_owned(), socket.address());
        offer.parts.endpoints.put(socket);
        Ok(())
    }

    fn state_field(&self) -> Option<&'static str> {
        Some(FIELD)
    }

    fn restore(&self, state: Value, claims: &mut Claims) -> Option<Box<dyn Endpoint>> {
        let (held, name): (Held, String) = serde_json::from_value(state).ok()?;
        Some(Box::new(NotifySocket::from_parts(claims.claim(held).ok()?, name)))
    }
}

impl Endpoint for NotifySocket {
    fn contract(&self) -> Contract {
        Contract::Notify
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }

    fn state(&self) -> serde_json::Result<(&'static str, Value)> {
        Ok((FIELD, serde_json::to_value((Held::of(self.fd()), self.name()))?))
    }
}
