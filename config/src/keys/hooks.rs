//! Commands that run at moments of a worker's life.

use super::forms::DURATION;
use super::key::{Flag, Key, Section};
use super::kind::{Field, at};
use super::run::COMMAND;

pub(super) const SECTION: Section =
    Section { name: "hooks", title: "Commands at moments of a worker's life", keys: KEYS };

static KEYS: &[Key] = &[
    Key {
        name: "pre_start",
        flag: Some(Flag::value("COMMAND")),
        help: "A command before each worker's program; if it fails, so does",
        doc: "A command that runs before the program of each worker ([hooks](hooks.md)), written \
              as `command`. If it fails, the start of the worker has failed, and a reload is \
              rolled back",
        example: Some("\"./prepare.sh\""),
        elsewhere: &["exec_start_pre", "on_starting", "pre_fork"],
        ..Key::of(&Field { place: at!(hooks.pre_start), form: &COMMAND })
    },
    Key {
        name: "post_ready",
        flag: Some(Flag::value("COMMAND")),
        help: "A command after each worker has become ready",
        doc: "A command that runs after a worker has become ready. If it fails, the supervisor \
              warns",
        example: Some("\"./register.sh\""),
        elsewhere: &["exec_start_post", "post_start", "when_ready"],
        ..Key::of(&Field { place: at!(hooks.post_ready), form: &COMMAND })
    },
    Key {
        name: "pre_stop",
        flag: Some(Flag::value("COMMAND")),
        help: "A command before each worker drains and is told to stop",
        doc: "A command that runs before a worker that was ready drains and is told to stop. If it \
              fails, the supervisor warns and goes on",
        example: Some("\"./deregister.sh\""),
        elsewhere: &["exec_stop"],
        ..Key::of(&Field { place: at!(hooks.pre_stop), form: &COMMAND })
    },
    Key {
        name: "post_stop",
        flag: Some(Flag::value("COMMAND")),
        help: "A command after each worker has ended",
        doc: "A command that runs after a worker has ended, however it did. If it fails, the \
              supervisor warns",
        example: Some("\"./clean-up.sh\""),
        elsewhere: &["exec_stop_post", "worker_exit", "child_exit"],
        ..Key::of(&Field { place: at!(hooks.post_stop), form: &COMMAND })
    },
    Key {
        name: "on_crash",
        flag: Some(Flag::value("COMMAND")),
        help: "A command after each worker that failed",
        doc: "A command that runs after a worker has failed: it crashed, hung, did not become \
              ready, or could not be started. If the command fails, the supervisor warns",
        example: Some("\"./alert.sh\""),
        elsewhere: &["on_failure", "on_exit"],
        ..Key::of(&Field { place: at!(hooks.on_crash), form: &COMMAND })
    },
    Key {
        name: "on_rollback",
        flag: Some(Flag::value("COMMAND")),
        help: "A command when a reload is turned round",
        doc: "A command that runs once when a reload fails and is rolled back: the one of the \
              configuration that serves. If it fails, the supervisor warns",
        example: Some("\"./alert.sh\""),
        ..Key::of(&Field { place: at!(hooks.on_rollback), form: &COMMAND })
    },
    Key {
        name: "observe_check",
        flag: Some(Flag::value("COMMAND")),
        help: "A command that judges the first new worker of a reload",
        doc: "A command that runs when the first new worker of a reload has had connections for \
              `observe`. The other slots wait for it. If it fails, the reload is rolled back",
        example: Some("\"./error-rate.sh\""),
        elsewhere: &["analysis", "canary_check"],
        ..Key::of(&Field { place: at!(hooks.observe_check), form: &COMMAND })
    },
    Key {
        name: "hook_timeout",
        flag: Some(Flag::value("DURATION")),
        help: "How long a hook may take before it is killed",
        doc: "How long a hook may take. Then it is killed with its process group, and has failed",
        ..Key::of(&Field { place: at!(hooks.timeout), form: &DURATION })
    },
];
