//! The limits among the shared values (`[shared.limits]`). The clients in the workers keep to
//! them. Here they are only shown to people, and keep a worker that is full from being taken for
//! hung.

use serde::Deserialize;

/// What one worker may do; an absent limit means as much as comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub(crate) struct WorkerLimits {
    /// The most open connections.
    #[serde(default)]
    pub(crate) connections: Option<u32>,
    /// The most requests in a second.
    #[serde(default)]
    rate: Option<f64>,
    /// How many requests may come at once.
    #[serde(default)]
    burst: Option<u64>,
}

#[derive(Deserialize)]
struct Values {
    #[serde(default)]
    limits: Option<WorkerLimits>,
}

impl WorkerLimits {
    /// The limits among these values. Anything else there is the workers' own affair.
    pub(crate) fn of(values: Option<&str>) -> Self {
        let values = values.and_then(|text| serde_json::from_str::<Values>(text).ok());
        values.and_then(|values| values.limits).unwrap_or_default()
    }

    /// `each worker is limited to 100 connections and 200 requests/s (burst 50)`
    pub(crate) fn note(&self) -> Option<String> {
        let connections = self.connections.map(|most| format!("{most} connections"));
        let rate = self.rate.map(|rate| {
            let burst = self.burst.map_or(String::new(), |burst| format!(" (burst {burst})"));
            format!("{rate} requests/s{burst}")
        });
        let all: Vec<String> = connections.into_iter().chain(rate).collect();
        let all = all.join(" and ");
        (!all.is_empty()).then(|| format!("each worker on the bus is limited to {all}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told() {
        for (values, expected) in [
            (r#"{"limits":{"connections":9}}"#, "9 connections"),
            (r#"{"limits":{"rate":0.5}}"#, "0.5 requests/s"),
            (
                r#"{"x":1,"limits":{"connections":9,"rate":200,"burst":5,"new":1}}"#,
                "9 connections and 200 requests/s (burst 5)",
            ),
        ] {
            let note = format!("each worker on the bus is limited to {expected}");
            assert_eq!(WorkerLimits::of(Some(values)).note(), Some(note));
        }
        for values in [None, Some("{}"), Some("null"), Some(r#"{"limits":{"rate":"x"}}"#)] {
            assert_eq!(WorkerLimits::of(values).note(), None);
        }
    }
}
