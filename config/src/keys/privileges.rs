//! What workers may do and use, and who may command the app.

use super::forms::{ACCOUNT, ACCOUNTS, BOOLEAN, LIMITS, MASK, NICE, OOM_SCORE};
use super::kind::{Field, at};
use super::{Flag, Key, Section};

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
        help: "Who dies when memory runs out: -1000 (never) to 1000 (first)",
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
