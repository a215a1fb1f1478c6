//! The values that workers share, as JSON, and in them the table `limits`, which the clients of
//! the bus obey by themselves.
//!
//! Refuses values that are too long, limits that do not exist, and numbers without a meaning. A
//! limit of 0 is left out. A rate becomes a number of requests in a second, whatever its unit was.

use serde_json::{Map, Number, Value as Json, json};

use super::nearest::nearest;
use crate::raw::{Findings, Written, as_json, in_order};
use crate::tree::{Table, Value};

/// The longest `shared` values, in bytes of JSON. A message to a worker may not be much longer.
const MOST_SHARED: usize = 512 * 1024;
const TOO_MUCH: &str = "is more than 512 KiB as JSON: give the workers a file to read instead";

/// The table's name.
const LIMITS: &str = "limits";

/// One key of `shared.limits`.
#[derive(Debug)]
pub struct LimitKey {
    /// What it is called in a file.
    pub name: &'static str,
    /// Its type, for the documentation.
    pub type_name: &'static str,
    /// What it counts.
    pub unit: &'static str,
    /// What it means, in Markdown.
    pub doc: &'static str,
    /// What other tools call it.
    elsewhere: &'static [&'static str],
    /// The JSON Schema of what a file may hold.
    pub schema: fn() -> Json,
    read: fn(&Written) -> Result<Number, String>,
}

/// Every key of `shared.limits`. 0 is no limit.
pub static LIMIT_KEYS: [LimitKey; 3] = [
    LimitKey {
        name: "connections",
        type_name: "integer",
        unit: "connections",
        doc: "How many open connections one worker may have at a time. `0`: no limit",
        elsewhere: &["max_connections"],
        schema: || json!({ "type": "integer", "minimum": 0, "maximum": MOST }),
        read: |value| whole(value, 0).map(Number::from),
    },
    LimitKey {
        name: "rate",
        type_name: "number or string",
        unit: "requests in a second",
        doc: "How many requests a second one worker serves: `200`, `\"200/s\"`, `\"600/m\"` or \
              `\"50/h\"`. `0`: no limit",
        elsewhere: &["requests", "rps", "rate_limit", "max_rate"],
        schema: || json!({ "type": ["number", "string"], "minimum": 0, "maximum": MOST }),
        read: rate,
    },
    LimitKey {
        name: "burst",
        type_name: "integer",
        unit: "requests",
        doc: "How many requests one worker serves at once after a pause. Left out: the requests of \
              one second",
        elsewhere: &["capacity"],
        schema: || json!({ "type": "integer", "minimum": 1, "maximum": MOST }),
        read: |value| whole(value, 1).map(Number::from),
    },
];

/// The largest limit of any kind.
const MOST: u64 = 1_000_000_000;
/// The lowest rate: about one request in three months.
const LEAST_RATE: f64 = 1e-7;
const RATE: &str = "expected requests in a second such as 200, or \"200/s\", \"600/m\" or \"50/h\"";

/// Reads a table of any values, and gives it as JSON text.
pub(crate) fn read(key: &str, value: &Written, findings: &mut Findings) -> Option<String> {
    let table = findings.table(key, value)?;
    let mut values = findings.keep(key, value, as_json(value))?;
    if let (Some(limits), Some(values)) = (table.get(LIMITS), values.as_object_mut()) {
        let key = format!("{key}.{LIMITS}");
        let limits = self::limits(&key, findings.table(&key, limits)?, findings);
        values.insert(LIMITS.to_owned(), Json::Object(limits));
    }
    let text = values.to_string();
    let fits = if text.len() <= MOST_SHARED { Ok(text) } else { Err(TOO_MUCH) };
    findings.keep(key, value, fits)
}

fn limits(key: &str, table: &Table, findings: &mut Findings) -> Map<String, Json> {
    let mut limits = Map::new();
    for (limit, span, value) in in_order(table) {
        let key = format!("{key}.{limit}");
        let Some(known) = LIMIT_KEYS.iter().find(|known| known.name == limit) else {
            findings.add(span, unknown(limit));
            continue;
        };
        let found = findings.keep(&key, value, (known.read)(value));
        limits.extend(found.map(|number| (limit.to_owned(), Json::Number(number))));
    }
    limits.retain(|_, value| value.as_f64() != Some(0.0));
    if let Some(burst) = table.get("burst").filter(|_| table.get("rate").is_none()) {
        let message = "burst has no meaning without \"rate\": how many requests a second?";
        findings.add(burst.span(), message);
    }
    if !limits.contains_key("rate") {
        limits.remove("burst");
    }
    limits
}

fn whole(value: &Written, least: u64) -> Result<u64, String> {
    let number = match &value.value {
        Value::Integer(number) => number.decimal().parse().ok(),
        _ => None,
    };
    let number = number.filter(|number| (least..=MOST).contains(number));
    number.ok_or_else(|| format!("expected an integer from {least} to {MOST}"))
}

/// Requests in a second.
fn rate(value: &Written) -> Result<Number, String> {
    let found = match &value.value {
        Value::Integer(number) => number.decimal().parse().ok(),
        Value::Float(number) => number.replace('_', "").parse().ok(),
        Value::Text(text) => each_second(&text.text),
        _ => None,
    };
    let found: f64 = found.ok_or(RATE)?;
    if found == 0.0 {
        return Ok(Number::from(0));
    }
    #[expect(clippy::cast_precision_loss, reason = "a billion is exact")]
    let most = MOST as f64;
    if !(LEAST_RATE..=most).contains(&found) {
        return Err(RATE.to_owned());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole")]
    let whole = (found.fract() == 0.0).then(|| Number::from(found as u64));
    whole.or_else(|| Number::from_f64(found)).ok_or_else(|| RATE.to_owned())
}

/// `200/s`, `200 / min`.
fn each_second(text: &str) -> Option<f64> {
    let (count, unit) = text.split_once('/').unwrap_or((text, "s"));
    let seconds = match unit.trim() {
        "s" | "sec" | "second" => 1.0,
        "m" | "min" | "minute" => 60.0,
        "h" | "hour" => 3600.0,
        _ => return None,
    };
    let count = count.trim();
    let plain = count.len() <= 20 && count.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    count.parse::<f64>().ok().filter(|_| plain).map(|count| count / seconds)
}

fn unknown(limit: &str) -> String {
    let known = LIMIT_KEYS.iter().map(|known| (known.name, known.elsewhere));
    match nearest(limit, known.clone()) {
        Some(ours) => format!("unknown limit {limit:?}: did you mean {ours:?}?"),
        None => {
            let names: Vec<&str> = known.map(|(name, _)| name).collect();
            format!("unknown limit {limit:?}: there are {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::cpus::{CpuLimit, Cpus};

    const CPUS: Cpus = Cpus { count: 4, limit: CpuLimit::Machine };

    fn read(limits: &str) -> Result<String, String> {
        let text = format!("command = \"serve\"\n[shared.limits]\n{limits}\n");
        let specs = crate::parse(&text, Path::new("/srv/f.toml"), &CPUS);
        let shared = specs.map(|mut specs| specs.remove(0).shared.unwrap_or_default());
        shared.map_err(|report| report.to_string())
    }

    #[test]
    fn limits_become_numbers() {
        for (written, expected) in [
            ("connections = 100", r#"{"connections":100}"#),
            ("connections = 0\nrate = 0\nburst = 3", "{}"),
            ("rate = 200\nburst = 50", r#"{"burst":50,"rate":200}"#),
            ("rate = '200/s'", r#"{"rate":200}"#),
            ("rate = '30 / min'", r#"{"rate":0.5}"#),
            ("rate = '1.5'", r#"{"rate":1.5}"#),
            ("rate = 1_000.5", r#"{"rate":1000.5}"#),
            ("", "{}"),
        ] {
            let shared = format!(r#"{{"limits":{expected}}}"#);
            assert_eq!(read(written).unwrap_or_else(|report| panic!("{report}")), shared);
        }
    }

    #[test]
    fn refusals_say_where() {
        for (written, expected) in [
            ("conections = 1", "3:1: unknown limit \"conections\": did you mean \"connections\"?"),
            ("max-connections = 1", "3:1: unknown limit \"max-connections\": did you mean"),
            ("colour = 1", "unknown limit \"colour\": there are connections, rate, burst"),
            ("connections = -1", "3:15: shared.limits.connections -1: expected an integer from 0"),
            ("connections = '9'", "3:15: shared.limits.connections \"9\": expected an integer"),
            ("rate = 'fast'", "3:8: shared.limits.rate \"fast\": expected requests in a second"),
            ("rate = '9/day'", "3:8: shared.limits.rate \"9/day\": expected requests"),
            ("rate = 1e12", "3:8: shared.limits.rate a float: expected requests"),
            ("rate = -1", "3:8: shared.limits.rate -1: expected requests"),
            ("rate = 1\nburst = 0", "4:9: shared.limits.burst 0: expected an integer from 1"),
            ("burst = 5", "3:9: burst has no meaning without \"rate\""),
        ] {
            let report = read(written).unwrap_err();
            assert!(report.contains(expected), "{expected} in {report}");
        }
        let text = "command = \"serve\"\nshared = { limits = 7 }\n";
        let report = crate::parse(text, Path::new("/srv/f.toml"), &CPUS).unwrap_err().to_string();
        assert!(report.contains("2:21: shared.limits must be a table"), "{report}");
    }
}
