//! The bounds of a message's parts. Whoever goes beyond them has its channel closed.

use super::{FromWorker, Json, MAX_DATA, MAX_LABELS, MAX_NAME, MAX_TEXT, Peer, ToWorker, json};

/// Which bound was passed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A name.
    #[error("a {what} must have 1 to {MAX_NAME} bytes and no control characters")]
    Name {
        /// Of what.
        what: &'static str,
    },
    /// A text for people.
    #[error("a {what} must have at most {MAX_TEXT} bytes")]
    Text {
        /// Which.
        what: &'static str,
    },
    /// The data is too long.
    #[error("data must have at most {MAX_DATA} bytes")]
    Long,
    /// The data is not JSON.
    #[error("data must be one JSON value without line breaks")]
    NotJson,
    /// The labels of a metric.
    #[error("a metric must have at most {MAX_LABELS} labels")]
    Labels,
    /// A metric's value.
    #[error("a metric's value must be a finite number, and a counter's not negative")]
    Value,
}

/// A message that knows its bounds.
pub trait Check {
    /// Whether it keeps them.
    fn check(&self) -> Result<(), Unfit>;
}

fn name(what: &'static str, text: &str) -> Result<(), Unfit> {
    // Nearly all names are plain, and this is asked of each message.
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let sound = plain || !text.chars().any(char::is_control);
    let fits = !text.is_empty() && text.len() <= MAX_NAME && sound;
    if fits { Ok(()) } else { Err(Unfit::Name { what }) }
}

/// A name that may be left out.
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

/// Whether this topic and this data, which is known to be JSON, may be sent.
pub fn event(topic: &str, data: &str) -> Result<(), Unfit> {
    name("topic", topic)?;
    if data.len() > MAX_DATA { Err(Unfit::Long) } else { Ok(()) }
}

/// Of data that is known to be JSON.
fn short(data: &Json) -> Result<(), Unfit> {
    if data.text().len() > MAX_DATA { Err(Unfit::Long) } else { Ok(()) }
}

impl Check for FromWorker {
    fn check(&self) -> Result<(), Unfit> {
        self.check_but(data)
    }
}

impl FromWorker {
    /// As [`Check::check`], of a message that was made here: its data is JSON.
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
