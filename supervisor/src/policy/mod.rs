//! What the runtime has to decide, as pure machines beside the core: facts or events in, decisions
//! out. No machine looks at a clock, a descriptor or a file; the runtime gathers the facts and
//! carries the decisions out.
//!
//! - `engine`: which engine carries the connections of an address, and why;
//! - `intercept`: what an intercepted `bind` or `listen` may do;
//! - `leftovers`: when the rest of a process group is killed, and when its worker is reaped;
//! - `throttle`: which worker is handed another connection, and when accepting is tried again.

#![deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]

pub(crate) mod engine;
pub(crate) mod intercept;
pub(crate) mod leftovers;
pub(crate) mod throttle;
