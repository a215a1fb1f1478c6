//! Values as a file has them: each reader takes the type that it expects, or notes what it found
//! instead.
//!
//! Nothing stops at the first problem; [`Findings`] gathers them all with their places.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::tree::{Table, Value};
use crate::units;
use crate::variables::{Variables, without_values};
use crate::words::{self, Word};
use serde_json::{Number, Value as Json};

pub(crate) use crate::tree::{Written, in_order};

/// Everything that is wrong with a file so far.
#[derive(Debug)]
pub(crate) struct Findings {
    /// The folder of the file, where its relative paths start.
    pub(crate) base: PathBuf,
    /// Each problem and the bytes of the file that it is about.
    pub(crate) list: Vec<(Range<usize>, String)>,
    /// What `${NAME}` stands for.
    pub(crate) variables: Rc<Variables>,
    /// The values of variables that were used, and `${NAME}` for each: messages show that.
    pub(crate) used: BTreeMap<String, String>,
    /// The variables that the file names, and their values, if they are set.
    pub(crate) named: BTreeMap<String, Option<String>>,
}

/// The most problems of a file that are reported. Finding the place of each takes time.
pub(crate) const MOST: usize = 100;

impl Findings {
    /// Whether further problems are left out.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= MOST
    }

    pub(crate) fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        if !self.is_full() {
            self.list.push((span, without_values(message.into(), &self.used)));
        }
    }

    /// The text with its variables, if it has any. `place` tells where a part of it is.
    pub(crate) fn expanded(
        &mut self,
        text: &str,
        place: &impl Fn(&str) -> Range<usize>,
    ) -> Option<String> {
        match self.variables.expand(text) {
            Ok(expanded) => {
                let expanded = expanded?;
                self.named.extend(expanded.named);
                let used = expanded.used.into_iter().filter(|(_, value)| !value.is_empty());
                self.used.extend(used.map(|(name, value)| (value, name)));
                Some(expanded.text)
            }
            Err(refusal) => {
                self.add(place(&refusal.part), refusal.message);
                None
            }
        }
    }

    /// A path: `~` is the home folder, and a relative path starts at the folder of the file.
    pub(crate) fn path(&mut self, key: &str, value: &Written) -> Option<PathBuf> {
        let text = self.text(key, value)?;
        let Some(rest) =
            text.strip_prefix('~').filter(|rest| matches!(rest.bytes().next(), None | Some(b'/')))
        else {
            return Some(self.base.join(text));
        };
        let home = self.variables.get("HOME").map(PathBuf::from);
        let home = home.ok_or("\"~\" stands for the variable \"HOME\", which is not set");
        let home = self.keep(key, value, home)?;
        Some(home.join(rest.trim_start_matches('/')))
    }

    /// Keeps a value, or notes why it was refused: `KEY "VALUE": REASON`.
    pub(crate) fn keep<T, E: Display>(
        &mut self,
        key: &str,
        value: &Written,
        result: Result<T, E>,
    ) -> Option<T> {
        result
            .map_err(|error| self.add(value.span(), format!("{key} {}: {error}", shown(value))))
            .ok()
    }

    fn expected(&mut self, key: &str, value: &Written, expected: &str) {
        let found = value.value.kind();
        self.add(value.span(), format!("{key} must be {expected}, not {found}"));
    }

    pub(crate) fn text(&mut self, key: &str, value: &Written) -> Option<String> {
        let text = value.as_str().map(str::to_owned);
        if text.is_none() {
            self.expected(key, value, "a string");
        }
        text
    }

    /// A string, or an integer taken as one.
    pub(crate) fn text_or_integer(&mut self, key: &str, value: &Written) -> Option<String> {
        match &value.value {
            Value::Text(text) => Some(text.text.clone()),
            Value::Integer(number) => Some(number.decimal()),
            _ => {
                self.expected(key, value, "a string or an integer");
                None
            }
        }
    }

    /// A string, or a number or a boolean taken as one.
    pub(crate) fn scalar(&mut self, key: &str, value: &Written) -> Option<String> {
        match &value.value {
            Value::Text(text) => Some(text.text.clone()),
            Value::Integer(number) => Some(number.decimal()),
            Value::Float(number) => Some(number.clone()),
            Value::Boolean(flag) => Some(flag.to_string()),
            Value::Date(_) | Value::Null | Value::List(_) | Value::Table(_) => {
                self.expected(key, value, "a string, a number or a boolean");
                None
            }
        }
    }

    /// The strings of an array.
    pub(crate) fn texts(&mut self, key: &str, value: &Written) -> Option<Vec<String>> {
        let Some(items) = value.as_list() else {
            self.expected(key, value, "an array of strings");
            return None;
        };
        let item_name = format!("each item of {key}");
        let texts: Vec<_> = items.iter().filter_map(|item| self.text(&item_name, item)).collect();
        (texts.len() == items.len()).then_some(texts)
    }

    pub(crate) fn table<'t>(&mut self, key: &str, value: &'t Written) -> Option<&'t Table> {
        let table = value.as_table();
        if table.is_none() {
            self.expected(key, value, "a table");
        }
        table
    }

    pub(crate) fn boolean(&mut self, key: &str, value: &Written) -> Option<bool> {
        // What a variable gives is a string.
        let flag = value.as_bool().or_else(|| given_by_variable(value)?.parse().ok());
        if flag.is_none() {
            self.expected(key, value, "true or false");
        }
        flag
    }

    /// An integer from 1 to 65535.
    pub(crate) fn count(&mut self, key: &str, value: &Written) -> Option<u16> {
        let expected = "an integer from 1 to 65535";
        let number = match &value.value {
            Value::Integer(number) => number.decimal(),
            _ => match given_by_variable(value) {
                Some(text) => text.to_owned(),
                None => {
                    self.expected(key, value, expected);
                    return None;
                }
            },
        };
        let count = number.parse().ok().filter(|count| *count >= 1);
        if count.is_none() {
            self.add(value.span(), format!("{key} must be {expected}, not {number}"));
        }
        count
    }

    pub(crate) fn duration(&mut self, key: &str, value: &Written) -> Option<Duration> {
        let written = match &value.value {
            Value::Text(text) => text.text.clone(),
            Value::Integer(number) => number.decimal(),
            _ => {
                self.expected(key, value, "a string such as \"10s\"");
                return None;
            }
        };
        self.keep(key, value, units::duration(&written))
    }

    /// One of the words of `T`.
    pub(crate) fn word<T: Word>(&mut self, key: &str, value: &Written) -> Option<T> {
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
    pub(crate) fn items<'t>(
        &mut self,
        key: &str,
        value: &'t Written,
    ) -> Vec<(&'t Written, String)> {
        let values: Vec<_> = match &value.value {
            Value::List(items) => items.iter().collect(),
            _ => vec![value],
        };
        values
            .into_iter()
            .filter_map(|item| Some((item, self.text_or_integer(key, item)?)))
            .collect()
    }
}

/// A string with variables in it.
fn given_by_variable(value: &Written) -> Option<&str> {
    match &value.value {
        Value::Text(text) if text.written.is_some() => Some(&text.text),
        _ => None,
    }
}

/// A value in a message; long ones are cut.
fn shown(value: &Written) -> String {
    match &value.value {
        Value::Text(text) => {
            let text = text.written.as_ref().unwrap_or(&text.text);
            match text.chars().count() > 80 {
                true => {
                    format!("{:?}", text.chars().take(77).chain("...".chars()).collect::<String>())
                }
                false => format!("{text:?}"),
            }
        }
        Value::Integer(number) => number.decimal(),
        other => other.kind().to_owned(),
    }
}

/// A value as JSON; a date becomes a string.
pub(crate) fn as_json(value: &Written) -> Result<Json, String> {
    Ok(match &value.value {
        Value::Text(text) => Json::from(text.text.as_str()),
        Value::Integer(number) => {
            let text = number.decimal();
            let small = text.parse::<i64>().map(Json::from);
            small
                .or_else(|_| text.parse::<u64>().map(Json::from))
                .map_err(|_| format!("the integer {text} is too large: write it as a string"))?
        }
        Value::Float(text) => {
            let number = text.replace('_', "").parse().ok().and_then(Number::from_f64);
            number.map(Json::Number).ok_or_else(|| format!("{text} is no number in JSON"))?
        }
        Value::Boolean(flag) => Json::from(*flag),
        Value::Date(date) => Json::from(date.as_str()),
        Value::Null => Json::Null,
        Value::List(items) => items.iter().map(as_json).collect::<Result<Json, _>>()?,
        Value::Table(table) => {
            let entries = in_order(table);
            let entries =
                entries.map(|(key, _, value)| Ok::<_, String>((key.to_owned(), as_json(value)?)));
            Json::Object(entries.collect::<Result<_, _>>()?)
        }
    })
}
