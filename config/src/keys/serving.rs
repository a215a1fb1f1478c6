//! Which addresses are served, and how.

use serde_json::json;

use super::forms::{BOOLEAN, choice, extend, form, items, one_or_several, string_or_integer, told};
use super::key::{Change, Flag, Key, Section};
use super::kind::{Field, Form, at};
use super::shared;
use crate::address;
use crate::raw::{Findings, Written, in_order};
use crate::spec::{AddressPattern, Balance, Engine, IoUring, ListenSpec};
use crate::tree::Value;

pub(super) const SECTION: Section = Section { name: "serving", title: "Serving", keys: KEYS };

static BALANCE: Form<Balance> = choice();
static ENGINE: Form<Engine> = choice();
static IO_URING: Form<IoUring> = choice();

static KEYS: &[Key] = &[
    Key {
        name: "listen",
        flag: Some(Flag {
            short: Some('l'),
            repeats: true,
            help: Some(
                "Open this address and pass it to the workers (LISTEN_FDS): PORT, IP:PORT, \
                 [IPV6]:PORT or unix:/PATH. Not needed for programs that listen by themselves. May \
                 be repeated",
            ),
            shown: Some(|spec| spec.listen.iter().map(|l| l.address.to_string()).collect()),
            ..Flag::value("[NAME=]ADDR")
        }),
        help: "Addresses to open and pass to the workers by LISTEN_FDS",
        doc: "Addresses that the supervisor opens before any worker starts, and that each worker \
              inherits by LISTEN_FDS. A program that opens its own address needs none: its `bind` \
              is intercepted",
        example: Some("[\"web=127.0.0.1:8000\"]"),
        elsewhere: &["address", "bind", "port"],
        ..Key::of(&Field { place: at!(listen), form: &LISTEN })
    },
    Key {
        name: "balance",
        flag: Some(Flag::value("HOW")),
        help: "Which worker gets a connection",
        doc: "Which worker gets a connection: `\"round-robin\"` (each ready worker in turn), \
              `\"sticky\"` (the same client, the same worker), `\"least-connections\"`, `\"hash\"` \
              (evenly, by the kernel) or `\"shared\"` (one socket, the worker that accepts first)",
        elsewhere: &["strategy"],
        ..Key::of(&Field { place: at!(balance), form: &BALANCE })
    },
    Key {
        name: "engine",
        flag: Some(Flag::value("ENGINE")),
        help: "What distributes connections to the workers",
        doc: "What distributes connections to the workers: `\"kernel\"` (no connection passes through the \
              supervisor), `\"primary\"` (it accepts each connection and hands it over) or \
              `\"auto\"` (kernel where it can)",
        ..Key::of(&Field { place: at!(engine), form: &ENGINE })
    },
    Key {
        name: "proxy_protocol",
        flag: Some(Flag::SWITCH),
        help: "With sticky: go by the client that a PROXY header names",
        doc: "With `balance = \"sticky\"`, behind a proxy that begins each connection with a PROXY \
              header: go by the client that the header names. Needs a Node program ([Behind a \
              proxy](balance.md#behind-a-proxy))",
        ..Key::of(&Field { place: at!(proxy_protocol), form: &BOOLEAN })
    },
    Key {
        name: "intercept",
        flag: Some(Flag {
            negated: true,
            help: Some("Leave bind and listen of the workers alone"),
            ..Flag::SWITCH
        }),
        help: "Whether bind and listen of the workers are intercepted",
        doc: "Whether the supervisor answers `bind` and `listen` of the workers, so that they can \
              all serve one address",
        ..Key::of(&Field { place: at!(intercept), form: &BOOLEAN })
    },
    Key {
        name: "node",
        flag: Some(Flag {
            negated: true,
            help: Some("Do not speak Node's cluster protocol with Node programs"),
            ..Flag::SWITCH
        }),
        help: "Whether Node programs are spoken to as by Node's cluster",
        doc: "Whether the supervisor speaks the protocol of Node's own `cluster` module with Node \
              programs (`node FILE`, [Node programs](node.md))",
        ..Key::of(&Field { place: at!(node), form: &BOOLEAN })
    },
    Key {
        name: "node_drain",
        flag: Some(Flag {
            negated: true,
            help: Some("Do not have Node programs close their kept connections when they drain"),
            ..Flag::SWITCH
        }),
        help: "Whether draining Node programs close kept connections",
        doc: "Whether such programs end each kept connection with its next response when they \
              drain, without a change in them ([reload](reload.md#kept-connections))",
        ..Key::of(&Field { place: at!(node_drain), form: &BOOLEAN })
    },
    Key {
        name: "node_metrics",
        flag: Some(Flag {
            negated: true,
            help: Some("Do not measure the event loop and the heap of Node programs"),
            ..Flag::SWITCH
        }),
        help: "Whether event loop and heap of Node programs are measured",
        doc: "Whether the delay of the event loop and the heap of such programs are measured, \
              without a change in them ([metrics](bus.md#node-programs))",
        ..Key::of(&Field { place: at!(node_metrics), form: &BOOLEAN })
    },
    Key {
        name: "serve",
        flag: Some(Flag {
            repeats: true,
            help: Some(
                "A worker is ready when it listens there, not where its predecessor did: :PORT, \
                 IP:* or IP:PORT. May be repeated",
            ),
            ..Flag::value("ADDR")
        }),
        help: "Addresses on which a worker must listen to be ready",
        doc: "Addresses on which every worker must listen to be ready, from the first on: \
              `\":8000\"` (that port of any address), `\"127.0.0.1:8000\"`. Without this key a \
              worker must listen where its predecessor did ([contracts](contracts.md#when-is-a-\
              worker-ready))",
        example: Some("\":8000\""),
        ..Key::of(&Field { place: at!(serve), form: &PATTERNS })
    },
    Key {
        name: "passthrough",
        flag: Some(Flag {
            repeats: true,
            help: Some(
                "Leave this address alone when a worker binds it: :PORT, IP:* or IP:PORT. May be \
                 repeated",
            ),
            ..Flag::value("ADDR")
        }),
        help: "Addresses that interception leaves alone",
        doc: "Addresses that interception leaves alone: `\":9229\"` (that port of any address), \
              `\"127.0.0.1:*\"` (any port of that address), `\"127.0.0.1:9229\"`",
        example: Some("\":9229\""),
        ..Key::of(&Field { place: at!(passthrough), form: &PATTERNS })
    },
    Key {
        name: "io_uring",
        flag: Some(Flag::value("WHETHER")),
        help: "Whether the workers may use io_uring",
        doc: "Whether the workers may use io_uring. A program that binds and listens by io_uring \
              passes interception by, so its workers cannot share an address, and a reload is \
              refused. With `\"deny\"`, `io_uring_setup` fails with ENOSYS; most programs and \
              runtimes then use the usual system calls",
        ..Key::of(&Field { place: at!(io_uring), form: &IO_URING })
    },
    Key {
        name: "shared",
        help: "Values for all workers on the bus",
        doc: "Values for all workers on the [bus](bus.md#shared-values): a worker gets them when it \
              joins, and again when a reload has changed them. Its table `limits` has \
              [limits](bus.md#limits) that the clients obey",
        example: Some("{ greeting = \"hello\" }"),
        change: Change::Config,
        redact: Some(|spec, _| spec.shared = None),
        ..Key::of(&Field { place: at!(shared), form: &SHARED })
    },
];

/// Addresses to listen on.
static LISTEN: Form<Vec<ListenSpec>> = Form {
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
        |listen| {
            let named = |listen: &ListenSpec| format!("{}={}", listen.name, listen.address);
            items(listen, |listen| json!(named(listen)))
        },
    )
};

/// An address, an array of addresses, or a table of names and addresses.
fn read_listen(findings: &mut Findings, key: &str, value: &Written) -> Vec<ListenSpec> {
    let read: Vec<_> = if let Value::Table(table) = &value.value {
        in_order(table)
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
static PATTERNS: Form<Vec<AddressPattern>> = Form {
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
        |patterns| items(patterns, |pattern| json!(pattern.to_string())),
    )
};

/// Values for all workers, as JSON text.
static SHARED: Form<Option<String>> = form(
    "table",
    || json!({ "type": "object", "properties": { "limits": { "$ref": "#/$defs/limits" } } }),
    |findings, key, value| shared::read(key, value, findings).map(Some),
    |text| Ok(Some(text.to_owned())),
    |shared| serde_json::from_str(shared.as_deref()?).ok(),
);
