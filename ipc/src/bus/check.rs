//! The limits of a message's parts. The primary closes the channel of a worker that exceeds one.

use super::{FromWorker, Json, MAX_DATA, MAX_LABELS, MAX_NAME, MAX_TEXT, Peer, ToWorker, json};

/// Which limit a message exceeds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A name is empty, too long or has control characters.
    #[error("a {what} must have 1 to {MAX_NAME} bytes and no control characters")]
    Name {
        /// What the name names.
        what: &'static str,
    },
    /// A text for display is too long.
    #[error("a {what} must have at most {MAX_TEXT} bytes")]
    Text {
        /// Which text.
        what: &'static str,
    },
    /// The data is too long.
    #[error("data must have at most {MAX_DATA} bytes")]
    Long,
    /// The data is not JSON.
    #[error("data must be one JSON value without line breaks")]
    NotJson,
    /// A metric has too many labels.
    #[error("a metric must have at most {MAX_LABELS} labels")]
    Labels,
    /// A metric's value is out of range.
    #[error("a metric's value must be a finite number, and a counter's not negative")]
    Value,
}

/// A message that can check its own limits.
pub trait Check {
    /// Fails if a part of the message exceeds its limit.
    fn check(&self) -> Result<(), Unfit>;
}

fn name(what: &'static str, text: &str) -> Result<(), Unfit> {
    // Nearly all names are ASCII, and this runs for every message.
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let sound = plain || !text.chars().any(char::is_control);
    let fits = !text.is_empty() && text.len() <= MAX_NAME && sound;
    if fits { Ok(()) } else { Err(Unfit::Name { what }) }
}

/// Checks a name that may be empty.
fn optional(what: &'static str, text: &str) -> Result<(), Unfit> {
    if text.is_empty() { Ok(()) } else { name(what, text) }
}

fn text(what: &'static str, text: &str) -> Result<(), Unfit> {
    if text.len() <= MAX_TEXT { Ok(()) } else { Err(Unfit::Text { what }) }
}

fn data(data: &Json) -> Result<(), Unfit> {
    short(data)?;
    if json::is_sound(data.text()) { Ok(()) } else { Err(Unfit::NotJson) }
}

pub(super) fn peer(peer: &Peer) -> Result<(), Unfit> {
    optional("pool", &peer.pool)
}

/// Whether this topic and data may be sent. The caller knows that `data` is JSON.
pub fn event(topic: &str, data: &str) -> Result<(), Unfit> {
    name("topic", topic)?;
    if data.len() > MAX_DATA { Err(Unfit::Long) } else { Ok(()) }
}

/// Checks data that is known to be JSON.
fn short(data: &Json) -> Result<(), Unfit> {
    if data.text().len() > MAX_DATA { Err(Unfit::Long) } else { Ok(()) }
}

impl Check for FromWorker {
    fn check(&self) -> Result<(), Unfit> {
        self.check_but(data)
    }
}

impl FromWorker {
    /// As [`Check::check`], for a message that was built here: its data is known to be JSON.
    pub fn fits(&self) -> Result<(), Unfit> {
        self.check_but(short)
    }

    fn check_but(&self, data: fn(&Json) -> Result<(), Unfit>) -> Result<(), Unfit> {
        match self {
            Self::Hello { client, pool, .. } => {
                text("client's name", client)?;
                optional("pool", pool)
            }
            Self::Ready {} | Self::Draining {} | Self::Ping { .. } | Self::Pong { .. } => Ok(()),
            Self::Emit { topic, data: value }
            | Self::Send { topic, data: value, .. }
            | Self::Give { topic, data: value, .. } => {
                name("topic", topic)?;
                data(value)
            }
            Self::Subscribe { topic, .. }
            | Self::Unsubscribe { topic }
            | Self::Serve { topic, .. }
            | Self::Unserve { topic } => name("topic", topic),
            Self::Call { pool, topic, data: value, .. } => {
                optional("pool", pool)?;
                name("topic", topic)?;
                data(value)
            }
            Self::Answer { data: value, .. } => data(value),
            Self::Fail { message, .. } => text("failure's message", message),
            Self::Metric { name: of, kind, value, unit, labels } => {
                name("metric's name", of)?;
                optional("unit", unit)?;
                if labels.len() > MAX_LABELS {
                    return Err(Unfit::Labels);
                }
                for (label, value) in labels {
                    name("label's name", label)?;
                    optional("label's value", value)?;
                }
                let counts = *kind != super::MetricKind::Counter || *value >= 0.0;
                if value.is_finite() && counts { Ok(()) } else { Err(Unfit::Value) }
            }
            Self::Applied { error, .. } => text("reason", error.as_deref().unwrap_or_default()),
            Self::Action { name: action } => name("action's name", action),
        }
    }
}

impl Check for ToWorker {
    fn check(&self) -> Result<(), Unfit> {
        match self {
            Self::Welcome { you, app, .. } => {
                peer(you)?;
                text("app's name", app)
            }
            Self::Refused { reason } => text("reason", reason),
            Self::Event { topic, data: value, from }
            | Self::Given { topic, data: value, from }
            | Self::Call { topic, data: value, from, .. } => {
                peer(from)?;
                name("topic", topic)?;
                data(value)
            }
            Self::Answer { data: value, .. } | Self::Config { data: value, .. } => data(value),
            Self::Error { message, .. } => text("message", message),
            Self::Trigger { action, data: value, .. } => {
                name("action's name", action)?;
                data(value)
            }
            Self::Drain {}
            | Self::Dropped { .. }
            | Self::Ping { .. }
            | Self::Pong { .. }
            | Self::Resumed {} => Ok(()),
        }
    }
}
