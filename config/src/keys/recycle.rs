//! When a worker that is well is replaced.

use serde_json::json;

use super::forms::{COUNT, DURATION, SIZE, form, integer, optional_text};
use super::key::{Change, Flag, Key, Section};
use super::kind::{Field, Form, at};
use crate::privileges::within;
use crate::schedule::{Schedule, time_zone};
use crate::spec::RecyclePolicy;

pub(super) const SECTION: Section =
    Section { name: "recycle", title: "When a worker that is well is replaced", keys: KEYS };

static KEYS: &[Key] = &[
    Key {
        name: "max_memory",
        flag: Some(Flag { alias: Some("max-memory-restart"), ..Flag::value("SIZE") }),
        help: "Replace a worker whose resident memory is above this; 0: never",
        doc: "How much resident memory (RSS, that of its child processes included) a worker may \
              have before it is replaced ([recycling](recycling.md)): `\"300M\"`, `\"1.5G\"`. `0`: \
              no limit",
        example: Some("\"300M\""),
        elsewhere: &["max_memory_restart", "max_memory_mb", "memory_limit"],
        ..Key::of(&Field { place: at!(recycle.max_memory), form: &SIZE })
    },
    Key {
        name: "max_age",
        flag: Some(Flag::value("DURATION")),
        help: "Replace a worker that has been ready this long; 0s: never",
        doc: "How long a worker may be ready before it is replaced. `\"0s\"`: no limit",
        example: Some("\"24h\""),
        elsewhere: &["max_lifetime", "max_worker_age"],
        ..Key::of(&Field { place: at!(recycle.max_age), form: &DURATION })
    },
    Key {
        name: "max_connections",
        flag: Some(Flag::value("COUNT")),
        unit: Some("connections"),
        help: "Replace a worker that has accepted this many; 0: never",
        doc: "How many connections a worker may have accepted before it is replaced. `0`: no limit",
        example: Some("100000"),
        elsewhere: &["max_requests"],
        ..Key::of(&Field { place: at!(recycle.max_connections), form: &CONNECTIONS })
    },
    Key {
        name: "recycle_jitter",
        flag: Some(Flag::value("PERCENT")),
        unit: Some("percent"),
        help: "By how much each worker's own limits may be lower",
        doc: "By how much `max_memory`, `max_age` and `max_connections` may be lower for a single \
              worker, from 0 to 90. Each worker draws its own, so that not all reach them at once",
        elsewhere: &["max_requests_jitter"],
        ..Key::of(&Field { place: at!(recycle.jitter), form: &PERCENT })
    },
    Key {
        name: "recycle_budget",
        flag: Some(Flag::value("COUNT")),
        unit: Some("workers a minute"),
        help: "The most workers that such a limit may replace in a minute",
        doc: "The most workers of the app that these limits may replace within a minute",
        ..Key::of(&Field { place: at!(recycle.budget), form: &COUNT })
    },
    Key {
        name: "cron_restart",
        flag: Some(Flag::value("PATTERN")),
        help: "When to replace all workers: a pattern of cron",
        doc: "When to replace all workers, one after the other as by `reload` \
              ([schedules](recycling.md#by-the-calendar)): `\"0 3 * * *\"` (minute, hour, day, month, \
              weekday), or six fields with the seconds first",
        example: Some("\"0 3 * * *\""),
        elsewhere: &["cron"],
        change: Change::Nothing,
        ..Key::of(&Field { place: at!(cron_restart), form: &CRON })
    },
    Key {
        name: "cron_timezone",
        absent: "the machine's",
        flag: Some(Flag::value("ZONE")),
        help: "The time zone of cron_restart",
        doc: "The time zone of `cron_restart`: `\"Europe/Berlin\"`, `\"UTC\"`",
        example: Some("\"UTC\""),
        change: Change::Nothing,
        ..Key::of(&Field { place: at!(cron_timezone), form: &ZONE })
    },
];

/// A number of connections.
static CONNECTIONS: Form<u64> = integer!(u64, 0, 1_000_000_000_000);

/// A jitter in percent.
static PERCENT: Form<u8> = form(
    "integer",
    || {
        let most = RecyclePolicy::MOST_JITTER;
        json!({ "type": ["integer", "string"], "minimum": 0, "maximum": most })
    },
    |findings, key, value| {
        let text = findings.text_or_integer(key, value)?;
        findings.keep(key, value, percent(&text))
    },
    percent,
    |percent| Some(json!(percent)),
);

fn percent(text: &str) -> Result<u8, String> {
    within(text.strip_suffix('%').unwrap_or(text), 0, RecyclePolicy::MOST_JITTER)
}

/// A pattern of cron.
static CRON: Form<Option<String>> = optional_text!(pattern);

/// Patterns do not depend on the zone.
fn pattern(text: &str) -> Result<Option<String>, String> {
    Schedule::new(text, Some("UTC")).map(|_| Some(text.to_owned()))
}

/// The name of a time zone.
static ZONE: Form<Option<String>> = optional_text!(zone);

fn zone(text: &str) -> Result<Option<String>, String> {
    time_zone(text).map(|_| Some(text.to_owned()))
}
