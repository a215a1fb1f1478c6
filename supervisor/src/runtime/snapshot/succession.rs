//! What a primary knows of those before it, and of the one that is to follow.

use std::time::Duration;

use super::upgrade::Upgrade;
use super::writer::Writer;
use crate::base::time::Time;
use crate::sys::clock;

/// See the module.
#[derive(Debug)]
pub(in crate::runtime) struct Succession {
    /// When the first of them began.
    pub(in crate::runtime) started: Time,
    /// The same in milliseconds since 1970, for readers of the metrics: read once, since a clock
    /// that is set must not move it.
    pub(in crate::runtime) started_unix_ms: u64,
    /// How many of them died.
    pub(in crate::runtime) deaths: u32,
    /// The state for a successor.
    pub(in crate::runtime) writer: Writer,
    /// Another build that is to follow.
    pub(in crate::runtime) upgrade: Upgrade,
    /// When it is looked next whether workers have read what a predecessor sent.
    pub(in crate::runtime) settles: Option<Time>,
    /// How long after the look before that is.
    pub(super) pause: Option<Duration>,
}

impl Succession {
    /// The first primary of an app.
    pub(in crate::runtime) fn first(now: Time) -> Self {
        Self {
            started: now,
            started_unix_ms: clock::unix_ms(),
            deaths: 0,
            writer: Writer::new(0, now),
            upgrade: Upgrade::default(),
            settles: None,
            pause: None,
        }
    }
}
