//! The file that `pm2 save` writes, as an ecosystem file. It lists processes with everything that
//! PM2 knows of each; what the person wrote once is found in it again.

use std::ops::Range;

use super::values::number;
use crate::tree::{Entry, Table, Value, Written, in_order};

/// The key that only a saved process has.
const SCRIPT: &str = "pm_exec_path";

/// Options with another name in the file.
const RENAMED: [(&str, &str); 5] = [
    (SCRIPT, "script"),
    ("pm_cwd", "cwd"),
    ("exec_interpreter", "interpreter"),
    ("pm_out_log_path", "out_file"),
    ("pm_err_log_path", "error_file"),
];

/// Options with the same name. Everything else is state, or what PM2 fills in.
const SAME: [&str; 23] = [
    "args",
    "autorestart",
    "cron_restart",
    "exp_backoff_restart_delay",
    "gid",
    "ignore_watch",
    "kill_timeout",
    "listen_timeout",
    "log_date_format",
    "max_memory_restart",
    "max_restarts",
    "merge_logs",
    "min_uptime",
    "name",
    "node_args",
    "restart_delay",
    "shutdown_with_message",
    "stop_exit_codes",
    "time",
    "uid",
    "wait_ready",
    "watch",
    "watch_delay",
];

/// Variables of the terminal that the app was started from, and PM2's own.
const LEFT_OUT: [&str; 17] = [
    "COLORTERM",
    "DISPLAY",
    "HOME",
    "LOGNAME",
    "LS_COLORS",
    "MAIL",
    "NODE_APP_INSTANCE",
    "NODE_CHANNEL_FD",
    "OLDPWD",
    "PWD",
    "SHELL",
    "SHLVL",
    "TERM",
    "USER",
    "_",
    "pm_id",
    "unique_id",
];
const LEFT_OUT_FAMILIES: [&str; 4] = ["PM2_", "SSH_", "XDG_", "axm_"];

/// Where PM2 puts the logs of apps that name no files.
const OWN_LOGS: &str = "/.pm2/logs/";

/// The namespace of apps that name none.
const NAMESPACE: &str = "default";

/// Whether these are the processes of a saved file.
pub(super) fn is_dump(items: &[Written]) -> bool {
    let is_process = |item: &Written| item.as_table().is_some_and(|it| it.get(SCRIPT).is_some());
    !items.is_empty() && items.iter().all(is_process)
}

/// The apps of the file: processes of one name and one script are workers of one app.
pub(super) fn apps(items: &[Written]) -> Vec<Written> {
    let tables: Vec<(&Table, Range<usize>)> =
        items.iter().filter_map(|item| Some((item.as_table()?, item.span()))).collect();
    let id = |table: &Table| ["name", SCRIPT].map(|key| text(table, key).map(str::to_owned));
    let mut apps: Vec<(_, u64, Written)> = Vec::new();
    for (table, span) in tables {
        match apps.iter_mut().find(|(known, ..)| *known == id(table)) {
            Some((_, workers, _)) => *workers += 1,
            None => {
                let app = Value::Table(app(table));
                apps.push((id(table), 1, Written { value: app, span }));
            }
        }
    }
    apps.into_iter().map(|(_, workers, app)| with_instances(app, workers)).collect()
}

fn with_instances(mut app: Written, workers: u64) -> Written {
    let span = app.span();
    if let Some(table) = app.as_table_mut()
        && workers > 1
    {
        let value = Written { value: number(workers), span: span.clone() };
        table.entries.push(Entry { key: "instances".to_owned(), span, value });
    }
    app
}

fn app(process: &Table) -> Table {
    let mut options = Table::default();
    for entry in &process.entries {
        let renamed = RENAMED.iter().find(|(theirs, _)| *theirs == entry.key);
        let key = match (renamed, entry.key.as_str()) {
            (Some((_, ours)), _) => *ours,
            (None, key) if SAME.contains(&key) => key,
            (None, "namespace") if entry.value.as_str() != Some(NAMESPACE) => "namespace",
            (None, "env") => "env",
            (None, _) => continue,
        };
        let is_log = matches!(key, "out_file" | "error_file");
        if is_log && entry.value.as_str().is_none_or(|path| path.contains(OWN_LOGS)) {
            continue;
        }
        let value = match &entry.value.value {
            Value::Table(variables) if key == "env" => Value::Table(env(variables)),
            value => value.clone(),
        };
        let value = Written { value, span: entry.value.span() };
        options.entries.push(Entry { key: key.to_owned(), span: entry.span.clone(), value });
    }
    options
}

/// The variables, without those that a terminal or PM2 sets.
fn env(variables: &Table) -> Table {
    let is_kept = |name: &str| {
        !LEFT_OUT.contains(&name)
            && !LEFT_OUT_FAMILIES.iter().any(|family| name.starts_with(family))
    };
    let entries = variables.entries.iter().filter(|entry| {
        let plain = !matches!(entry.value.value, Value::Table(_) | Value::List(_) | Value::Null);
        plain && is_kept(&entry.key)
    });
    Table { entries: entries.cloned().collect() }
}

fn text<'t>(table: &'t Table, key: &str) -> Option<&'t str> {
    in_order(table).find(|(known, ..)| *known == key)?.2.as_str()
}
