//! How the health of workers is asked for. Both probes have the same keys.

use serde_json::json;

use super::forms::{COUNT, DURATION, form, string, string_or_integer};
use super::key::{Flag, Key, Section};
use super::kind::{Field, Form, at};
use crate::spec::{ProbeAsk, StatusRange};

pub(super) const READINESS_SECTION: Section = Section {
    name: "readiness",
    title: "How a worker is asked whether it may get connections",
    keys: READINESS,
};

pub(super) const LIVENESS_SECTION: Section = Section {
    name: "liveness",
    title: "How a worker is asked whether it must be replaced",
    keys: LIVENESS,
};

/// The rows of one probe. The first one has an example and names of its own.
macro_rules! rows {
    ($name:literal, $field:ident, $first:expr) => {
        &[
            Key {
                name: $name,
                flag: Some(Flag::value("PROBE")),
                ..$first(&Field { place: at!($field.ask), form: &ASK })
            },
            Key {
                name: concat!($name, "_status"),
                flag: Some(Flag::value("STATUS")),
                help: concat!("The statuses of HTTP with which ", $name, " succeeds"),
                doc: concat!(
                    "The statuses of HTTP with which `",
                    $name,
                    "` succeeds: `\"200\"`, \
                              `\"200-399\"`"
                ),
                ..Key::of(&Field { place: at!($field.status), form: &STATUS })
            },
            Key {
                name: concat!($name, "_body"),
                flag: Some(Flag::value("TEXT")),
                help: concat!("What the body must contain, so that ", $name, " succeeds"),
                doc: concat!(
                    "What the first 64 KiB of the body must contain, so that `",
                    $name,
                    "` succeeds"
                ),
                example: Some("\"ok\""),
                ..Key::of(&Field { place: at!($field.body), form: &TEXT })
            },
            Key {
                name: concat!($name, "_period"),
                flag: Some(Flag::value("DURATION")),
                help: concat!("From one probe of ", $name, " to the next"),
                doc: concat!(
                    "The time from the end of one probe of `",
                    $name,
                    "` to the beginning of the next"
                ),
                elsewhere: &[concat!($name, "_interval")],
                ..Key::of(&Field { place: at!($field.period), form: &DURATION })
            },
            Key {
                name: concat!($name, "_timeout"),
                flag: Some(Flag::value("DURATION")),
                help: concat!("How long the answer to ", $name, " may take"),
                doc: concat!("How long the answer to `", $name, "` may take"),
                ..Key::of(&Field { place: at!($field.timeout), form: &DURATION })
            },
            Key {
                name: concat!($name, "_delay"),
                flag: Some(Flag::value("DURATION")),
                help: concat!("How long the first probe of ", $name, " waits"),
                doc: concat!("How long the first probe of `", $name, "` of a worker waits"),
                elsewhere: &[concat!($name, "_initial_delay")],
                ..Key::of(&Field { place: at!($field.delay), form: &DURATION })
            },
            Key {
                name: concat!($name, "_failures"),
                flag: Some(Flag::value("COUNT")),
                unit: Some("failures"),
                help: concat!("Failures in a row until ", $name, " fails"),
                doc: concat!("Failures in a row after which `", $name, "` fails"),
                elsewhere: &[concat!($name, "_failure_threshold")],
                ..Key::of(&Field { place: at!($field.failures), form: &COUNT })
            },
            Key {
                name: concat!($name, "_successes"),
                flag: Some(Flag::value("COUNT")),
                unit: Some("successes"),
                help: concat!("Successes in a row until ", $name, " holds again"),
                doc: concat!("Successes in a row after which `", $name, "` holds, or holds again"),
                elsewhere: &[concat!($name, "_success_threshold")],
                ..Key::of(&Field { place: at!($field.successes), form: &COUNT })
            },
        ]
    };
}

static READINESS: &[Key] = rows!("readiness", readiness, readiness);
static LIVENESS: &[Key] = rows!("liveness", liveness, liveness);

const fn readiness(kind: &'static Field<Option<ProbeAsk>>) -> Key {
    Key {
        help: "How to ask whether a worker may get connections",
        doc: "How to ask each worker whether it may get connections ([probes](probes.md)): \
              `\"http:/PATH\"`, `\"http:PORT/PATH\"`, `\"tcp\"`, `\"tcp:PORT\"` or \
              `\"command:COMMAND\"`. A new worker is not ready before this succeeds. A worker for \
              which it fails gets no new connections until it succeeds again",
        example: Some("\"http:/healthz\""),
        elsewhere: &["readiness_probe", "health_check", "healthcheck", "health_check_url"],
        ..Key::of(kind)
    }
}

const fn liveness(kind: &'static Field<Option<ProbeAsk>>) -> Key {
    Key {
        help: "How to ask whether a worker must be replaced",
        doc: "How to ask each ready worker whether it must be replaced, written as `readiness`. A \
              worker for which it fails is replaced as one that has reached a limit \
              ([recycling](recycling.md))",
        example: Some("\"tcp\""),
        elsewhere: &["liveness_probe"],
        ..Key::of(kind)
    }
}

/// A probe.
static ASK: Form<Option<ProbeAsk>> = form(
    "string",
    string,
    |findings, key, value| {
        let text = findings.text(key, value)?;
        findings.keep(key, value, ask(&text))
    },
    ask,
    |ask| ask.as_ref().map(|ask| json!(ask.to_string())),
);

fn ask(text: &str) -> Result<Option<ProbeAsk>, String> {
    text.parse().map(Some)
}

/// Statuses of HTTP.
static STATUS: Form<StatusRange> = form(
    "integer or string",
    string_or_integer,
    |findings, key, value| {
        let text = findings.text_or_integer(key, value)?;
        findings.keep(key, value, text.parse::<StatusRange>())
    },
    str::parse,
    |range| Some(json!(range.to_string())),
);

/// Any text.
static TEXT: Form<Option<String>> = form(
    "string",
    string,
    |findings, key, value| findings.text(key, value).map(Some),
    |text| Ok(Some(text.to_owned())),
    |text| text.as_ref().map(|text| json!(text)),
);
