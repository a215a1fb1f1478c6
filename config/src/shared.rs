//! The values that workers share, as JSON; and in them the table `limits`, which the clients of
//! the bus obey by themselves.
//!
//! Refuses values that are too long, limits that do not exist, and numbers that mean nothing. What
//! is 0 is left out, and a rate becomes a number of requests in a second, whatever its unit was.

use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

use crate::raw::{Findings, Written, as_json, decimal, in_order};

/// The longest `shared` values, as JSON. What is sent to workers may not be much longer.
const MOST_SHARED: usize = 512 * 1024;
const TOO_MUCH: &str = "is more than 512 KiB as JSON: give the workers a file to read instead";

/// The table's name.
const LIMITS: &str = "limits";
/// Every limit.
const KEYS: [&str; 3] = ["connections", "rate", "burst"];
/// What others call them.
const ELSEWHERE: [(&str, &str); 6] = [
    ("max_connections", "connections"),
    ("requests", "rate"),
    ("rps", "rate"),
    ("rate_limit", "rate"),
    ("max_rate", "rate"),
    ("capacity", "burst"),
];
/// The largest limit of any kind.
const MOST: u64 = 1_000_000_000;
/// The lowest rate: about one request in three months.
const LEAST_RATE: f64 = 1e-7;
const RATE: &str = "expected requests in a second such as 200, or \"200/s\", \"600/m\" or \"50/h\"";

/// A table of anything, as JSON text.
pub(crate) fn read(key: &str, value: &Written<'_>, findings: &mut Findings) -> Option<String> {
    let table = findings.table(key, value)?;
    let mut values = findings.keep(key, value, as_json(value))?;
    if let (Some(limits), Some(values)) = (table.get(LIMITS), values.as_object_mut()) {
        let key = format!("{key}.{LIMITS}");
        let limits = self::limits(&key, findings.table(&key, limits)?, findings);
        values.insert(LIMITS.to_owned(), Value::Object(limits));
    }
    let text = values.to_string();
    let fits = if text.len() <= MOST_SHARED { Ok(text) } else { Err(TOO_MUCH) };
    findings.keep(key, value, fits)
}

fn limits(key: &str, table: &DeTable<'_>, findings: &mut Findings) -> Map<String, Value> {
    let mut limits = Map::new();
    for (limit, span, value) in in_order(table) {
        let key = format!("{key}.{limit}");
        let found = match limit {
            "connections" => findings.keep(&key, value, whole(value, 0)).map(Number::from),
            "burst" => findings.keep(&key, value, whole(value, 1)).map(Number::from),
            "rate" => findings.keep(&key, value, rate(value)),
            _ => {
                findings.add(span, unknown(limit));
                continue;
            }
        };
        limits.extend(found.map(|number| (limit.to_owned(), Value::Number(number))));
    }
    limits.retain(|_, value| value.as_f64() != Some(0.0));
    if let Some(burst) = table.get("burst").filter(|_| !table.contains_key("rate")) {
        let message = "burst has no meaning without \"rate\": how many requests a second?";
        findings.add(burst.span(), message);
    }
    if !limits.contains_key("rate") {
        limits.remove("burst");
    }
    limits
}

fn whole(value: &Written<'_>, least: u64) -> Result<u64, String> {
    let number = match value.get_ref() {
        DeValue::Integer(number) => decimal(number).parse().ok(),
        _ => None,
    };
    let number = number.filter(|number| (least..=MOST).contains(number));
    number.ok_or_else(|| format!("expected an integer from {least} to {MOST}"))
}

/// Requests in a second.
fn rate(value: &Written<'_>) -> Result<Number, String> {
    let found = match value.get_ref() {
        DeValue::Integer(number) => decimal(number).parse().ok(),
        DeValue::Float(number) => number.to_string().replace('_', "").parse().ok(),
        DeValue::String(text) => each_second(text),
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
    let plain: String =
        limit.chars().take(40).collect::<String>().to_ascii_lowercase().replace('-', "_");
    let elsewhere = ELSEWHERE.into_iter().find(|(theirs, _)| *theirs == plain);
    let near = || {
        let distance = |ours: &&str| strsim::damerau_levenshtein(&plain, ours);
        let near = KEYS.into_iter().filter(|ours| distance(ours) <= 1.max(ours.len() / 3));
        near.min_by_key(distance)
    };
    match elsewhere.map(|(_, ours)| ours).or_else(near) {
        Some(ours) => format!("unknown limit {limit:?}: did you mean {ours:?}?"),
        None => format!("unknown limit {limit:?}: there are {}", KEYS.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::instances::{CpuLimit, Cpus};

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
