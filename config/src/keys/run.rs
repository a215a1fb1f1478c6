//! What runs, where, how often and as whom.

use super::forms::{ACCOUNT, COMMAND, ENVIRONMENT, FOLDER, INSTANCES, NAME, SCRIPT};
use super::kind::{Field, at};
use super::{Change, Flag, InPool, Key, Section};

pub(super) const SECTION: Section = Section { name: "what runs", title: "What runs", keys: KEYS };

const AS_OF_AN_APP: &str = "As of an app";

static KEYS: &[Key] = &[
    Key {
        name: "name",
        absent: "the script, module or program of the command",
        flag: Some(Flag { short: Some('n'), ..Flag::value("NAME") }),
        help: "The app's name",
        doc: "What the app is called: up to 64 letters, digits, `.`, `_` and `-`, not beginning \
              with a dot, and not `all`. In an `[app.NAME]` table the table's name is the app's, \
              and this key is refused",
        change: Change::Start,
        ..Key::of(&Field { place: at!(name), form: &NAME })
    },
    Key {
        name: "command",
        help: "The program and its arguments; any server in any language",
        example: Some("\"python3 -m http.server 8000\""),
        doc: "The program and its arguments. A string is split as a shell does it, but nothing is \
              expanded; words such as `\\|` or `&&` need `[\"sh\", \"-c\", \"...\"]`. `${fd:NAME}` \
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
        name: "instances",
        unit: Some("workers"),
        flag: Some(Flag {
            short: Some('i'),
            signed: true,
            shown: Some(|spec| vec![spec.instances.to_string()]),
            ..Flag::value("N")
        }),
        help: "How many workers: 4, max (one per CPU), -1 (max less 1), 50%",
        doc: "How many workers, see [below](#how-many); at most 1024. `scale` changes it without a \
              reload",
        example: Some("2"),
        elsewhere: &["count", "processes", "replicas", "scale", "workers"],
        pool: Some(InPool { absent: "`1`", doc: AS_OF_AN_APP }),
        ..Key::of(&Field { place: at!(instances), form: &INSTANCES })
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
