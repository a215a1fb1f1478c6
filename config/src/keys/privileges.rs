//! What workers may do and use, and who may command the app.

use std::collections::BTreeMap;

use serde_json::json;

use super::forms::{ACCOUNT, BOOLEAN, extend, form, items, one_or_several, string_or_integer};
use super::key::{Flag, Key, Section};
use super::kind::{Field, Form, at};
use crate::privileges::{limit, resource, umask, within};
use crate::raw::{Findings, Written, in_order};
use crate::spec::{Limit, Resource};
use crate::tree::Value;
use crate::words::Word;

pub(super) const SECTION: Section = Section {
    name: "privileges",
    title: "What workers may do and use, and who may command",
    keys: KEYS,
};

const AS_STARTED: &str = "as it was started";

static KEYS: &[Key] = &[
    Key {
        name: "groups",
        flag: Some(Flag {
            repeats: true,
            help: Some("A group besides those of the user; only root may. May be repeated"),
            ..Flag::value("GROUP")
        }),
        help: "Groups besides those of the user; only root may",
        doc: "Groups (names or numbers) besides those of the user. Only root may",
        example: Some("[\"ssl-cert\"]"),
        elsewhere: &["supplementary_groups"],
        ..Key::of(&Field { place: at!(privileges.groups), form: &ACCOUNTS })
    },
    Key {
        name: "umask",
        absent: AS_STARTED,
        flag: Some(Flag::value("MASK")),
        help: "The file mode creation mask, in octal: 027",
        doc: "The file mode creation mask, in octal: `\"027\"` or `0o027`",
        example: Some("\"027\""),
        ..Key::of(&Field { place: at!(privileges.umask), form: &MASK })
    },
    Key {
        name: "nice",
        absent: AS_STARTED,
        flag: Some(Flag { signed: true, ..Flag::value("N") }),
        help: "The CPU priority, -20 (most) to 19 (least)",
        doc: "CPU priority, -20 (most) to 19 (least). Only root may go below the present one",
        example: Some("5"),
        ..Key::of(&Field { place: at!(privileges.nice), form: &NICE })
    },
    Key {
        name: "oom_score_adj",
        absent: AS_STARTED,
        flag: Some(Flag { signed: true, ..Flag::value("N") }),
        help: "Killed when memory runs out: -1000 (never) to 1000 (first)",
        doc: "How readily the kernel kills a worker when memory runs out: -1000 (never) to 1000 \
              (first). Only root may go below the present one",
        example: Some("300"),
        elsewhere: &["oom_score_adjust"],
        ..Key::of(&Field { place: at!(privileges.oom_score_adj), form: &OOM_SCORE })
    },
    Key {
        name: "no_new_privs",
        flag: Some(Flag {
            help: Some(
                "No program that a worker runs gains privileges by setuid or file capabilities",
            ),
            ..Flag::SWITCH
        }),
        help: "No program that a worker runs gains privileges",
        doc: "`true`: no program that a worker runs gains privileges by setuid or file capabilities",
        example: Some("true"),
        ..Key::of(&Field { place: at!(privileges.no_new_privs), form: &BOOLEAN })
    },
    Key {
        name: "limits",
        absent: AS_STARTED,
        flag: Some(Flag {
            repeats: true,
            help: Some(
                "A resource limit of the workers: nofile=65536, core=0, nproc=512:1024. May be \
                 repeated",
            ),
            ..Flag::value("NAME=LIMIT")
        }),
        help: "Resource limits, as in setrlimit(2)",
        doc: "Resource limits, each a number, `\"infinity\"`, or `\"SOFT:HARD\"`: `as core cpu \
              data fsize memlock msgqueue nice nofile nproc rtprio sigpending stack`, as in \
              setrlimit(2) and systemd's `LimitNOFILE=`",
        example: Some("{ nofile = 65536, core = 0, nproc = \"512:1024\" }"),
        elsewhere: &["rlimits", "ulimits"],
        ..Key::of(&Field { place: at!(privileges.limits), form: &LIMITS })
    },
    Key {
        name: "ports",
        flag: Some(Flag {
            repeats: true,
            help: Some(
                "A port below 1024 that a worker of another user (--user) may open through the \
                 supervisor. May be repeated",
            ),
            ..Flag::value("PORT")
        }),
        help: "Ports below 1024 that a worker of another user may open",
        doc: "Ports below 1024 that a worker of another `user` may open through the supervisor \
              ([low ports](privileges.md#low-ports)). What `listen` names needs no entry",
        example: Some("[80, 443]"),
        ..Key::of(&Field { place: at!(privileges.ports), form: &PORTS })
    },
    Key {
        name: "operators",
        flag: Some(Flag::value("GROUP")),
        help: "Members of this group may command the app",
        doc: "Members of this group may use `list`, `reload`, `stop` and all other commands on the \
              app that do not change what is run, as root and the user who started it may ([who \
              may command](privileges.md#who-may-command))",
        example: Some("\"deploy\""),
        ..Key::of(&Field { place: at!(operators), form: &ACCOUNT })
    },
    Key {
        name: "observers",
        flag: Some(Flag::value("GROUP")),
        help: "Members of this group may look at the app",
        doc: "Members of this group may look (`list`, `describe`, `events`, `metrics`, `health`) \
              and not act",
        example: Some("\"monitoring\""),
        ..Key::of(&Field { place: at!(observers), form: &ACCOUNT })
    },
];

/// The names or numbers of groups.
static ACCOUNTS: Form<Vec<String>> = Form {
    repeat: extend,
    ..form(
        "string or array",
        one_or_several,
        |findings, key, value| {
            Some(findings.items(key, value).into_iter().map(|(_, group)| group).collect())
        },
        |text| Ok(vec![text.to_owned()]),
        |groups| items(groups, |group| json!(group)),
    )
};

/// Numbers of ports.
static PORTS: Form<Vec<u16>> = Form {
    repeat: extend,
    ..form(
        "integer or array",
        one_or_several,
        |findings, key, value| {
            let mut ports = Vec::new();
            for (item, text) in findings.items(key, value) {
                match within(&text, 1, u16::MAX) {
                    Ok(port) => ports.push(port),
                    Err(message) => findings.add(item.span(), format!("{key}: {message}")),
                }
            }
            Some(ports)
        },
        |text| within(text, 1, u16::MAX).map(|port| vec![port]),
        |ports| items(ports, |port| json!(port)),
    )
};

/// A file mode creation mask, in octal: 27 in decimal would be another one than was meant.
static MASK: Form<Option<u16>> = form(
    "string",
    || json!({ "anyOf": [{ "type": "string", "pattern": "^(0o)?[0-7]{1,4}$" }, { "type": "integer" }] }),
    |findings, key, value| {
        let text = match &value.value {
            Value::Integer(number) if number.radix == 8 => number.digits.clone(),
            Value::Integer(_) => {
                let message = format!("{key} must be octal: write \"027\" or 0o027");
                findings.add(value.span(), message);
                return None;
            }
            _ => findings.text(key, value)?,
        };
        findings.keep(key, value, umask(&text)).map(Some)
    },
    |text| umask(text).map(Some),
    |mask| mask.map(|mask| json!(format!("{mask:03o}"))),
);

/// A CPU priority.
static NICE: Form<Option<i8>> = form(
    "integer",
    || json!({ "type": ["integer", "string"], "minimum": -20, "maximum": 19 }),
    |findings, key, value| {
        let text = findings.text_or_integer(key, value)?;
        findings.keep(key, value, nice(&text)).map(Some)
    },
    |text| nice(text).map(Some),
    |nice| nice.map(|nice| json!(nice)),
);

fn nice(text: &str) -> Result<i8, String> {
    within(text, -20, 19)
}

/// An OOM score adjustment.
static OOM_SCORE: Form<Option<i16>> = form(
    "integer",
    || json!({ "type": ["integer", "string"], "minimum": -1000, "maximum": 1000 }),
    |findings, key, value| {
        let text = findings.text_or_integer(key, value)?;
        findings.keep(key, value, oom_score(&text)).map(Some)
    },
    |text| oom_score(text).map(Some),
    |score| score.map(|score| json!(score)),
);

fn oom_score(text: &str) -> Result<i16, String> {
    within(text, -1000, 1000)
}

/// Resource limits.
static LIMITS: Form<BTreeMap<Resource, Limit>> = Form {
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
        |limits| {
            let written = limits.iter().map(|(name, limit)| (name.to_string(), limit.to_string()));
            (!limits.is_empty()).then(|| json!(written.collect::<BTreeMap<_, _>>()))
        },
    )
};

fn read_limits(
    findings: &mut Findings,
    key: &str,
    value: &Written,
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
