//! What a scalar of YAML stands for, by the core schema of YAML 1.2.

use crate::tree::{Integer, Value};

/// The value of a scalar. `plain`: it has no quotes. `tag`: the name of its tag, if it has one.
///
/// # Errors
///
/// Why it cannot have this tag.
pub(super) fn value(text: &str, plain: bool, tag: Option<&str>) -> Result<Value, String> {
    let resolved = || if plain || tag.is_some() { resolve(text) } else { Value::text(text) };
    let found = match tag {
        Some("str") => Value::text(text),
        _ => resolved(),
    };
    let fits = match tag {
        None | Some("str") => true,
        Some("int") => matches!(found, Value::Integer(_)),
        Some("float") => matches!(found, Value::Float(_) | Value::Integer(_)),
        Some("bool") => matches!(found, Value::Boolean(_)),
        Some("null") => matches!(found, Value::Null),
        Some(_) => false,
    };
    match tag {
        Some(tag) if !fits => Err(format!("the tag !!{tag} does not fit this value: remove it")),
        _ => Ok(found),
    }
}

/// The value of a scalar without quotes.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Boolean(true),
        "false" | "False" | "FALSE" => return Value::Boolean(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "-.inf" | ".nan" | ".NaN" | ".NAN" => {
            return Value::Float(text.to_owned());
        }
        _ => {}
    }
    for (mark, radix) in [("0o", 8), ("0x", 16)] {
        let digits = text.strip_prefix(mark).filter(|digits| !digits.is_empty());
        if let Some(digits) = digits.filter(|digits| digits.chars().all(|c| c.is_digit(radix))) {
            return Value::Integer(Integer { digits: digits.to_owned(), radix });
        }
    }
    let bare = text.strip_prefix(['-', '+']).unwrap_or(text);
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if bare.starts_with(|c: char| c.is_ascii_digit()) && bare.bytes().all(|c| c.is_ascii_digit()) {
        return Value::Integer(Integer { digits: unsigned.to_owned(), radix: 10 });
    }
    let numeric = bare.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && bare.contains(|c: char| c.is_ascii_digit());
    if numeric && bare.parse::<f64>().is_ok() {
        return Value::Float(unsigned.to_owned());
    }
    Value::text(text)
}

/// A scalar as a key.
pub(super) fn key(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.text.clone()),
        Value::Integer(number) => Some(number.decimal()),
        Value::Float(number) => Some(number.clone()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Date(_) | Value::Null | Value::List(_) | Value::Table(_) => None,
    }
}
