//! TOML, read by the `toml` crate.

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::Mistake;
use crate::tree::{Entry, Integer, Table, Value, Written};

pub(super) fn parse(text: &str) -> Result<Written, Vec<Mistake>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let value = Value::Table(table(document.get_ref()));
        return Ok(Written { value, span: 0..0 });
    }
    let mistakes = errors.into_iter();
    Err(mistakes.map(|error| (error.span().unwrap_or(0..0), error.message().to_owned())).collect())
}

fn table(found: &DeTable<'_>) -> Table {
    let mut entries: Vec<Entry> = found
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            span: key.span(),
            value: written(value),
        })
        .collect();
    entries.sort_by_key(|entry| entry.span.start);
    Table { entries }
}

fn written(found: &Spanned<DeValue<'_>>) -> Written {
    let value = match found.get_ref() {
        DeValue::String(text) => Value::text(text.as_ref()),
        DeValue::Integer(number) => {
            Value::Integer(Integer { digits: number.as_str().to_owned(), radix: number.radix() })
        }
        DeValue::Float(number) => Value::Float(number.to_string()),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(written).collect()),
        DeValue::Table(entries) => Value::Table(table(entries)),
    };
    Written { value, span: found.span() }
}
