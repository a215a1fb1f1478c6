//! What commands ask of the bus, and what is answered: events, triggers, metrics.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bus::MetricKind;

/// What a command asks of the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "bus", rename_all = "kebab-case")]
pub enum BusRequest {
    /// Emit this to all workers that listen to the topic, or send it to one slot's worker. Node
    /// workers that are not on the bus get `{topic, data}` as a message.
    Emit {
        /// The topic.
        topic: String,
        /// Anything.
        data: Value,
        /// Only this slot.
        #[serde(default)]
        slot: Option<u16>,
    },
    /// Have all workers that registered an action do it, or one slot's: `Reply::Answers`.
    Trigger {
        /// The action.
        action: String,
        /// Anything.
        #[serde(default)]
        data: Value,
        /// Only this slot.
        #[serde(default)]
        slot: Option<u16>,
        /// How long the workers may take.
        timeout_ms: u32,
    },
    /// What was measured: `Reply::Metrics`.
    Metrics,
    /// Give the workers these values to share, replacing nobody. Answered when all that are on
    /// the bus have said that they apply them, or one has not.
    Share {
        /// The values as JSON text; none: `null`.
        #[serde(default)]
        shared: Option<String>,
    },
}

/// What one worker said to a trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// Its slot.
    pub slot: u16,
    /// What it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One measured series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Its name, as it was pushed.
    pub name: String,
    /// What kind of series it is.
    pub kind: MetricKind,
    /// `seconds`, `bytes`; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Name and value of each label; `slot` is one where it is of one worker.
    #[serde(default)]
    pub labels: Vec<(String, String)>,
    /// The value; of a histogram the sum.
    pub value: f64,
    /// Observations of a histogram.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// A histogram's upper bounds, each with the observations up to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<(f64, u64)>,
}
