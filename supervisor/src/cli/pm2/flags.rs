//! The flags of PM2's command line, and what each is here.

/// A flag.
#[derive(Debug)]
pub(super) struct Flag {
    /// As PM2 spells it, with its dashes.
    pub(super) names: &'static [&'static str],
    pub(super) value: Value,
    pub(super) here: Here,
}

/// Whether a flag has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    None,
    One,
    /// The next argument, unless that begins with a dash.
    Maybe,
    /// All arguments up to the next one that begins with a dash.
    Several,
}

/// What becomes of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    /// The option of PM2's files of this name, with the value of the flag.
    Option(&'static str),
    /// The same, where the option is off.
    Off(&'static str),
    /// The translation of some verbs reads it by its first name.
    Read,
    /// It changes only how PM2 prints, or configures PM2's own agent.
    Nothing,
    /// The command fails, for this reason.
    Refused(&'static str),
}

use Here::{Nothing, Off, Option as Opt, Read, Refused};
use Value::{Maybe, None as No, One, Several};

const fn flag(names: &'static [&'static str], value: Value, here: Here) -> Flag {
    Flag { names, value, here }
}

/// All flags that have a meaning outside PM2's modules and service.
pub(super) const FLAGS: &[Flag] = &[
    flag(&["--name", "-n"], One, Opt("name")),
    flag(&["--namespace"], One, Opt("namespace")),
    flag(&["--cwd"], One, Opt("cwd")),
    flag(&["--instances", "-i"], One, Opt("instances")),
    flag(&["--interpreter"], One, Opt("interpreter")),
    flag(&["--node-args", "--interpreter-args"], One, Opt("node_args")),
    flag(&["--output", "-o"], One, Opt("out_file")),
    flag(&["--error", "-e"], One, Opt("error_file")),
    flag(&["--log", "-l"], Maybe, Opt("log_file")),
    flag(&["--log-type"], One, Opt("log_type")),
    flag(&["--log-date-format"], One, Opt("log_date_format")),
    flag(&["--time"], No, Opt("time")),
    flag(&["--merge-logs"], No, Opt("merge_logs")),
    flag(&["--disable-logs"], No, Opt("disable_logs")),
    flag(&["--kill-timeout", "-k"], One, Opt("kill_timeout")),
    flag(&["--shutdown-with-message"], No, Opt("shutdown_with_message")),
    flag(&["--no-treekill"], No, Off("treekill")),
    flag(&["--wait-ready"], No, Opt("wait_ready")),
    flag(&["--listen-timeout"], One, Opt("listen_timeout")),
    flag(&["--no-autorestart"], No, Off("autorestart")),
    flag(&["--no-autostart"], No, Off("autostart")),
    flag(&["--stop-exit-codes"], Several, Opt("stop_exit_codes")),
    flag(&["--max-restarts"], Maybe, Opt("max_restarts")),
    flag(&["--restart-delay"], One, Opt("restart_delay")),
    flag(&["--exp-backoff-restart-delay"], One, Opt("exp_backoff_restart_delay")),
    flag(&["--max-memory-restart"], One, Opt("max_memory_restart")),
    flag(&["--cron-restart", "--cron", "-c"], One, Opt("cron_restart")),
    flag(&["--uid"], One, Opt("uid")),
    flag(&["--gid"], One, Opt("gid")),
    flag(&["--pid", "-p"], One, Opt("pid_file")),
    flag(&["--execute-command", "-x"], No, Opt("execute_command")),
    flag(&["--filter-env"], Maybe, Opt("filter_env")),
    flag(&["--source-map-support"], No, Opt("source_map_support")),
    flag(&["--force", "-f"], No, Read),
    flag(&["--only"], One, Read),
    flag(&["--env"], One, Read),
    flag(&["--update-env", "-a"], No, Read),
    flag(&["--no-daemon"], No, Read),
    flag(&["--lines"], One, Read),
    flag(&["--nostream"], No, Read),
    flag(&["--err"], No, Read),
    flag(&["--out"], No, Read),
    flag(&["--sort"], One, Read),
    flag(&["--watch"], Maybe, Opt("watch")),
    flag(&["--ignore-watch"], Several, Opt("ignore_watch")),
    flag(&["--watch-delay"], One, Opt("watch_delay")),
    flag(&["--ext"], One, Nothing),
    flag(&["--parallel"], One, Nothing),
    flag(&["--silent", "-s"], No, Read),
    flag(&["--mini-list", "-m"], No, Nothing),
    flag(&["--no-color"], No, Nothing),
    flag(&["--attach"], No, Refused("use \"pm2 logs NAME\" after the start")),
    flag(&["--write", "-w"], No, Nothing),
    flag(&["--raw"], No, Nothing),
    flag(&["--json"], No, Refused("lines are printed as the app wrote them")),
    flag(&["--format"], No, Refused("lines are printed as the app wrote them")),
    flag(&["--timestamp"], Maybe, Refused("lines are printed as the app wrote them")),
    flag(&["--highlight"], One, Nothing),
    flag(&["--disable-source-map-support"], No, Nothing),
    flag(&["--no-vizion"], No, Nothing),
    flag(&["--no-pmx"], No, Nothing),
    flag(&["--no-automation"], No, Nothing),
    flag(&["--disable-trace"], No, Nothing),
    flag(&["--trace"], No, Nothing),
    flag(&["--v8"], No, Nothing),
    flag(&["--event-loop-inspector"], No, Nothing),
    flag(&["--deep-monitoring"], No, Nothing),
];

/// The flag of this name.
pub(super) fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.names.contains(&name))
}
