//! What the program has registered with this client: handlers of events, requests, actions,
//! descriptors and shared values.

mod configured;
mod descriptors;
mod event;
mod event_queue;
mod handlers;
mod request;
mod request_queue;

use std::sync::Arc;

pub use descriptors::Given;
pub use event::{Event, Outcome};
pub use handlers::HandlerId;
pub use request::Request;
pub(crate) use request::{Reply, Sender};
pub(crate) use request_queue::RequestQueue;

pub(crate) use configured::Configure;
use configured::Configured;
use descriptors::Descriptors;
use event_queue::EventQueue;
use handlers::Handlers;
use request_queue::RequestQueues;

/// See the module.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) handlers: Arc<Handlers>,
    /// The events that wait for the handlers.
    pub(crate) events: Arc<EventQueue>,
    /// The queue of each served topic.
    pub(crate) topics: RequestQueues,
    /// The queue of each action.
    pub(crate) actions: RequestQueues,
    pub(crate) descriptors: Descriptors,
    pub(crate) configured: Configured,
}
