//! Values of an ecosystem file: times, lists of words, values that switch an option off.

use crate::raw::Findings;
use crate::tree::{Integer, Value, Written};

/// Whether a value is the same as to leave the option out.
pub(super) fn is_off(value: &Written) -> bool {
    match &value.value {
        Value::Null | Value::Boolean(false) => true,
        Value::Text(text) => text.text.is_empty() || text.text == "0",
        Value::Integer(number) => number.decimal() == "0",
        Value::List(items) => items.is_empty(),
        Value::Table(table) => table.entries.is_empty(),
        Value::Boolean(true) | Value::Float(_) | Value::Date(_) => false,
    }
}

/// A time in milliseconds: a number, its digits, or digits with `s`, `m` or `h`.
pub(super) fn milliseconds(findings: &mut Findings, key: &str, value: &Written) -> Option<u64> {
    let text = findings.text_or_integer(key, value)?;
    let (digits, factor) = match text.trim().char_indices().last() {
        Some((at, 's')) if !text.ends_with("ms") => (&text[..at], 1000),
        Some((at, 'm')) => (&text[..at], 60_000),
        Some((at, 'h')) => (&text[..at], 3_600_000),
        _ => (text.trim().trim_end_matches("ms"), 1),
    };
    let number = digits.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    findings.keep(key, value, number.ok_or("expected milliseconds, or a time such as \"5s\""))
}

/// A string that is split as a shell does it, or an array of strings and numbers.
pub(super) fn words(findings: &mut Findings, key: &str, value: &Written) -> Vec<String> {
    match &value.value {
        Value::Text(line) => {
            let split = shlex::split(&line.text);
            let split = split.ok_or("a quote or a backslash has no partner");
            findings.keep(key, value, split).unwrap_or_default()
        }
        _ => findings.items(key, value).into_iter().map(|(_, word)| word).collect(),
    }
}

pub(super) fn number(number: u64) -> Value {
    Value::Integer(Integer { digits: number.to_string(), radix: 10 })
}

/// A time as our files have it.
pub(super) fn duration(milliseconds: u64) -> Value {
    Value::text(format!("{milliseconds}ms"))
}
