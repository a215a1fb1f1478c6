//! What runs, where, how often and as whom.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use super::forms::{
    ACCOUNT, BOOLEAN, DURATION, FILE_PATH, extend, form, items, nothing, optional_text, string,
    told,
};
use super::key::{Change, Flag, InPool, Key, Section};
use super::kind::{Field, Form, at};
use crate::raw::{Findings, Written, in_order};
use crate::spec::{Dependency, Instances};
use crate::tree::{Table, Value};
use crate::words::{self, Word};
use crate::{command, env_file, environment, instances, name};

pub(super) const SECTION: Section = Section { name: "what runs", title: "What runs", keys: KEYS };

const AS_OF_AN_APP: &str = "As of an app";

static KEYS: &[Key] = &[
    Key {
        name: "name",
        absent: "the script, module or program of the command",
        flag: Some(Flag { short: Some('n'), ..Flag::value("NAME") }),
        help: "The app's name",
        doc: "What the app is called: up to 64 letters, digits, `.`, `_` and `-`, not beginning \
              with a dot or a hyphen, and not `all`. In an `[app.NAME]` table the table's name is the app's, \
              and this key is refused",
        change: Change::Start,
        ..Key::of(&Field { place: at!(name), form: &NAME })
    },
    Key {
        name: "command",
        help: "The program and its arguments; any server in any language",
        example: Some("\"python3 -m http.server 8000\""),
        doc: "The program and its arguments. A string is split as a shell does it, and a variable stays \
              one word; words such as `\\|` or `&&` need `[\"sh\", \"-c\", \"...\"]`. `${fd:NAME}` \
              becomes the number of the inherited socket of that name",
        elsewhere: &["args", "cmd", "exec", "run"],
        pool: Some(InPool { absent: "", doc: "As of an app; a pool needs this or a `script`" }),
        ..Key::of(&Field { place: at!(command), form: &COMMAND })
    },
    Key {
        name: "script",
        help: "A file to run with its interpreter, instead of a command",
        example: Some("\"server.js\""),
        doc: "A file to run instead of a `command`: `.js .mjs .cjs .ts` with node, `.py` with \
              python3, `.rb` with ruby, `.php` with php, `.sh` with sh (or bash, if its first line \
              asks for it); any other file must be executable",
        elsewhere: &["file"],
        pool: Some(InPool { absent: "", doc: AS_OF_AN_APP }),
        stands_for: Some("command"),
        ..Key::of(&Field { place: at!(command), form: &SCRIPT })
    },
    Key {
        name: "cwd",
        absent: "the folder of the file",
        flag: Some(Flag {
            help: Some("The folder that workers start in. Default: this one"),
            shown: Some(|spec| vec![spec.cwd.display().to_string()]),
            ..Flag::value("DIR")
        }),
        help: "The folder that workers start in",
        doc: "The folder that workers start in",
        example: Some("\".\""),
        elsewhere: &["directory", "workdir", "working_directory"],
        pool: Some(InPool { absent: "the app's", doc: AS_OF_AN_APP }),
        ..Key::of(&Field { place: at!(cwd), form: &FOLDER })
    },
    Key {
        name: "env",
        flag: Some(Flag {
            short: Some('e'),
            repeats: true,
            help: Some("Set a variable in the environment of the workers. May be repeated"),
            // A value may be a secret.
            shown: Some(|spec| spec.env.keys().cloned().collect()),
            ..Flag::value("KEY=VALUE")
        }),
        help: "Variables for the environment of the workers",
        doc: "Added to the environment. Numbers and booleans become text. The variables that the \
              supervisor sets for each worker (`SUPERVISOR_...`, `LISTEN_...`, `NOTIFY_SOCKET`, \
              `NODE_...`) are refused",
        example: Some("{ NODE_ENV = \"production\" }"),
        elsewhere: &["environment"],
        redact: Some(|spec, hidden| {
            spec.env.values_mut().for_each(|value| hidden.clone_into(value));
        }),
        pool: Some(InPool { absent: "none", doc: "Added to the app's, and goes before it" }),
        ..Key::of(&Field { place: at!(env), form: &ENVIRONMENT })
    },
    Key {
        name: "env_file",
        help: "Files of KEY=VALUE lines for the environment",
        doc: "A file, or several, with a line `KEY=VALUE` for each variable, as dotenv reads it; a \
              later file goes before an earlier one, and `env` before all of them. A missing file is \
              a mistake",
        example: Some("\".env\""),
        elsewhere: &["dotenv", "env_files", "environment_file"],
        pool: Some(InPool { absent: "none", doc: "Added to the app's variables" }),
        stands_for: Some("env"),
        ..Key::of(&Field { place: at!(env), form: &ENVIRONMENT_FILES })
    },
    Key {
        name: "instances",
        unit: Some("workers"),
        flag: Some(Flag {
            short: Some('i'),
            signed: true,
            shown: Some(|spec| vec![spec.instances.to_string()]),
            ..Flag::value("N")
        }),
        help: "How many workers: 4, max (one per CPU), -1, 50%, 2..8 (by load)",
        doc: "How many workers, see [below](#how-many); at most 1024. `\"2..8\"` or `{ min = 2, max = \
              8 }`: as the load asks for ([autoscale](autoscale.md)). `scale` changes it without a \
              reload",
        example: Some("2"),
        change: Change::Scale,
        elsewhere: &["count", "processes", "replicas", "scale", "workers"],
        pool: Some(InPool { absent: "`1`", doc: AS_OF_AN_APP }),
        ..Key::of(&Field { place: at!(instances), form: &INSTANCES })
    },
    Key {
        name: "scale_cooldown",
        flag: Some(Flag::value("DURATION")),
        help: "With -i MIN..MAX: how long the load is low before workers go",
        doc: "With a range of `instances`: how long the load must be low before there are fewer \
              workers, and the shortest time between two such steps ([autoscale](autoscale.md))",
        change: Change::Nothing,
        ..Key::of(&Field { place: at!(scale_cooldown), form: &DURATION })
    },
    Key {
        name: "autostart",
        help: "false: start FILE leaves the app out unless --only names it",
        doc: "`false`: `start FILE` and `reload FILE` do not start the app, unless `--only` names it",
        example: Some("false"),
        change: Change::Nothing,
        ..Key::of(&Field { place: at!(autostart), form: &BOOLEAN })
    },
    Key {
        name: "pid_file",
        flag: Some(Flag::value("PATH")),
        help: "A file with the pids of the workers; {slot}: a file for each",
        doc: "A file in which other programs find the pids of the workers, one a line, the lowest \
              slot first. With `{slot}` in its name, each worker has a file of its own. A file goes \
              when its last worker has ended. While a worker is replaced, the pid is that of its \
              successor. A file that holds anything else is left alone",
        example: Some("\"run/web-{slot}.pid\""),
        elsewhere: &["pidfile"],
        ..Key::of(&Field { place: at!(pid_file), form: &FILE_PATH })
    },
    Key {
        name: "depends_on",
        help: "Apps that are started before this one",
        doc: "Apps of the same files that `start`, `apply` and `resurrect` start before this one: a \
              name, an array of names, or a table with what to wait for: `\"ready\"` (the default: \
              if the other app does not become ready, this one is not started), `\"started\"` \
              (its start was tried) or `\"completed\"` (its work is done) ([dependencies](apply.md#dependencies))",
        example: Some("[\"db\"]"),
        elsewhere: &["after", "requires", "depends"],
        change: Change::Nothing,
        ..Key::of(&Field { place: at!(depends_on), form: &DEPENDENCIES })
    },
    Key {
        name: "namespace",
        flag: Some(Flag::value("NAME")),
        help: "A group of apps, which commands call NAME:",
        doc: "A group that the app is in. Where a command takes a name, `NAMESPACE:` stands for \
              all apps of that group",
        example: Some("\"shop\""),
        change: Change::Nothing,
        ..Key::of(&Field { place: at!(namespace), form: &NAMESPACE })
    },
    Key {
        name: "user",
        absent: "the user who starts it",
        flag: Some(Flag::value("USER")),
        help: "Run the workers as this user; only root may",
        doc: "Run the workers as this user. Only root may",
        example: Some("\"www-data\""),
        pool: Some(InPool { absent: "the app's", doc: AS_OF_AN_APP }),
        ..Key::of(&Field { place: at!(user), form: &ACCOUNT })
    },
    Key {
        name: "group",
        absent: "the user's own",
        flag: Some(Flag::value("GROUP")),
        help: "Run the workers with this group; only root may",
        doc: "Run the workers with this group. Only root may",
        example: Some("\"www-data\""),
        pool: Some(InPool {
            absent: "the app's",
            doc: "As of an app. In a pool that has a `user` of its own the default is that user's \
                  group",
        }),
        ..Key::of(&Field { place: at!(group), form: &ACCOUNT })
    },
];

/// The name of an app.
static NAME: Form<String> = form(
    "string",
    || json!({ "type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$" }),
    |findings, key, value| {
        let text = findings.text(key, value)?;
        let refused = name::check(&text).map_err(|message| findings.add(value.span(), message));
        refused.is_ok().then_some(text)
    },
    // The plan of `start` checks it: it knows where the name came from.
    |text| Ok(text.to_owned()),
    |name| (!name.is_empty()).then(|| json!(name)),
);

/// The name of a group of apps.
static NAMESPACE: Form<Option<String>> = optional_text!(namespace);

fn namespace(text: &str) -> Result<Option<String>, String> {
    name::part(text).map(|()| Some(text.to_owned()))
}

/// Other apps, and what to wait for.
static DEPENDENCIES: Form<BTreeMap<String, Dependency>> = form(
    "string, array or table",
    || {
        let words: Vec<&str> = Dependency::WORDS.iter().map(|(word, ..)| *word).collect();
        json!({ "anyOf": [
            string(),
            { "type": "array", "items": string() },
            { "type": "object", "additionalProperties": { "enum": words } },
        ] })
    },
    |findings, key, value| {
        if let Value::Table(table) = &value.value {
            let each = in_order(table).filter_map(|(name, _, value)| {
                let word = findings.word(&format!("{key}.{name}"), value)?;
                Some((name.to_owned(), word))
            });
            return Some(each.collect());
        }
        let names = match &value.value {
            Value::Text(text) => vec![text.text.clone()],
            _ => findings.texts(key, value)?,
        };
        Some(names.into_iter().map(|name| (name, Dependency::Ready)).collect())
    },
    |text| Ok([(text.to_owned(), Dependency::Ready)].into()),
    |apps| {
        if apps.values().all(|wait| *wait == Dependency::Ready) {
            let names: Vec<&String> = apps.keys().collect();
            return items(&names, |name| json!(name));
        }
        let words = apps.iter().map(|(name, wait)| (name.clone(), words::word(*wait)));
        Some(json!(words.collect::<BTreeMap<_, _>>()))
    },
);

/// A path that starts at the folder of the file.
static FOLDER: Form<PathBuf> = form(
    "string",
    string,
    |findings, key, value| findings.path(key, value),
    |text| Ok(PathBuf::from(text)),
    |path| (!path.as_os_str().is_empty()).then(|| json!(path.to_string_lossy())),
);

/// A program and its arguments.
pub(super) static COMMAND: Form<Vec<String>> = form(
    "string or array",
    || json!({ "anyOf": [string(), { "type": "array", "items": string(), "minItems": 1 }] }),
    read_command,
    |text| told(command::split(text)),
    |words| (!words.is_empty()).then(|| json!(words)),
);

fn read_command(findings: &mut Findings, key: &str, value: &Written) -> Option<Vec<String>> {
    let words = match &value.value {
        Value::Text(line) => {
            let words = findings.keep(key, value, command::split(&line.text))?;
            expand_words(findings, words, value)
        }
        Value::List(_) => findings.texts(key, value)?,
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

/// Puts the values of variables into the words of a command line: each stays one word.
fn expand_words(findings: &mut Findings, words: Vec<String>, value: &Written) -> Vec<String> {
    let expanded = |word: String| findings.expanded(&word, &|_| value.span()).unwrap_or(word);
    words.into_iter().map(expanded).collect()
}

/// A file that becomes a command.
static SCRIPT: Form<Vec<String>> = form(
    "string",
    string,
    |findings, key, value| {
        let path = findings.path(key, value)?;
        findings.keep(key, value, command::for_file(&path))
    },
    |text| told(command::for_file(text.as_ref())),
    nothing,
);

/// Variables and their values.
static ENVIRONMENT: Form<BTreeMap<String, String>> = Form {
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
        |env| (!env.is_empty()).then(|| json!(env)),
    )
};

/// Files of variables and their values.
static ENVIRONMENT_FILES: Form<BTreeMap<String, String>> = Form {
    over: extend,
    ..form(
        "string or array",
        || json!({ "anyOf": [string(), { "type": "array", "items": string() }] }),
        |findings, key, value| {
            let files: Vec<&Written> = match &value.value {
                Value::List(items) => items.iter().collect(),
                _ => vec![value],
            };
            let mut env = BTreeMap::new();
            for file in files {
                let path = findings.path(key, file)?;
                env.extend(findings.keep(key, file, env_file::load(&path))?);
            }
            Some(env)
        },
        |text| env_file::load(text.as_ref()),
        nothing,
    )
};

/// How many workers.
static INSTANCES: Form<Instances> = form(
    "integer, string or table",
    || {
        let limit =
            || json!({ "type": "integer", "minimum": 1, "maximum": instances::MAX_WORKERS });
        json!({ "anyOf": [
            { "type": "integer", "maximum": instances::MAX_WORKERS },
            { "type": "string", "pattern": "^(max|-?[0-9]+|[0-9]+%|[0-9]+\\.\\.[0-9]+)$" },
            {
                "type": "object",
                "properties": { "min": limit(), "max": limit() },
                "required": ["min", "max"],
                "additionalProperties": false,
            },
        ] })
    },
    |findings, key, value| {
        if let Value::Table(table) = &value.value {
            let Some(text) = range(table) else {
                let expected = "expected two numbers: { min = 2, max = 8 }";
                findings.add(value.span(), expected.to_owned());
                return None;
            };
            return findings.keep(key, value, text.parse());
        }
        let text = findings.text_or_integer(key, value)?;
        findings.keep(key, value, text.parse())
    },
    |text| told(text.parse()),
    |instances| match instances {
        Instances::Count(count) => Some(json!(count)),
        other => Some(json!(other.to_string())),
    },
);

/// `2..8`, of a table with just these two numbers.
fn range(table: &Table) -> Option<String> {
    let number = |name: &str| {
        let entry = table.entries.iter().find(|entry| entry.key == name)?;
        match &entry.value.value {
            Value::Integer(number) if number.radix == 10 => Some(number.digits.as_str()),
            _ => None,
        }
    };
    (table.entries.len() == 2).then(|| Some(format!("{}..{}", number("min")?, number("max")?)))?
}
