//! Values as they are written: each reader takes what it expects, or notes what it found instead.
//!
//! Nothing stops at the first problem; [`Findings`] gathers them all with their places.

use std::fmt::Display;
use std::ops::Range;
use std::time::Duration;

use serde_json::{Number, Value};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::units;

/// A value with its place in the file.
pub(crate) type Written<'i> = Spanned<DeValue<'i>>;

/// Everything that is wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) list: Vec<(Range<usize>, String)>,
}

/// The entries of a table in the order of the file.
pub(crate) fn in_order<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(&'t str, Range<usize>, &'t Written<'i>)> {
    let mut entries: Vec<_> =
        table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value)).collect();
    entries.sort_by_key(|(_, span, _)| span.start);
    entries
}

impl Findings {
    pub(crate) fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.list.push((span, message.into()));
    }

    /// Keeps a value, or notes why it was refused: `KEY "VALUE": REASON`.
    pub(crate) fn keep<T, E: Display>(
        &mut self,
        key: &str,
        value: &Written<'_>,
        result: Result<T, E>,
    ) -> Option<T> {
        result
            .map_err(|error| self.add(value.span(), format!("{key} {}: {error}", shown(value))))
            .ok()
    }

    fn expected(&mut self, key: &str, value: &Written<'_>, expected: &str) {
        let found = kind(value.get_ref());
        self.add(value.span(), format!("{key} must be {expected}, not {found}"));
    }

    pub(crate) fn text(&mut self, key: &str, value: &Written<'_>) -> Option<String> {
        let text = value.get_ref().as_str().map(str::to_owned);
        if text.is_none() {
            self.expected(key, value, "a string");
        }
        text
    }

    /// A string, or an integer taken as one.
    pub(crate) fn text_or_integer(&mut self, key: &str, value: &Written<'_>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            DeValue::Integer(number) => Some(decimal(number)),
            _ => {
                self.expected(key, value, "a string or an integer");
                None
            }
        }
    }

    /// A string, or a number or a boolean taken as one.
    pub(crate) fn scalar(&mut self, key: &str, value: &Written<'_>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            DeValue::Integer(number) => Some(decimal(number)),
            DeValue::Float(number) => Some(number.to_string()),
            DeValue::Boolean(flag) => Some(flag.to_string()),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                self.expected(key, value, "a string, a number or a boolean");
                None
            }
        }
    }

    /// The strings of an array.
    pub(crate) fn texts(&mut self, key: &str, value: &Written<'_>) -> Option<Vec<String>> {
        let Some(items) = value.get_ref().as_array() else {
            self.expected(key, value, "an array of strings");
            return None;
        };
        let item_name = format!("each item of {key}");
        let texts: Vec<_> = items.iter().filter_map(|item| self.text(&item_name, item)).collect();
        (texts.len() == items.len()).then_some(texts)
    }

    pub(crate) fn table<'t, 'i>(
        &mut self,
        key: &str,
        value: &'t Written<'i>,
    ) -> Option<&'t DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.expected(key, value, "a table");
        }
        table
    }

    pub(crate) fn flag(&mut self, key: &str, value: &Written<'_>, into: &mut bool) {
        match value.get_ref().as_bool() {
            Some(flag) => *into = flag,
            None => self.expected(key, value, "true or false"),
        }
    }

    /// An integer from `least` to 65535.
    pub(crate) fn whole(&mut self, key: &str, value: &Written<'_>, least: u16, into: &mut u16) {
        let expected = format!("an integer from {least} to 65535");
        let DeValue::Integer(number) = value.get_ref() else {
            return self.expected(key, value, &expected);
        };
        let number = decimal(number);
        match number.parse().ok().filter(|number| *number >= least) {
            Some(number) => *into = number,
            None => self.add(value.span(), format!("{key} must be {expected}, not {number}")),
        }
    }

    pub(crate) fn duration(&mut self, key: &str, value: &Written<'_>, into: &mut Duration) {
        let written = match value.get_ref() {
            DeValue::String(text) => text.clone().into_owned(),
            DeValue::Integer(number) => decimal(number),
            _ => return self.expected(key, value, "a string such as \"10s\""),
        };
        if let Some(duration) = self.keep(key, value, units::duration(&written)) {
            *into = duration;
        }
    }

    pub(crate) fn choice<T: Copy>(
        &mut self,
        key: &str,
        value: &Written<'_>,
        choices: &[(&str, T)],
        into: &mut T,
    ) {
        let Some(text) = self.text(key, value) else { return };
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, choice)) => *into = *choice,
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
                let words = words.join(", ");
                self.add(value.span(), format!("{key} cannot be {text:?}: choose one of {words}"));
            }
        }
    }
}

/// A value in a message; long ones are cut.
fn shown(value: &Written<'_>) -> String {
    match value.get_ref() {
        DeValue::String(text) if text.chars().count() > 80 => {
            format!("{:?}", text.chars().take(77).chain("...".chars()).collect::<String>())
        }
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => decimal(number),
        other => kind(other).to_owned(),
    }
}

/// A value as JSON; a date becomes a string.
pub(crate) fn as_json(value: &Written<'_>) -> Result<Value, String> {
    Ok(match value.get_ref() {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            let text = decimal(number);
            let small = text.parse::<i64>().map(Value::from);
            small
                .or_else(|_| text.parse::<u64>().map(Value::from))
                .map_err(|_| format!("the integer {text} is too large: write it as a string"))?
        }
        DeValue::Float(number) => {
            let text = number.to_string();
            let number = text.replace('_', "").parse().ok().and_then(Number::from_f64);
            number.map(Value::Number).ok_or_else(|| format!("{text} is no number in JSON"))?
        }
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(date) => Value::from(date.to_string()),
        DeValue::Array(items) => items.iter().map(as_json).collect::<Result<Value, _>>()?,
        DeValue::Table(table) => {
            let entries = table.iter();
            let entries = entries
                .map(|(key, value)| Ok::<_, String>((key.get_ref().to_string(), as_json(value)?)));
            Value::Object(entries.collect::<Result<_, _>>()?)
        }
    })
}

/// An integer in decimal; one too large for that stays as it is written.
pub(crate) fn decimal(number: &DeInteger<'_>) -> String {
    i128::from_str_radix(number.as_str(), number.radix())
        .map_or_else(|_| number.to_string(), |number| number.to_string())
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
