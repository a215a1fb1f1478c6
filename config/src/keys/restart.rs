//! What follows a worker's death.

use serde_json::json;

use super::forms::{BOOLEAN, COUNT, DURATION, choice, form, one_or_several};
use super::key::{Flag, Key, Section};
use super::kind::{Field, Form, at};
use crate::privileges::within;
use crate::spec::{ExitCodes, RestartOn};

pub(super) const SECTION: Section =
    Section { name: "restart", title: "When a worker dies", keys: KEYS };

static RESTART: Form<RestartOn> = choice();

static KEYS: &[Key] = &[
    Key {
        name: "restart",
        flag: Some(Flag::value("WHEN")),
        help: "Which exits of a worker are followed by a restart",
        doc: "Which exits of a worker are followed by a restart: `\"always\"`, `\"on-failure\"` (an exit \
              code other than 0, or a signal) or `\"never\"`",
        elsewhere: &["autorestart"],
        ..Key::of(&Field { place: at!(restart.on), form: &RESTART })
    },
    Key {
        name: "stop_exit_codes",
        flag: Some(Flag { repeats: true, ..Flag::value("CODE") }),
        help: "Exit codes of a worker that no restart follows",
        doc: "Exit codes from 0 to 255. A worker that ends with one of them has done its work and is \
              not restarted, whatever `restart` says",
        example: Some("[42, 43]"),
        elsewhere: &["exitcodes", "success_exit_status"],
        ..Key::of(&Field { place: at!(restart.stop_exit_codes), form: &EXIT_CODES })
    },
    Key {
        name: "start_retries",
        flag: Some(Flag::value("COUNT")),
        unit: Some("failures"),
        help: "Failures until a worker that was never ready is errored",
        doc: "Failures in a row after which a worker that was never ready is `errored`",
        ..Key::of(&Field { place: at!(restart.start_retries), form: &COUNT })
    },
    Key {
        name: "max_restarts",
        flag: Some(Flag::value("COUNT")),
        unit: Some("failures"),
        help: "Failures within restart_window until a worker is errored",
        doc: "Failures within `restart_window` after which a worker that has been ready is `errored`",
        ..Key::of(&Field { place: at!(restart.max_restarts), form: &COUNT })
    },
    Key {
        name: "give_up",
        flag: Some(Flag::SWITCH),
        help: "Do not try an errored worker again",
        doc: "Whether an `errored` worker stays so until `restart` or `reload`. Otherwise the primary \
              tries it again after `backoff_max`, again and again",
        ..Key::of(&Field { place: at!(restart.give_up), form: &BOOLEAN })
    },
    Key {
        name: "restart_window",
        flag: Some(Flag::value("DURATION")),
        help: "The window of max_restarts",
        doc: "The window of `max_restarts`",
        ..Key::of(&Field { place: at!(restart.window), form: &DURATION })
    },
    Key {
        name: "backoff_min",
        flag: Some(Flag::value("DURATION")),
        help: "The first delay before a restart; it doubles with each failure",
        doc: "The first delay before a restart; it doubles with each failure. The first restart \
              after a worker was ready is immediate, unless this is longer than `\"100ms\"`",
        ..Key::of(&Field { place: at!(restart.backoff_min), form: &DURATION })
    },
    Key {
        name: "backoff_max",
        flag: Some(Flag::value("DURATION")),
        help: "The longest delay before a restart",
        doc: "The longest delay before a restart",
        ..Key::of(&Field { place: at!(restart.backoff_max), form: &DURATION })
    },
    Key {
        name: "backoff_reset",
        flag: Some(Flag::value("DURATION")),
        help: "The delay starts anew after a worker was ready for this long",
        doc: "How long a worker must be ready before the delay starts at `backoff_min` again",
        ..Key::of(&Field { place: at!(restart.backoff_reset), form: &DURATION })
    },
];

static EXIT_CODES: Form<ExitCodes> = Form {
    repeat: |codes, more| codes.extend(more.iter()),
    ..form(
        "integer or array",
        one_or_several,
        |findings, key, value| {
            let mut codes = ExitCodes::default();
            for (item, text) in findings.items(key, value) {
                match within(&text, 0, u8::MAX) {
                    Ok(code) => codes.extend([code]),
                    Err(message) => findings.add(item.span(), format!("{key}: {message}")),
                }
            }
            Some(codes)
        },
        |text| within(text, 0, u8::MAX).map(|code| [code].into_iter().collect()),
        |codes| (!codes.is_empty()).then(|| json!(codes)),
    )
};
