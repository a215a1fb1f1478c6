//! A worker's life.

use serde_json::json;

use super::forms::{BOOLEAN, DURATION, choice, form, optional_text, string_or_integer};
use super::key::{Flag, InPool, Key, Section};
use super::kind::{Field, Form, at};
use crate::signal;
use crate::spec::{Graceful, ReadyRule};
use crate::tree::Value;
use crate::words::{self, Word};

pub(super) const SECTION: Section = Section { name: "life", title: "A worker's life", keys: KEYS };

static READY: Form<ReadyRule> = choice();

static KEYS: &[Key] = &[
    Key {
        name: "ready",
        flag: Some(Flag::value("RULE")),
        help: "When a worker counts as ready",
        doc: "When a worker counts as ready. `\"auto\"`: it listens on every address that its \
              predecessor served, or has not listened within `listen_wait` (`min_uptime`, if its \
              command served nothing the last time). `\"listen\"`: the \
              same, but a worker that never listens has failed. `\"notify\"`: it sends READY=1 to \
              NOTIFY_SOCKET. `\"uptime\"`: it has lived for `min_uptime`",
        pool: Some(InPool {
            absent: "`\"auto\"`",
            doc: "As of an app, whatever the app's own is. A worker that serves only the bus calls \
                  `ready()`; otherwise it counts as ready after `listen_wait`",
        }),
        ..Key::of(&Field { place: at!(ready), form: &READY })
    },
    Key {
        name: "wait_ready",
        flag: Some(Flag {
            conflicts: Some("ready"),
            help: Some(
                "Wait until each worker sends READY=1 to NOTIFY_SOCKET; the same as --ready notify",
            ),
            ..Flag::SWITCH
        }),
        help: "true: the same as ready = \"notify\"",
        doc: "`true` is another way to write `ready = \"notify\"`",
        stands_for: Some("ready"),
        ..Key::of(&Field { place: at!(ready), form: &WAIT_READY })
    },
    Key {
        name: "ready_timeout",
        flag: Some(Flag::value("DURATION")),
        help: "From the start to ready; a worker that takes longer has failed",
        doc: "From the start to ready; a worker that takes longer has failed",
        ..Key::of(&Field { place: at!(times.ready_timeout), form: &DURATION })
    },
    Key {
        name: "listen_wait",
        flag: Some(Flag::value("DURATION")),
        help: "How long to wait for the first worker to listen",
        doc: "How long a first worker may take to listen before it counts as one that never does",
        ..Key::of(&Field { place: at!(times.listen_wait), form: &DURATION })
    },
    Key {
        name: "min_uptime",
        flag: Some(Flag::value("DURATION")),
        help: "How long a reload watches its first new worker",
        doc: "How long the first new worker of a reload must live after it is ready before it gets \
              connections; longer if it took longer to become ready, up to 10 s",
        ..Key::of(&Field { place: at!(times.min_uptime), form: &DURATION })
    },
    Key {
        name: "observe",
        flag: Some(Flag::value("DURATION")),
        help: "A reload is rolled back if a new worker fails within this time",
        doc: "How long after its first new worker is ready a reload can be rolled back because a \
              new worker dies, or fails a probe or `observe_check`. The reload ends no earlier. `\"0s\"`: it ends when the last slot is \
              replaced",
        ..Key::of(&Field { place: at!(times.observe), form: &DURATION })
    },
    Key {
        name: "kill_timeout",
        flag: Some(Flag::value("DURATION")),
        help: "From the stop signal to SIGKILL",
        doc: "From the stop signal to SIGKILL",
        ..Key::of(&Field { place: at!(times.kill_timeout), form: &DURATION })
    },
    Key {
        name: "keep_detached",
        flag: Some(Flag {
            help: Some("Let processes that leave the worker's process group live on"),
            ..Flag::SWITCH
        }),
        help: "Whether processes that leave the worker's group live on",
        doc: "Whether processes that a worker started, and that left its process group (`setsid`, \
              double fork), live on when it ends. Otherwise they drain and end with it \
              ([contracts](contracts.md#processes-of-a-worker))",
        ..Key::of(&Field { place: at!(keep_detached), form: &BOOLEAN })
    },
    Key {
        name: "leader",
        flag: Some(Flag {
            help: Some("Give workers a lease that one of them holds at a time"),
            ..Flag::SWITCH
        }),
        help: "Whether workers get a lease that one of them holds at a time",
        doc: "Whether each worker gets the lease of the leader, in SUPERVISOR_LEADER_FD: the worker \
              that holds it does what only one may do ([leader](leader.md))",
        ..Key::of(&Field { place: at!(leader), form: &BOOLEAN })
    },
    Key {
        name: "drain_timeout",
        flag: Some(Flag::value("DURATION")),
        help: "How long a worker without new connections may keep old ones",
        doc: "How long a worker that gets no new connections may keep its old ones",
        ..Key::of(&Field { place: at!(times.drain_timeout), form: &DURATION })
    },
    Key {
        name: "drain_idle",
        flag: Some(Flag::value("DURATION")),
        help: "How long a connection must be quiet to count as idle",
        doc: "How long a connection must be quiet, the worker having spoken last, to count as idle",
        ..Key::of(&Field { place: at!(times.drain_idle), form: &DURATION })
    },
    Key {
        name: "drain_patience",
        flag: Some(Flag::value("DURATION")),
        help: "How long a drain stays busy before an early stop signal",
        doc: "How long the connections of a draining worker must stay busy before a program that \
              finishes its requests gets its stop signal; a quarter of it if the last worker was \
              seen to finish",
        ..Key::of(&Field { place: at!(times.drain_patience), form: &DURATION })
    },
    Key {
        name: "graceful",
        flag: Some(Flag::value("WHEN")),
        help: "Whether the program finishes requests after the stop signal",
        doc: "Whether the program finishes its requests after its stop signal \
              ([reload](reload.md#kept-connections)): `\"auto\"` (where it is seen to handle the \
              signal), `true`, `false`",
        ..Key::of(&Field { place: at!(graceful), form: &GRACEFUL })
    },
    Key {
        name: "sticky_wait",
        flag: Some(Flag::value("DURATION")),
        help: "With sticky: clients of a dead worker wait for the next one",
        doc: "With `balance = \"sticky\"`: how long the clients of a dead worker wait for its \
              replacement before they move to other workers. `\"0s\"`: they move at once",
        ..Key::of(&Field { place: at!(times.sticky_wait), form: &DURATION })
    },
    Key {
        name: "hang_timeout",
        flag: Some(Flag::value("DURATION")),
        help: "Kill a worker that lets connections wait this long; 0s: never",
        doc: "How long connections may wait for a ready worker that accepts none of them before it \
              counts as hung and is killed and replaced ([Hung workers](balance.md#hung-workers)). \
              `\"0s\"`: without end",
        example: Some("\"30s\""),
        ..Key::of(&Field { place: at!(times.hang_timeout), form: &DURATION })
    },
    Key {
        name: "leak_window",
        flag: Some(Flag::value("DURATION")),
        help: "Report memory that has only grown for this long; 0s: never",
        doc: "For how long memory must only have grown before a [leak is \
              suspected](bus.md#memory-that-only-grows); at least `\"10s\"`. `\"0s\"`: never",
        ..Key::of(&Field { place: at!(times.leak_window), form: &DURATION })
    },
    Key {
        name: "stop_signal",
        flag: Some(Flag::value("SIGNAL")),
        help: "The signal that tells a worker to stop",
        doc: "The signal that tells a worker to stop: `\"QUIT\"`, `\"SIGQUIT\"` or `3`",
        elsewhere: &["signal"],
        ..Key::of(&Field { place: at!(stop_signal), form: &SIGNAL })
    },
    Key {
        name: "stop_message",
        flag: Some(Flag::value("TEXT")),
        help: "What tells a Node worker to stop, in place of the signal",
        doc: "What a Node program gets by `process.on('message')` in place of `stop_signal`. Every \
              other program, and one that has closed its channel, gets the signal. SIGKILL follows \
              after `kill_timeout`, as it does after the signal",
        example: Some("\"shutdown\""),
        elsewhere: &["shutdown_with_message"],
        ..Key::of(&Field { place: at!(stop_message), form: &MESSAGE })
    },
];

/// `wait_ready`: another way to write a ready rule.
static WAIT_READY: Form<ReadyRule> = form(
    "boolean",
    || json!({ "type": "boolean" }),
    |findings, key, value| findings.boolean(key, value)?.then_some(ReadyRule::Notify),
    |_| Ok(ReadyRule::Notify),
    |rule| Some(json!(*rule == ReadyRule::Notify)),
);

/// A text, or none.
static MESSAGE: Form<Option<String>> = optional_text!(message);

/// A text that fits into a message with room to spare.
fn message(text: &str) -> Result<Option<String>, String> {
    match text.len() {
        0 => Err("expected a text that is not empty".to_owned()),
        1..=LONGEST_MESSAGE => Ok(Some(text.to_owned())),
        _ => Err(format!("expected at most {LONGEST_MESSAGE} bytes")),
    }
}

/// Bytes of `stop_message`.
const LONGEST_MESSAGE: usize = 1024;

/// A signal by its name or number.
static SIGNAL: Form<i32> = form(
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

/// `"auto"`, or whether.
static GRACEFUL: Form<Graceful> = Form {
    choices: || Graceful::WORDS.iter().map(|(word, _, help)| (*word, *help)).collect(),
    ..form(
        "string or boolean",
        || json!({ "enum": ["auto", true, false] }),
        |findings, _, value| match &value.value {
            Value::Boolean(true) => Some(Graceful::Always),
            Value::Boolean(false) => Some(Graceful::Never),
            Value::Text(word) if word.text == "auto" => Some(Graceful::Auto),
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
