//! The options of one app of PM2 become our keys.

use std::ops::Range;
use std::path::PathBuf;

use super::date_format;
use super::options::{self, Answer};
use super::run::{self, Run};
use super::values::{duration, is_off, milliseconds, number};
use super::{Ecosystem, Translated};
use crate::raw::{Findings, as_json};
use crate::spec::log_files;
use crate::tree::{Entry, Table, Value, Written, in_order};

/// The signal that PM2 stops an app with.
const STOP_SIGNAL: &str = "INT";
/// The message that PM2 stops an app with, where the app asks for one.
const STOP_MESSAGE: &str = "shutdown";
/// The longest delay between two restarts where the file sets none, and the shortest window in
/// which restarts are counted; in milliseconds.
const LONGEST_DELAY: u64 = 15_000;
const SHORTEST_WINDOW: u64 = 60_000;
/// Restarts where the file does not limit them.
const RESTARTS: u64 = 16;

/// The format of `time: true`.
const TIME: &str = "%Y-%m-%dT%H:%M:%S";

/// The file that keeps nothing.
const NOWHERE: &str = "/dev/null";

/// Translates the options of one app; what does nothing here goes into the notes of `ecosystem`.
pub(super) fn translate(
    table: &Table,
    item: &Written,
    chosen: &Chosen<'_>,
    ecosystem: &mut Ecosystem,
    findings: &mut Findings,
) -> Translated {
    let before = findings.list.len();
    let mut app = App { table, keys: Table::default(), span: item.span(), findings };
    app.run();
    app.environment(chosen, ecosystem);
    app.same();
    app.instances();
    app.files();
    app.ready();
    app.restarts();
    app.memory();
    app.schedule();
    app.watch();
    app.accounts();
    let name = app.name(chosen.profile);
    app.answers(&name, ecosystem);
    let header = app.find("name").map_or_else(|| item.span(), Written::span);
    let complete = app.findings.list.len() == before;
    Translated { name, table: app.keys, span: item.span(), header, complete }
}

/// The environment that `--env` chose, and what the file says of it beside the apps.
pub(super) struct Chosen<'t> {
    pub(super) profile: Option<&'t str>,
    /// `deploy.NAME.env`, which is for every app.
    pub(super) deployed: Option<&'t Written>,
}

/// An app that is being translated.
struct App<'t, 'f> {
    table: &'t Table,
    /// Our keys.
    keys: Table,
    span: Range<usize>,
    findings: &'f mut Findings,
}

impl<'t> App<'t, '_> {
    fn find(&self, option: &str) -> Option<&'t Written> {
        find(self.table, option)
    }

    fn set(&mut self, key: &str, value: Value, span: Range<usize>) {
        let value = Written { value, span: span.clone() };
        self.keys.entries.push(Entry { key: key.to_owned(), span, value });
    }

    fn name(&mut self, profile: Option<&str>) -> String {
        if let Some(name) = self.find("name") {
            self.findings.text("name", name);
        }
        let name = run::name(self.table, self.find("script")).unwrap_or_default();
        match profile.filter(|_| self.is_on("append_env_to_name")) {
            Some(profile) => format!("{name}-{profile}"),
            None => name,
        }
    }

    fn is_on(&self, option: &str) -> bool {
        self.find(option).is_some_and(|value| !is_off(value))
    }

    fn run(&mut self) {
        let cwd = self.find("cwd");
        let folder = cwd.and_then(|cwd| self.findings.path("cwd", cwd));
        let folder = folder.unwrap_or_else(|| self.findings.base.clone());
        if let Some(cwd) = cwd {
            self.set("cwd", Value::text(folder.display().to_string()), cwd.span());
        }
        let run = Run::of(|option| self.find(option));
        let Some(script) = run.script else {
            let message = "nothing says what to run: add a \"script\"";
            return self.findings.add(self.span.clone(), message);
        };
        // A command that is wrong has its own message.
        let command = run.command(&folder, self.findings).unwrap_or_else(|| vec!["?".to_owned()]);
        let words = command.into_iter();
        let words = words.map(|word| Written { value: Value::text(word), span: script.span() });
        self.set("command", Value::List(words.collect()), script.span());
    }

    /// `env`, over it the chosen `deploy.NAME.env` and `env_NAME`, and `port`.
    fn environment(&mut self, chosen: &Chosen<'_>, ecosystem: &mut Ecosystem) {
        let mut env = Table::default();
        let over = chosen.profile.map(|name| format!("env_{name}"));
        let of = |wanted: Option<&str>| {
            let entries = in_order(self.table).filter(move |(key, ..)| Some(*key) == wanted);
            entries.map(|(key, _, value)| (key, value)).collect::<Vec<_>>()
        };
        let mut layers = of(Some("env"));
        layers.extend(chosen.deployed.map(|value| ("deploy.env", value)));
        layers.extend(of(over.as_deref()));
        for (key, value) in layers {
            if !is_off(value)
                && let Some(table) = self.findings.table(key, value)
            {
                env.put_over(as_text(table));
            }
        }
        for entry in &self.table.entries {
            if let Some(name) = entry.key.strip_prefix("env_") {
                ecosystem.profiles.insert(name.to_owned());
            }
        }
        if let Some(port) = self.find("port") {
            let text = self.findings.text_or_integer("port", port);
            let value = Written { value: Value::text(text.unwrap_or_default()), span: port.span() };
            let entry = Entry { key: "PORT".to_owned(), span: port.span(), value };
            env.put_over(Table { entries: vec![entry] });
        }
        let span = self.find("env").map_or_else(|| self.span.clone(), Written::span);
        self.set("env", Value::Table(env), span);
    }

    /// The options that a key of the same name takes as they are.
    fn same(&mut self) {
        for key in ["autostart", "namespace"] {
            if let Some(value) = self.find(key) {
                self.set(key, value.value.clone(), value.span());
            }
        }
    }

    fn instances(&mut self) {
        let Some(instances) = self.find("instances") else { return };
        let all = match &instances.value {
            Value::Integer(number) => number.decimal() == "0",
            Value::Text(text) => text.text == "0",
            _ => false,
        };
        let value = if all { Value::text("max") } else { instances.value.clone() };
        self.set("instances", value, instances.span());
    }

    /// Where the output and the pids go. Relative paths begin at the app's folder.
    fn files(&mut self) {
        let merged = self.find("instances").is_none() || self.is_on("merge_logs");
        let disabled = self.is_on("disable_logs");
        let combined = self.combined_log();
        let cwd = self.find("cwd");
        let folder = cwd.and_then(|cwd| self.findings.path("cwd", cwd));
        for option in ["out_file", "error_file"] {
            let found = self.find(option).filter(|value| !is_off(value)).or(combined);
            let span = found.map_or_else(|| self.span.clone(), Written::span);
            let text = found.and_then(|value| self.findings.text(option, value));
            let path = match text.as_deref() {
                _ if disabled => PathBuf::from(NOWHERE),
                Some("NULL" | NOWHERE) => PathBuf::from(NOWHERE),
                Some(text) => {
                    let path = folder.as_deref().unwrap_or(&self.findings.base).join(text);
                    if merged { path } else { log_files::with_slot(&path) }
                }
                None => continue,
            };
            self.set(option, Value::text(path.display().to_string()), span);
        }
        if let Some(value) = self.find("pid_file").filter(|value| !is_off(value))
            && let Some(text) = self.findings.text("pid_file", value)
        {
            let path = folder.as_deref().unwrap_or(&self.findings.base).join(text);
            let path = log_files::with_slot(&path).display().to_string();
            self.set("pid_file", Value::text(path), value.span());
        }
        self.log_times();
    }

    /// The time before each line, behind which PM2 writes a colon.
    fn log_times(&mut self) {
        let is_on = |option| self.find(option).filter(|value| !is_off(value));
        let format = match (is_on("log_date_format"), is_on("time")) {
            (Some(value), _) => {
                let made = self.findings.text("log_date_format", value);
                let made = made.map(|text| date_format::strftime(&text));
                made.and_then(|made| self.findings.keep("log_date_format", value, made))
                    .map(|format| (format, value))
            }
            (None, Some(value)) => Some((TIME.to_owned(), value)),
            (None, None) => None,
        };
        if let Some((format, value)) = format {
            self.set("log_time_format", Value::text(format!("{format}:")), value.span());
        }
    }

    /// `log_file`, where it is the only file that is named. Here it gets both outputs instead of
    /// the log folder; with PM2 it gets them as well.
    fn combined_log(&self) -> Option<&'t Written> {
        let named = self.is_on("out_file") || self.is_on("error_file");
        let file = self.find("log_file").filter(|value| matches!(value.value, Value::Text(_)));
        file.filter(|value| !named && !is_off(value))
    }

    /// `wait_ready`, `listen_timeout` and `kill_timeout`.
    fn ready(&mut self) {
        let waits = self.find("wait_ready").filter(|value| !is_off(value));
        if let Some(value) = waits {
            self.set("wait_ready", value.value.clone(), value.span());
        }
        let key = if waits.is_some() { "ready_timeout" } else { "listen_wait" };
        self.time("listen_timeout", key);
        self.time("kill_timeout", "kill_timeout");
        self.set("stop_signal", Value::text(STOP_SIGNAL), self.span.clone());
        if let Some(value) = self.find("shutdown_with_message").filter(|value| !is_off(value)) {
            self.set("stop_message", Value::text(STOP_MESSAGE), value.span());
        }
    }

    fn time(&mut self, option: &str, key: &str) {
        // PM2 takes 0 for the default as well.
        let Some(value) = self.find(option).filter(|value| !is_off(value)) else { return };
        if let Some(time) = milliseconds(self.findings, option, value) {
            self.set(key, duration(time), value.span());
        }
    }

    /// What follows a death.
    fn restarts(&mut self) {
        let autorestart = self.find("autorestart");
        if let Some(value) = autorestart
            && self.findings.boolean("autorestart", value) == Some(false)
        {
            self.set("restart", Value::text("never"), value.span());
        }
        if let Some(codes) = self.find("stop_exit_codes").filter(|codes| !is_empty(codes)) {
            self.set("stop_exit_codes", codes.value.clone(), codes.span());
        }
        let mut milliseconds =
            |option| Some(milliseconds(self.findings, option, find(self.table, option)?)).flatten();
        let constant = milliseconds("restart_delay").filter(|delay| *delay > 0);
        let growing = milliseconds("exp_backoff_restart_delay").filter(|delay| *delay > 0);
        let uptime = milliseconds("min_uptime");
        let longest = match (growing, constant) {
            (Some(first), _) => LONGEST_DELAY.max(first),
            (None, Some(delay)) => delay,
            (None, None) => LONGEST_DELAY,
        };
        if let Some(first) = growing.or(constant) {
            self.set("backoff_min", duration(first), self.span.clone());
            self.set("backoff_max", duration(longest), self.span.clone());
        }
        let limit = self.find("max_restarts");
        let count = limit.and_then(|limit| {
            let text = self.findings.text_or_integer("max_restarts", limit)?;
            let count = text.parse::<u64>().map_err(|_| "expected a number of restarts");
            self.findings.keep("max_restarts", limit, count)
        });
        if limit.is_none() && uptime.is_none() {
            return;
        }
        let count = count.unwrap_or(RESTARTS).clamp(1, u64::from(u16::MAX));
        let span = limit.map_or_else(|| self.span.clone(), Written::span);
        // Long enough for all of these restarts, with their delays.
        let each = uptime.unwrap_or(1000).saturating_add(longest);
        let window = count.saturating_mul(each).max(SHORTEST_WINDOW);
        self.set("max_restarts", number(count), span.clone());
        if limit.is_some() {
            self.set("give_up", Value::Boolean(true), span.clone());
        }
        self.set("restart_window", duration(window), span);
    }

    /// `max_memory_restart`: a number without a unit counts bytes.
    fn memory(&mut self) {
        let Some(limit) = self.find("max_memory_restart").filter(|limit| !is_off(limit)) else {
            return;
        };
        let Some(text) = self.findings.text_or_integer("max_memory_restart", limit) else { return };
        let unit = if text.bytes().all(|b| b.is_ascii_digit()) { "B" } else { "" };
        self.set("max_memory", Value::text(format!("{text}{unit}")), limit.span());
    }

    fn schedule(&mut self) {
        if let Some(pattern) = self.find("cron_restart").filter(|pattern| !is_off(pattern)) {
            self.set("cron_restart", pattern.value.clone(), pattern.span());
        }
    }

    /// `watch`, `ignore_watch` and `watch_delay`. Paths start at the folder of the app in both.
    fn watch(&mut self) {
        if let Some(watch) = self.find("watch").filter(|watch| !is_off(watch)) {
            self.set("watch", watch.value.clone(), watch.span());
        }
        if let Some(ignore) = self.find("ignore_watch").filter(|ignore| !is_off(ignore)) {
            let lines =
                self.findings.items("ignore_watch", ignore).into_iter().map(|(at, text)| {
                    // A line of a .gitignore begins at its folder without that.
                    let line = text
                        .strip_prefix("./")
                        .map_or_else(|| text.clone(), |rest| format!("/{rest}"));
                    Written { value: Value::text(line), span: at.span() }
                });
            let lines = Value::List(lines.collect());
            self.set("watch_ignore", lines, ignore.span());
        }
        self.time("watch_delay", "watch_delay");
    }

    fn accounts(&mut self) {
        for (option, key) in [("uid", "user"), ("gid", "group")] {
            if let Some(value) =
                self.find(option).filter(|value| !matches!(value.value, Value::Boolean(_)))
            {
                self.set(key, value.value.clone(), value.span());
            }
        }
    }

    /// Notes the options that do nothing here, and refuses those that must do something.
    fn answers(&mut self, name: &str, ecosystem: &mut Ecosystem) {
        for (key, span, value) in in_order(self.table) {
            if key.starts_with("env_") {
                continue;
            }
            let Some(option) = options::find(key) else {
                let note = format!("{name}: {key:?} is left out: PM2 has no such option either");
                ecosystem.notes.push((span, note));
                continue;
            };
            match option.answer {
                _ if does_nothing(option.name, value) => {}
                Answer::Mapped if option.name == "log_file" && self.combined_log().is_none() => {
                    let note = format!("{name}: {key:?} is left out: {}", options::LOGS);
                    ecosystem.notes.push((span, note));
                }
                Answer::Mapped | Answer::NeedsNothing => {}
                Answer::LeftOut => {
                    let note = format!("{name}: {key:?} is left out: {}", option.doc);
                    ecosystem.notes.push((span, note));
                }
                Answer::Refused => {
                    self.findings.add(span, format!("{key:?} cannot be kept: {}", option.doc));
                }
            }
        }
    }
}

/// Whether an option with this value asks for nothing.
fn does_nothing(option: &str, value: &Written) -> bool {
    match option {
        // It is on where it is left out.
        "treekill" => !matches!(value.value, Value::Boolean(false)),
        _ => is_off(value),
    }
}

/// The value of an option that is set, whichever of its names the table has.
fn find<'t>(table: &'t Table, option: &str) -> Option<&'t Written> {
    let mut entries = table.entries.iter();
    let entry = entries.find(|entry| options::canonical(&entry.key) == Some(option))?;
    (!matches!(entry.value.value, Value::Null)).then_some(&entry.value)
}

fn is_empty(value: &Written) -> bool {
    matches!(value.value, Value::Null) || value.as_list().is_some_and(<[Written]>::is_empty)
}

/// Variables as PM2 gives them: a table or an array as JSON; what is null is left out.
fn as_text(table: &Table) -> Table {
    let entries = table.entries.iter().filter(|entry| !matches!(entry.value.value, Value::Null));
    let entries = entries.map(|entry| {
        let value = match &entry.value.value {
            Value::List(_) | Value::Table(_) => match as_json(&entry.value) {
                Ok(json) => Value::text(json.to_string()),
                Err(_) => entry.value.value.clone(),
            },
            other => other.clone(),
        };
        Entry { value: Written { value, span: entry.value.span() }, ..entry.clone() }
    });
    Table { entries: entries.collect() }
}
