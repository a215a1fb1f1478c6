//! Which files are watched, so that a change of one reloads the app.

use std::path::PathBuf;

use serde_json::json;

use super::forms::{DURATION, extend, form, items, string};
use super::key::{Change, Flag, Key, Section};
use super::kind::{Field, Form, at};
use crate::raw::{Findings, Written};
use crate::tree::Value;

pub(super) const SECTION: Section =
    Section { name: "watch", title: "Reloads when files change", keys: KEYS };

static KEYS: &[Key] = &[
    Key {
        name: "watch",
        flag: Some(Flag {
            repeats: true,
            without_value: Some("true"),
            help: Some("Reload when a file changes, here or in PATH. May be repeated"),
            ..Flag::value("PATH")
        }),
        help: "Reload when a file changes: true, or folders and files",
        doc: "Which files are watched: a change of one reloads the app \
              ([development](development.md)). `true`: the folder of the app (`cwd`). A path or an \
              array of paths, which start there: these folders and files. `.gitignore` files hold; \
              `node_modules`, hidden files and folders, caches and the app's logs are left out",
        example: Some("true"),
        elsewhere: &["watch_paths", "reload_on_change"],
        change: Change::Nothing,
        ..Key::of(&Field { place: at!(watch.paths), form: &PATHS })
    },
    Key {
        name: "watch_ignore",
        flag: Some(Flag {
            repeats: true,
            help: Some("Leave these files out, as .gitignore has it. May be repeated"),
            ..Flag::value("PATTERN")
        }),
        help: "What watch leaves out, as lines of a .gitignore",
        doc: "What `watch` leaves out besides: a pattern or an array of patterns, as lines of a \
              `.gitignore` in the folder of the app have them: `\"uploads/\"`, `\"*.json\"`, \
              `\"!keep.json\"`",
        example: Some("[\"uploads/\"]"),
        elsewhere: &["ignore_watch"],
        change: Change::Nothing,
        ..Key::of(&Field { place: at!(watch.ignore), form: &PATTERNS })
    },
    Key {
        name: "watch_delay",
        flag: Some(Flag::value("DURATION")),
        help: "How long no file must change before the reload begins",
        doc: "How long no watched file must have changed before the reload begins. Files that \
              change all the time delay it by at most ten times as long",
        change: Change::Nothing,
        ..Key::of(&Field { place: at!(watch.delay), form: &DURATION })
    },
];

/// `true`, `false`, a path or several.
static PATHS: Form<Option<Vec<PathBuf>>> = Form {
    repeat: |paths, more| match (paths, more) {
        (Some(paths), Some(more)) => paths.extend(more),
        (paths, more) => *paths = more,
    },
    ..form(
        "boolean, string or array",
        || {
            json!({ "anyOf": [
            { "type": "boolean" }, string(), { "type": "array", "items": string() },
        ] })
        },
        |findings, key, value| match &value.value {
            Value::Text(text) => findings.keep(key, value, paths(&text.text)),
            Value::List(_) => {
                let texts = findings.texts(key, value)?;
                Some(Some(texts.into_iter().map(PathBuf::from).collect()))
            }
            _ => findings.boolean(key, value).map(|watches| watches.then(Vec::new)),
        },
        paths,
        |paths| match paths.as_deref() {
            None => None,
            Some([]) => Some(json!(true)),
            Some(paths) => Some(json!(paths)),
        },
    )
};

fn paths(text: &str) -> Result<Option<Vec<PathBuf>>, String> {
    match text {
        "" => Err("a path is empty".to_owned()),
        "true" => Ok(Some(Vec::new())),
        "false" => Ok(None),
        path => Ok(Some(vec![PathBuf::from(path)])),
    }
}

/// Lines of a `.gitignore`.
static PATTERNS: Form<Vec<String>> = Form {
    repeat: extend,
    ..form(
        "string or array",
        || json!({ "anyOf": [string(), { "type": "array", "items": string() }] }),
        |findings: &mut Findings, key, value: &Written| match &value.value {
            Value::Text(text) => Some(vec![text.text.clone()]),
            _ => findings.texts(key, value),
        },
        |text| Ok(vec![text.to_owned()]),
        |patterns| items(patterns, |pattern| json!(pattern)),
    )
};
