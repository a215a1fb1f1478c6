//! The types of values that keys have.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use toml::de::DeValue;

use super::kind::{Choice, Form};
use super::shared;
use crate::privileges::{limit, resource, umask, within};
use crate::raw::{Findings, Written, in_order};
use crate::spec::{AddressPattern, Graceful, Instances, Limit, ListenSpec, ReadyRule, Resource};
use crate::words::{self, Word};
use crate::{address, command, environment, name, signal, units};

/// A form of which only the type and how it is read are special.
const fn form<T: 'static>(
    type_name: &'static str,
    schema: fn() -> Value,
    read: fn(&mut Findings, &str, &Written<'_>) -> Option<T>,
    parse: fn(&str) -> Result<T, String>,
    shown: fn(&T) -> Option<Value>,
) -> Form<T> {
    Form { type_name, schema, choices: Vec::new, read, parse, shown, repeat: set, over: set }
}

fn set<T>(value: &mut T, to: T) {
    *value = to;
}

/// Adds entries or items to those that are there.
fn extend<T: IntoIterator + Extend<T::Item>>(value: &mut T, more: T) {
    value.extend(more);
}

fn told<T>(result: Result<T, impl Display>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn nothing<T>(_: &T) -> Option<Value> {
    None
}

fn string() -> Value {
    json!({ "type": "string" })
}

fn string_or_integer() -> Value {
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

/// An integer from 1.
pub(super) static COUNT: Form<u16> = form(
    "integer",
    || json!({ "type": "integer", "minimum": 1, "maximum": u16::MAX }),
    Findings::count,
    |text| within(text, 1, u16::MAX),
    |count| Some(json!(count)),
);

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

/// `"auto"`, or whether.
pub(super) static GRACEFUL: Form<Graceful> = Form {
    choices: || Graceful::WORDS.iter().map(|(word, _, help)| (*word, *help)).collect(),
    ..form(
        "string or boolean",
        || json!({ "enum": ["auto", true, false] }),
        |findings, _, value| match value.get_ref() {
            DeValue::Boolean(true) => Some(Graceful::Always),
            DeValue::Boolean(false) => Some(Graceful::Never),
            DeValue::String(word) if word == "auto" => Some(Graceful::Auto),
            _ => {
                findings.add(value.span(), "expected \"auto\", true or false".to_owned());
                None
            }
        },
        |text| words::value(text).ok_or_else(|| "is none of the known words".to_owned()),
        |graceful| match graceful {
            Graceful::Auto => Some(json!("auto")),
            Graceful::Always => Some(json!(true)),
            Graceful::Never => Some(json!(false)),
        },
    )
};

/// `wait_ready`: another way to write a ready rule.
pub(super) static WAIT_READY: Form<ReadyRule> = form(
    "boolean",
    || json!({ "type": "boolean" }),
    |findings, key, value| findings.boolean(key, value)?.then_some(ReadyRule::Notify),
    |_| Ok(ReadyRule::Notify),
    |rule| Some(json!(*rule == ReadyRule::Notify)),
);

/// The name of an app.
pub(super) static NAME: Form<String> = form(
    "string",
    || json!({ "type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$" }),
    |findings, key, value| {
        let text = findings.text(key, value)?;
        let refused = name::check(&text).map_err(|message| findings.add(value.span(), message));
        refused.is_ok().then_some(text)
    },
    // The plan of `start` checks it: it knows where the name came from.
    |text| Ok(text.to_owned()),
    nothing,
);

/// The name or the number of a user or a group.
pub(super) static ACCOUNT: Form<Option<String>> = form(
    "string or integer",
    string_or_integer,
    |findings, key, value| findings.text_or_integer(key, value).map(Some),
    |text| Ok(Some(text.to_owned())),
    |account| account.as_ref().map(|account| json!(account)),
);

/// The names or numbers of groups.
pub(super) static ACCOUNTS: Form<Vec<String>> = Form {
    repeat: extend,
    ..form(
        "string or array",
        one_or_several,
        |findings, key, value| {
            Some(findings.items(key, value).into_iter().map(|(_, group)| group).collect())
        },
        |text| Ok(vec![text.to_owned()]),
        nothing,
    )
};

fn one_or_several() -> Value {
    let one = string_or_integer();
    json!({ "anyOf": [one, { "type": "array", "items": one }] })
}

/// A path that starts at the folder of the file.
pub(super) static FOLDER: Form<PathBuf> = form(
    "string",
    string,
    |findings, key, value| {
        let path = findings.text(key, value)?;
        Some(findings.base.join(path))
    },
    |text| Ok(PathBuf::from(text)),
    nothing,
);

/// A program and its arguments.
pub(super) static COMMAND: Form<Vec<String>> = form(
    "string or array",
    || json!({ "anyOf": [string(), { "type": "array", "items": string(), "minItems": 1 }] }),
    read_command,
    |text| told(command::split(text)),
    nothing,
);

fn read_command(findings: &mut Findings, key: &str, value: &Written<'_>) -> Option<Vec<String>> {
    let words = match value.get_ref() {
        DeValue::String(line) => findings.keep(key, value, command::split(line))?,
        DeValue::Array(_) => findings.texts(key, value)?,
        _ => {
            let message = format!("{key} must be a string or an array of strings");
            findings.add(value.span(), message);
            return None;
        }
    };
    if words.first().is_none_or(String::is_empty) {
        findings.add(value.span(), "the command is empty: write the program to run");
    } else if words.iter().any(|word| word.contains('\0')) {
        findings.add(value.span(), "the command contains a NUL, which no argument can hold");
    }
    Some(words)
}

/// A file that becomes a command.
pub(super) static SCRIPT: Form<Vec<String>> = form(
    "string",
    string,
    |findings, key, value| {
        let path = findings.text(key, value)?;
        let path = findings.base.join(path);
        findings.keep(key, value, command::for_file(&path))
    },
    |text| told(command::for_file(text.as_ref())),
    nothing,
);

/// Variables and their values.
pub(super) static ENVIRONMENT: Form<BTreeMap<String, String>> = Form {
    repeat: extend,
    over: extend,
    ..form(
        "table",
        || {
            let text = json!({ "type": ["string", "number", "boolean"] });
            json!({ "type": "object", "additionalProperties": text })
        },
        |findings, key, value| {
            let table = findings.table(key, value)?;
            let mut env = BTreeMap::new();
            for (name, span, value) in in_order(table) {
                let Some(text) = findings.scalar(&format!("{key}.{name}"), value) else { continue };
                match environment::check(name, &text) {
                    Ok(()) => drop(env.insert(name.to_owned(), text)),
                    Err(message) => findings.add(span, message),
                }
            }
            Some(env)
        },
        |text| environment::pair(text).map(|pair| [pair].into()),
        nothing,
    )
};

/// How many workers.
pub(super) static INSTANCES: Form<Instances> = form(
    "integer or string",
    || {
        json!({ "anyOf": [
            { "type": "integer", "maximum": crate::instances::MAX_WORKERS },
            { "type": "string", "pattern": "^(max|-?[0-9]+|[0-9]+%)$" },
        ] })
    },
    |findings, key, value| {
        let text = findings.text_or_integer(key, value)?;
        findings.keep(key, value, text.parse())
    },
    |text| told(text.parse()),
    |instances| match instances {
        Instances::Count(count) => Some(json!(count)),
        other => Some(json!(other.to_string())),
    },
);

/// Addresses to listen on.
pub(super) static LISTEN: Form<Vec<ListenSpec>> = Form {
    repeat: extend,
    ..form(
        "string, integer, array or table",
        || {
            let one = string_or_integer();
            json!({ "anyOf": [
                one,
                { "type": "array", "items": one },
                { "type": "object", "additionalProperties": one },
            ] })
        },
        |findings, key, value| Some(read_listen(findings, key, value)),
        |text| told(address::listen(text)).map(|listen| vec![listen]),
        nothing,
    )
};

/// An address, an array of addresses, or a table of names and addresses.
fn read_listen(findings: &mut Findings, key: &str, value: &Written<'_>) -> Vec<ListenSpec> {
    let read: Vec<_> = if let DeValue::Table(table) = value.get_ref() {
        in_order(table)
            .into_iter()
            .filter_map(|(name, _, value)| {
                let text = findings.text_or_integer(&format!("{key}.{name}"), value)?;
                Some((value.span(), address::named(name, &text)))
            })
            .collect()
    } else {
        let items = findings.items(key, value).into_iter();
        items.map(|(item, text)| (item.span(), address::listen(&text))).collect()
    };
    let (mut found, mut spans) = (Vec::new(), Vec::new());
    for (span, result) in read {
        match result {
            Ok(spec) => {
                found.push(spec);
                spans.push(span);
            }
            Err(error) => findings.add(span, error.to_string()),
        }
    }
    if let Some((index, message)) = address::duplicate(&found) {
        findings.add(spans[index].clone(), message);
    }
    found
}

/// Addresses and parts of addresses.
pub(super) static PATTERNS: Form<Vec<AddressPattern>> = Form {
    repeat: extend,
    ..form(
        "string or array",
        one_or_several,
        |findings, key, value| {
            let mut patterns = Vec::new();
            for (item, text) in findings.items(key, value) {
                match text.parse() {
                    Ok(pattern) => patterns.push(pattern),
                    Err(error) => findings.add(item.span(), format!("{error}")),
                }
            }
            Some(patterns)
        },
        |text| told(text.parse()).map(|pattern| vec![pattern]),
        nothing,
    )
};

/// Values for all workers, as JSON text.
pub(super) static SHARED: Form<Option<String>> = form(
    "table",
    || json!({ "type": "object", "properties": { "limits": { "$ref": "#/$defs/limits" } } }),
    |findings, key, value| shared::read(key, value, findings).map(Some),
    |text| Ok(Some(text.to_owned())),
    nothing,
);

/// A signal by its name or number.
pub(super) static SIGNAL: Form<i32> = form(
    "string or integer",
    string_or_integer,
    |findings, key, value| {
        let text = findings.text_or_integer(key, value)?;
        let number = signal::number(&text)
            .ok_or("expected the name of a signal such as \"TERM\", or 1 to 64");
        findings.keep(key, value, number)
    },
    signal::parse,
    |number| {
        let name = signal::name(*number).map(|name| json!(name.trim_start_matches("SIG")));
        Some(name.unwrap_or_else(|| json!(number)))
    },
);

/// A file mode creation mask, in octal: 27 in decimal would be another one than was meant.
pub(super) static MASK: Form<Option<u16>> = form(
    "string",
    || json!({ "anyOf": [{ "type": "string", "pattern": "^(0o)?[0-7]{1,4}$" }, { "type": "integer" }] }),
    |findings, key, value| {
        let text = match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 8 => number.as_str().to_owned(),
            DeValue::Integer(_) => {
                let message = format!("{key} must be octal: write \"027\" or 0o027");
                findings.add(value.span(), message);
                return None;
            }
            _ => findings.text(key, value)?,
        };
        findings.keep(key, value, umask(&text)).map(Some)
    },
    |text| umask(text).map(Some),
    nothing,
);

/// A CPU priority.
pub(super) static NICE: Form<Option<i8>> = form(
    "integer",
    || json!({ "type": ["integer", "string"], "minimum": -20, "maximum": 19 }),
    |findings, key, value| {
        let text = findings.text_or_integer(key, value)?;
        findings.keep(key, value, nice(&text)).map(Some)
    },
    |text| nice(text).map(Some),
    nothing,
);

fn nice(text: &str) -> Result<i8, String> {
    within(text, -20, 19)
}

/// An OOM score adjustment.
pub(super) static OOM_SCORE: Form<Option<i16>> = form(
    "integer",
    || json!({ "type": ["integer", "string"], "minimum": -1000, "maximum": 1000 }),
    |findings, key, value| {
        let text = findings.text_or_integer(key, value)?;
        findings.keep(key, value, oom_score(&text)).map(Some)
    },
    |text| oom_score(text).map(Some),
    nothing,
);

fn oom_score(text: &str) -> Result<i16, String> {
    within(text, -1000, 1000)
}

/// Resource limits.
pub(super) static LIMITS: Form<BTreeMap<Resource, Limit>> = Form {
    repeat: extend,
    over: extend,
    ..form(
        "table",
        || {
            let names = Resource::WORDS.iter().map(|(word, ..)| (*word, string_or_integer()));
            let names: BTreeMap<_, _> = names.collect();
            json!({ "type": "object", "properties": names, "additionalProperties": false })
        },
        read_limits,
        |text| limit(text).map(|limit| [limit].into()),
        nothing,
    )
};

fn read_limits(
    findings: &mut Findings,
    key: &str,
    value: &Written<'_>,
) -> Option<BTreeMap<Resource, Limit>> {
    let table = findings.table(key, value)?;
    let mut limits = BTreeMap::new();
    for (name, span, value) in in_order(table) {
        let resource = match resource(name) {
            Ok(resource) => resource,
            Err(message) => {
                findings.add(span, message);
                continue;
            }
        };
        let key = format!("{key}.{name}");
        let Some(text) = findings.text_or_integer(&key, value) else { continue };
        if let Some(limit) = findings.keep(&key, value, text.parse()) {
            limits.insert(resource, limit);
        }
    }
    Some(limits)
}
