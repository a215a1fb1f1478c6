//! Every option of an app in PM2's ecosystem files, and what becomes of it.
//!
//! docs/pm2.md has the same table; a test makes it from this one.

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It becomes keys of ours.
    Mapped,
    /// What it asks for is so anyway.
    NeedsNothing,
    /// It does nothing; a note says so.
    LeftOut,
    /// The file is refused: the app would not do what it must.
    Refused,
}

/// One option.
#[derive(Debug)]
pub(crate) struct PmOption {
    /// Its name in snake case. `serverPort` is `server_port`, too.
    pub(crate) name: &'static str,
    /// Its other names.
    pub(crate) aliases: &'static [&'static str],
    pub(crate) answer: Answer,
    /// What it becomes, or why it does nothing; plain text without a full stop.
    pub(crate) doc: &'static str,
    /// A value, as JSON.
    #[cfg_attr(not(test), expect(dead_code, reason = "the test of each row needs one"))]
    pub(crate) example: &'static str,
}

use Answer::{LeftOut, Mapped, NeedsNothing, Refused};

const fn row(
    name: &'static str,
    aliases: &'static [&'static str],
    answer: Answer,
    example: &'static str,
    doc: &'static str,
) -> PmOption {
    PmOption { name, aliases, answer, doc, example }
}

/// Why `log_file` does nothing beside another file.
pub(crate) const LOGS: &str = "\"supervisor logs\" prints stdout and stderr in the order of time";
const OUTPUT: &str =
    "`out_file`; without `merge_logs`, `instances` puts `-{slot}` before its extension";
const ERRORS: &str = "`error_file`, in the same way";
const LINES: &str = "lines go into the log as the app writes them";
const AGENT: &str = "it configures PM2's own agent";

/// Every option, in the order of the documentation.
pub(crate) static OPTIONS: &[PmOption] = &[
    row("name", &[], Mapped, "\"shop\"", "the app's name"),
    row(
        "script",
        &["cmd", "command", "exec"],
        Mapped,
        "\"b.js\"",
        "`command`; a relative path starts at `cwd`",
    ),
    row("cwd", &[], Mapped, "\"sub\"", "`cwd`; a relative path starts at the folder of the file"),
    row("args", &[], Mapped, "\"--port 3\"", "the end of `command`"),
    row(
        "interpreter",
        &["exec_interpreter"],
        Mapped,
        "\"python3\"",
        "the beginning of `command`; by the ending of the script where it is left out; `none`: the script itself",
    ),
    row(
        "node_args",
        &["interpreter_args"],
        Mapped,
        "[\"--stack-size=2000\"]",
        "options before the script",
    ),
    row("instances", &[], Mapped, "\"max\"", "`instances`; 0 is `\"max\"`"),
    row(
        "exec_mode",
        &[],
        NeedsNothing,
        "\"cluster\"",
        "in both modes the workers share their addresses, in any language",
    ),
    row("env", &[], Mapped, "{ \"A\": 1 }", "`env`"),
    row(
        "env_NAME",
        &[],
        Mapped,
        "{ \"A\": 1 }",
        "over `env` with `--env NAME` or `--profile NAME`",
    ),
    row("port", &[], Mapped, "3000", "the variable PORT in `env`"),
    row(
        "filter_env",
        &[],
        Refused,
        "[\"AWS_\"]",
        "the workers would get the variables that it hides; unset them before the start",
    ),
    row(
        "instance_var",
        &[],
        LeftOut,
        "\"INSTANCE\"",
        "the number of a worker is in SUPERVISOR_SLOT, and in NODE_APP_INSTANCE for Node programs",
    ),
    row(
        "increment_var",
        &[],
        Refused,
        "\"PORT\"",
        "all workers have the same variables and share one port; write an app for each port",
    ),
    row(
        "wait_ready",
        &[],
        Mapped,
        "true",
        "`wait_ready`: process.send('ready') makes a worker ready",
    ),
    row(
        "listen_timeout",
        &[],
        Mapped,
        "4000",
        "`ready_timeout` with `wait_ready` (a late worker has failed), otherwise `listen_wait`",
    ),
    row("kill_timeout", &[], Mapped, "4000", "`kill_timeout`"),
    row(
        "shutdown_with_message",
        &[],
        Mapped,
        "true",
        "`stop_message = \"shutdown\"`: a Node worker gets that message in place of SIGINT",
    ),
    row("treekill", &[], LeftOut, "false", "the whole process group of a worker is always stopped"),
    row("kill_retry_time", &[], NeedsNothing, "200", "the kernel says when a process has ended"),
    row("autorestart", &[], Mapped, "false", "`restart = \"never\"` where it is false"),
    row("autostart", &[], Mapped, "false", "`autostart`"),
    row("stop_exit_codes", &[], Mapped, "[42]", "`stop_exit_codes`"),
    row("min_uptime", &[], Mapped, "\"5s\"", "a longer `restart_window`"),
    row(
        "max_restarts",
        &[],
        Mapped,
        "7",
        "`max_restarts`, within a `restart_window` that is long enough for them; and `give_up`",
    ),
    row(
        "restart_delay",
        &[],
        Mapped,
        "3000",
        "`backoff_min` and `backoff_max`: the delay is constant",
    ),
    row(
        "exp_backoff_restart_delay",
        &[],
        Mapped,
        "50",
        "`backoff_min`: the delay doubles, up to 15 s",
    ),
    row(
        "max_memory_restart",
        &[],
        Mapped,
        "\"300M\"",
        "`max_memory`: a successor takes over first, and no request is lost",
    ),
    row(
        "cron_restart",
        &["cron"],
        Mapped,
        "\"0 3 * * *\"",
        "`cron_restart`: a rolling replacement, and no request is lost",
    ),
    row("out_file", &["out", "out_log", "output"], Mapped, "\"out.log\"", OUTPUT),
    row("error_file", &["err", "err_file", "err_log", "error"], Mapped, "\"err.log\"", ERRORS),
    row(
        "log_file",
        &["log"],
        Mapped,
        "\"all.log\"",
        "`out_file` and `error_file`, where neither is named; otherwise left out, with a note",
    ),
    row(
        "merge_logs",
        &["combine_logs"],
        NeedsNothing,
        "true",
        "all workers write into one `out_file`",
    ),
    row("disable_logs", &[], Mapped, "true", "`out_file` and `error_file` are `/dev/null`"),
    row("log_type", &[], LeftOut, "\"json\"", LINES),
    row("log_date_format", &[], Mapped, "\"YYYY\"", "`log_time_format`, with its conversions"),
    row("time", &[], Mapped, "true", "`log_time_format = \"%Y-%m-%dT%H:%M:%S:\"`"),
    row(
        "pid_file",
        &["pid"],
        Mapped,
        "\"app.pid\"",
        "`pid_file`, with `-{slot}` before its extension, as PM2 has its number there",
    ),
    row("watch", &[], Mapped, "true", "`watch`: a change reloads the app, and no request is lost"),
    row("ignore_watch", &[], Mapped, "[\"logs\"]", "`watch_ignore`, as lines of a `.gitignore`"),
    row("watch_delay", &[], Mapped, "1000", "`watch_delay`"),
    row("watch_options", &[], LeftOut, "{ \"a\": 1 }", "they configure the library that PM2 uses"),
    row("uid", &["user"], Mapped, "\"nobody\"", "`user`"),
    row("gid", &[], Mapped, "\"nogroup\"", "`group`"),
    row("username", &[], LeftOut, "\"me\"", "write \"uid\" for the user that the workers run as"),
    row("namespace", &[], Mapped, "\"shop\"", "`namespace`; commands call it `shop:`"),
    row("name_prefix", &[], LeftOut, "\"x-\"", "the name of an app is its \"name\""),
    row(
        "append_env_to_name",
        &[],
        Mapped,
        "true",
        "`-NAME` at the end of the name, with `--env NAME`",
    ),
    row(
        "force",
        &[],
        LeftOut,
        "true",
        "an app that runs is not started again: use \"supervisor reload\"",
    ),
    row("write", &[], LeftOut, "true", "the file is never written"),
    row("execute_command", &[], LeftOut, "true", "use \"script\""),
    row(
        "post_update",
        &[],
        LeftOut,
        "[\"npm ci\"]",
        "there is no update command: run these before \"supervisor reload\"",
    ),
    row(
        "source_map_support",
        &[],
        LeftOut,
        "true",
        "write --enable-source-maps into \"node_args\"",
    ),
    row("disable_source_map_support", &[], NeedsNothing, "true", "source maps are not loaded"),
    row("vizion", &["versioning"], NeedsNothing, "true", "nothing looks into the repository"),
    row("windows_hide", &[], NeedsNothing, "true", "there are no windows"),
    row("install_url", &[], LeftOut, "\"x\"", "nothing is installed"),
    row("pmx", &[], NeedsNothing, "true", AGENT),
    row("automation", &[], NeedsNothing, "true", AGENT),
    row("trace", &[], LeftOut, "true", AGENT),
    row("disable_trace", &[], NeedsNothing, "true", AGENT),
    row("v8", &[], LeftOut, "true", AGENT),
    row(
        "event_loop_inspector",
        &[],
        NeedsNothing,
        "true",
        "the delay of the event loop is measured (\"supervisor metrics\")",
    ),
    row("deep_monitoring", &[], LeftOut, "true", AGENT),
    row("io", &[], LeftOut, "{ \"a\": 1 }", AGENT),
];

/// The option of this name, in snake or camel case, or of this alias.
pub(crate) fn find(key: &str) -> Option<&'static PmOption> {
    let mut plain = String::new();
    for letter in key.chars() {
        if letter.is_ascii_uppercase() {
            plain.push('_');
        }
        plain.push(letter.to_ascii_lowercase());
    }
    OPTIONS.iter().find(|option| option.name == plain || option.aliases.contains(&plain.as_str()))
}

/// The name of the option that `key` is a name of.
pub(crate) fn canonical(key: &str) -> Option<&'static str> {
    find(key).map(|option| option.name)
}

/// Why a part of the file beside its apps does nothing.
pub(crate) fn section(key: &str) -> &'static str {
    match key {
        "deploy" => "deploy with your own tool, then run \"supervisor reload\"",
        _ => "\"supervisor\" serves no files: start a web server as an app",
    }
}
