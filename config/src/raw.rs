//! Values as a file has them: each reader takes the type that it expects, or notes what it found
//! instead.
//!
//! Nothing stops at the first problem; [`Findings`] gathers them all with their places.

use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Number, Value};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::units;
use crate::words::{self, Word};

/// A value with its place in the file.
pub(crate) type Written<'i> = Spanned<DeValue<'i>>;

/// Everything that is wrong with a file so far.
#[derive(Debug)]
pub(crate) struct Findings {
    /// The folder of the file, where its relative paths start.
    pub(crate) base: PathBuf,
    /// Each problem and the bytes of the file that it is about.
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

/// Problems that are noted; finding the place of each takes time, and nobody reads so many.
pub(crate) const MOST: usize = 1000;

impl Findings {
    /// Whether further problems are left out.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= MOST
    }

    pub(crate) fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        if !self.is_full() {
            self.list.push((span, message.into()));
        }
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

    pub(crate) fn boolean(&mut self, key: &str, value: &Written<'_>) -> Option<bool> {
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.expected(key, value, "true or false");
        }
        flag
    }

    /// An integer from 1 to 65535.
    pub(crate) fn count(&mut self, key: &str, value: &Written<'_>) -> Option<u16> {
        let expected = "an integer from 1 to 65535";
        let DeValue::Integer(number) = value.get_ref() else {
            self.expected(key, value, expected);
            return None;
        };
        let number = decimal(number);
        let count = number.parse().ok().filter(|count| *count >= 1);
        if count.is_none() {
            self.add(value.span(), format!("{key} must be {expected}, not {number}"));
        }
        count
    }

    pub(crate) fn duration(&mut self, key: &str, value: &Written<'_>) -> Option<Duration> {
        let written = match value.get_ref() {
            DeValue::String(text) => text.clone().into_owned(),
            DeValue::Integer(number) => decimal(number),
            _ => {
                self.expected(key, value, "a string such as \"10s\"");
                return None;
            }
        };
        self.keep(key, value, units::duration(&written))
    }

    /// One of the words of `T`.
    pub(crate) fn word<T: Word>(&mut self, key: &str, value: &Written<'_>) -> Option<T> {
        let text = self.text(key, value)?;
        let found = words::value(&text);
        if found.is_none() {
            let words: Vec<_> = T::WORDS.iter().map(|(word, ..)| format!("{word:?}")).collect();
            let words = words.join(", ");
            self.add(value.span(), format!("{key} cannot be {text:?}: choose one of {words}"));
        }
        found
    }

    /// A string or an array of strings, each with its place; integers are taken as strings.
    pub(crate) fn items<'t, 'i>(
        &mut self,
        key: &str,
        value: &'t Written<'i>,
    ) -> Vec<(&'t Written<'i>, String)> {
        let values: Vec<_> = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        values
            .into_iter()
            .filter_map(|item| Some((item, self.text_or_integer(key, item)?)))
            .collect()
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

/// An integer in decimal. One that is too large to convert stays as it is written.
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
