//! What commands ask of the bus (events, triggers, metrics), and the parts of the answers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bus::MetricKind;

/// A request that concerns the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "bus", rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum BusRequest {
    /// Emit data to all workers that subscribe to the topic, or send it to one slot's worker. Node
    /// workers that are not on the bus get `{topic, data}` as a message.
    Emit {
        /// The topic.
        topic: String,
        /// Any JSON.
        data: Value,
        /// Send to this slot only.
        #[serde(default)]
        slot: Option<u16>,
    },
    /// Have all workers that registered the action run it, or one slot's worker. The answer is
    /// `Reply::Answers`.
    Trigger {
        /// The action.
        action: String,
        /// Any JSON.
        #[serde(default)]
        data: Value,
        /// Ask this slot only.
        #[serde(default)]
        slot: Option<u16>,
        /// How long the workers may take, in milliseconds.
        timeout_ms: u32,
    },
    /// All measured series: `Reply::Metrics`.
    Metrics,
    /// Give the workers new shared values without replacing any. The answer comes when every worker
    /// on the bus has acknowledged them, or when one has refused or not answered.
    Share {
        /// The values as JSON text; absent means `null`.
        #[serde(default)]
        shared: Option<String>,
    },
}

/// One worker's answer to a trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct Answered {
    /// Its slot.
    pub slot: u16,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One measured series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct Metric {
    /// The name under which it was pushed.
    pub name: String,
    /// What kind of series it is.
    pub kind: MetricKind,
    /// `seconds`, `bytes`; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Name and value of each label. A series of one worker has the label `slot`.
    #[serde(default)]
    pub labels: Vec<(String, String)>,
    /// The value; for a histogram the sum of its observations.
    pub value: f64,
    /// The number of observations of a histogram.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The upper bounds of a histogram's buckets, each with the number of observations up to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<(f64, u64)>,
}

impl Metric {
    /// A series that is no histogram, without labels.
    pub fn new(name: &str, kind: MetricKind, value: f64) -> Self {
        let (name, unit, labels) = (name.to_owned(), String::new(), Vec::new());
        Self { name, kind, unit, labels, value, count: None, buckets: Vec::new() }
    }
}
