//! The types of values that keys of several sections have. A type that only one section needs is
//! beside its rows.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::kind::{Choice, Form};
use crate::privileges::within;
use crate::raw::{Findings, Written};
use crate::units;
use crate::words::{self, Word};

/// A form of which only the type and how it is read are special.
pub(super) const fn form<T: 'static>(
    type_name: &'static str,
    schema: fn() -> Value,
    read: fn(&mut Findings, &str, &Written) -> Option<T>,
    parse: fn(&str) -> Result<T, String>,
    shown: fn(&T) -> Option<Value>,
) -> Form<T> {
    Form { type_name, schema, choices: Vec::new, read, parse, shown, repeat: set, over: set }
}

fn set<T>(value: &mut T, to: T) {
    *value = to;
}

/// Adds entries or items to those that are there.
pub(super) fn extend<T: IntoIterator + Extend<T::Item>>(value: &mut T, more: T) {
    value.extend(more);
}

pub(super) fn told<T>(result: Result<T, impl Display>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// The items of an array; an empty one is nothing.
pub(super) fn items<T>(items: &[T], shown: impl Fn(&T) -> Value) -> Option<Value> {
    (!items.is_empty()).then(|| items.iter().map(shown).collect())
}

/// For a key that is another way to write a key with a value.
pub(super) fn nothing<T>(_: &T) -> Option<Value> {
    None
}

pub(super) fn string() -> Value {
    json!({ "type": "string" })
}

pub(super) fn string_or_integer() -> Value {
    json!({ "type": ["string", "integer"] })
}

/// `true` or `false`.
pub(super) static BOOLEAN: Form<bool> = form(
    "boolean",
    || json!({ "type": "boolean" }),
    Findings::boolean,
    |text| text.parse().map_err(|_| "expected true or false".to_owned()),
    |flag| Some(json!(flag)),
);

/// A time with its unit.
pub(super) static DURATION: Form<Duration> = form(
    "duration",
    || json!({ "type": "string", "pattern": r"^\s*([0-9]+\s*[a-zA-Zµ]+\s*)+$" }),
    Findings::duration,
    |text| told(units::duration(text)),
    |duration| match duration.is_zero() {
        true => Some(json!("0s")),
        false => Some(json!(humantime::format_duration(*duration).to_string())),
    },
);

/// A number of bytes with its unit.
pub(super) static SIZE: Form<u64> = form(
    "size",
    string_or_integer,
    |findings, key, value| {
        let text = findings.text_or_integer(key, value)?;
        findings.keep(key, value, units::size(&text))
    },
    |text| told(units::size(text)),
    |bytes| Some(shown_size(*bytes)),
);

/// A size as a file would have it.
pub(super) fn shown_size(bytes: u64) -> Value {
    match bytes {
        0 => json!(0),
        _ => json!(units::written_size(bytes)),
    }
}

/// The path of a file, or none.
pub(super) static FILE_PATH: Form<Option<PathBuf>> = form(
    "string",
    string,
    |findings, key, value| {
        let path = findings.path(key, value)?;
        findings.keep(key, value, file_path(path)).map(Some)
    },
    |text| told(file_path(told(std::path::absolute(text))?)).map(Some),
    |path| path.as_ref().map(|path| json!(path.to_string_lossy())),
);

fn file_path(path: PathBuf) -> Result<PathBuf, &'static str> {
    let names_a_file = path.file_name().is_some() && !path.to_string_lossy().ends_with('/');
    names_a_file.then_some(path).ok_or("expected the path of a file")
}

/// An integer from 1.
pub(super) static COUNT: Form<u16> = form(
    "integer",
    || json!({ "type": "integer", "minimum": 1, "maximum": u16::MAX }),
    Findings::count,
    |text| within(text, 1, u16::MAX),
    |count| Some(json!(count)),
);

/// An integer of this type within these bounds, in a file also as a text.
macro_rules! integer {
    ($kind:ty, $least:expr, $most:expr) => {
        super::forms::form::<$kind>(
            "integer",
            || {
                let (least, most): ($kind, $kind) = ($least, $most);
                serde_json::json!({
                    "type": ["integer", "string"], "minimum": least, "maximum": most
                })
            },
            |findings, key, value| {
                let text = findings.text_or_integer(key, value)?;
                findings.keep(key, value, crate::privileges::within::<$kind>(&text, $least, $most))
            },
            |text| crate::privileges::within::<$kind>(text, $least, $most),
            |number| Some(serde_json::json!(number)),
        )
    };
}
pub(super) use integer;

/// A text or none. `$read`: a function that refuses a text or keeps it.
macro_rules! optional_text {
    ($read:path) => {
        super::forms::form::<Option<String>>(
            "string",
            super::forms::string,
            |findings, key, value| {
                let text = findings.text(key, value)?;
                findings.keep(key, value, $read(&text))
            },
            $read,
            |text| text.as_ref().map(|text| serde_json::json!(text)),
        )
    };
}
pub(super) use optional_text;

/// One of the words of `T`.
pub(super) const fn choice<T: Word>() -> Form<T> {
    fn schema<T: Word>() -> Value {
        let words: Vec<&str> = T::WORDS.iter().map(|(word, ..)| *word).collect();
        json!({ "enum": words })
    }
    fn choices<T: Word>() -> Vec<Choice> {
        T::WORDS.iter().map(|(word, _, help)| (*word, *help)).collect()
    }
    fn parse<T: Word>(text: &str) -> Result<T, String> {
        words::value(text).ok_or_else(|| "is none of the known words".to_owned())
    }
    fn shown<T: Word>(value: &T) -> Option<Value> {
        Some(json!(words::word(*value)))
    }
    let form = form("string", schema::<T>, Findings::word, parse::<T>, shown::<T>);
    Form { choices: choices::<T>, ..form }
}

/// The name or the number of a user or a group.
pub(super) static ACCOUNT: Form<Option<String>> = form(
    "string or integer",
    string_or_integer,
    |findings, key, value| findings.text_or_integer(key, value).map(Some),
    |text| Ok(Some(text.to_owned())),
    |account| account.as_ref().map(|account| json!(account)),
);

pub(super) fn one_or_several() -> Value {
    let one = string_or_integer();
    json!({ "anyOf": [one, { "type": "array", "items": one }] })
}
