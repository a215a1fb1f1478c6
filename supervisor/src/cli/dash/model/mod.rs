//! What the dashboard knows, and what of it a page has not heard. Pure: reports carry what
//! happened, and the caller says when.

mod history;
mod shown;
mod tail;

#[cfg(test)]
mod tests;

pub(super) use tail::Tail;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use ipc::control::{AppStatus, Notice, NoticeKind};
use serde::Serialize;

use crate::cli::output::one_line;
use crate::cli::watch::{App, Outcome, Report, clean, is_bad};
use history::{History, Hour, Mark, MarkKind, Sample};
use shown::Shown;

/// Events that are kept.
const EVENTS: usize = 500;
/// Lines of a failed program that an event shows.
const EVENT_LINES: usize = 20;

/// All that the dashboard knows.
#[derive(Debug)]
pub(super) struct Model {
    apps: BTreeMap<String, Entry>,
    /// Grows with each change.
    version: u64,
    /// The version in which an app came or went.
    names_version: u64,
    events: Tail<Arc<str>>,
}

/// An app.
#[derive(Debug)]
struct Entry {
    app: App,
    history: History,
    /// What a page gets of it, as JSON, and since which version.
    told: Arc<str>,
    version: u64,
}

/// How much a page has heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Heard {
    version: u64,
    events: u64,
    begun: bool,
}

/// An event as a page gets it.
#[derive(Debug, Serialize)]
struct Event<'a> {
    /// Milliseconds since 1970.
    at: u64,
    app: &'a str,
    kind: &'a NoticeKind,
    bad: bool,
    text: String,
    lines: Vec<String>,
}

/// How a command of a page ended, as all pages get it.
#[derive(Debug, Serialize)]
struct Ended<'a> {
    at: u64,
    app: &'a str,
    kind: &'static str,
    /// The number that the page got when it asked.
    id: u64,
    bad: bool,
    command: String,
    text: String,
    lines: Vec<String>,
}

/// The last hour of an app as a page gets it.
#[derive(Debug, Serialize)]
struct Past<'a> {
    app: &'a str,
    #[serde(flatten)]
    hour: Hour,
    marks: Vec<&'a Mark>,
}

impl Model {
    /// A model that knows nothing yet.
    pub(super) fn new() -> Self {
        Self { apps: BTreeMap::new(), version: 1, names_version: 1, events: Tail::new(EVENTS) }
    }

    /// Takes a report that came at `unix_ms`. Returns whether there is something to tell.
    pub(super) fn take(&mut self, report: Report, unix_ms: u64) -> bool {
        let before = (self.version, self.events.end());
        match report {
            Report::Apps(names) => {
                let count = self.apps.len();
                self.apps.retain(|name, _| names.contains(name));
                if self.apps.len() != count {
                    self.version += 1;
                    self.names_version = self.version;
                }
            }
            Report::Status { app, found: Ok(status), at_ms } => {
                self.seen(app, *status, at_ms, unix_ms);
            }
            Report::Status { app, found: Err(why), .. } => self.not_seen(app, &why, unix_ms),
            Report::Notice { app, notice, .. } => self.notice(&app, &notice),
            Report::Fault(why) => {
                self.tell("", &NoticeKind::Warning, true, clean(&why), unix_ms);
            }
            // The log goes to its readers, and outcomes come with the number of their command.
            Report::Log { .. } | Report::Outcome(_) => {}
        }
        before != (self.version, self.events.end())
    }

    /// Whether this app is shown.
    pub(super) fn has(&self, app: &str) -> bool {
        self.apps.contains_key(app)
    }

    /// The apps of which a worker speaks Node's protocol.
    pub(super) fn apps_of_node(&self) -> Vec<String> {
        let speaks = |entry: &Entry| {
            let mut workers = entry.app.status.workers.iter();
            workers.any(|worker| worker.contract.contains(&ipc::control::Contract::Node))
        };
        self.apps.iter().filter(|(_, entry)| speaks(entry)).map(|(name, _)| name.clone()).collect()
    }

    /// The delay of the slowest event loop of the app, in milliseconds.
    pub(super) fn delay(&mut self, app: &str, delay: f64, unix_ms: u64) {
        if let Some(entry) = self.apps.get_mut(app) {
            entry.history.add_delay(delay, unix_ms);
        }
    }

    /// Takes what happened before the dashboard was started, the oldest first.
    pub(super) fn recall(&mut self, app: &str, kept: &[Notice]) {
        kept.iter().for_each(|notice| self.notice(app, notice));
    }

    /// The command with this number has ended.
    pub(super) fn outcome(&mut self, id: u64, outcome: &Outcome, unix_ms: u64) {
        let (bad, text) = match &outcome.result {
            Ok(message) => (false, message),
            Err(reason) => (true, reason),
        };
        let ended = Ended {
            at: unix_ms,
            app: &outcome.action.app,
            kind: "command",
            id,
            bad,
            command: outcome.action.command(),
            text: clean(text),
            lines: last(&outcome.last_lines),
        };
        self.events.push(json(&ended).into());
    }

    /// The last hour of the app as JSON. `None`: there is no such app.
    pub(super) fn hour(&self, app: &str, unix_ms: u64) -> Option<String> {
        let history = &self.apps.get(app)?.history;
        let marks = history.marks(unix_ms).collect();
        Some(json(&Past { app, hour: history.hour(unix_ms), marks }))
    }

    /// What a page has not heard, as server-sent events. Empty if it has heard everything. A state
    /// that was followed by another one is left out.
    pub(super) fn since(&self, heard: &mut Heard) -> String {
        let mut text = String::new();
        if !heard.begun || heard.version < self.names_version {
            event(&mut text, "apps", &json(&self.apps.keys().collect::<Vec<_>>()));
        }
        for entry in self.apps.values().filter(|entry| entry.version > heard.version) {
            event(&mut text, "app", &entry.told);
        }
        let (_, new) = self.events.since(heard.events);
        for one in new {
            event(&mut text, "happened", one);
        }
        *heard = Heard { version: self.version, events: self.events.end(), begun: true };
        text
    }

    fn seen(&mut self, name: String, mut status: AppStatus, at_ms: u64, unix_ms: u64) {
        status.name.clone_from(&name);
        let Some(entry) = self.apps.get_mut(&name) else {
            self.enter(name, App::new(status, at_ms), unix_ms);
            return;
        };
        let died = entry.app.update(status, at_ms);
        self.measure(&name, unix_ms);
        self.show(&name, unix_ms);
        if died {
            let text = "the primary died; its successor has taken over".to_owned();
            self.mark(&name, MarkKind::PrimaryDeath, &text, unix_ms);
            self.tell(&name, &NoticeKind::Warning, true, text, unix_ms);
        }
    }

    fn not_seen(&mut self, name: String, why: &str, unix_ms: u64) {
        match self.apps.get_mut(&name) {
            Some(entry) => {
                entry.app.failure = Some(clean(why));
                self.show(&name, unix_ms);
            }
            None => {
                let app = App::unknown(&name, why);
                self.enter(name, app, unix_ms);
            }
        }
    }

    fn enter(&mut self, name: String, app: App, unix_ms: u64) {
        let entry = Entry { app, history: History::default(), told: "".into(), version: 0 };
        self.apps.insert(name.clone(), entry);
        self.version += 1;
        self.names_version = self.version;
        self.measure(&name, unix_ms);
        self.show(&name, unix_ms);
    }

    fn measure(&mut self, name: &str, unix_ms: u64) {
        let Some(Entry { app, history, .. }) = self.apps.get_mut(name) else { return };
        let sample = Sample {
            cpu: app.cpu.latest(),
            memory: app.memory.latest(),
            connections: app.connections(),
            accepted: app.accepted.latest(),
            backlog: Some(app.backlog()),
            restarts: app.status.restarts,
        };
        history.add(sample, unix_ms);
    }

    /// Makes anew what pages get of the app. What they have already is not sent again.
    fn show(&mut self, name: &str, unix_ms: u64) {
        let Some(entry) = self.apps.get_mut(name) else { return };
        let told = json(&Shown::new(&entry.app, entry.history.spark(), unix_ms));
        if *entry.told != *told {
            self.version += 1;
            entry.told = told.into();
            entry.version = self.version;
        }
    }

    fn notice(&mut self, app: &str, notice: &Notice) {
        let text = clean(&one_line(notice));
        let kind = match notice.event {
            NoticeKind::ReloadDone => Some(MarkKind::Reload),
            NoticeKind::ReloadRolledBack => Some(MarkKind::RolledBack),
            _ => None,
        };
        if let Some(kind) = kind {
            self.mark(app, kind, &text, notice.unix_ms);
        }
        let event = Event {
            at: notice.unix_ms,
            app,
            kind: &notice.event,
            bad: is_bad(notice),
            text,
            lines: last(&notice.last_lines),
        };
        self.events.push(json(&event).into());
    }

    fn mark(&mut self, app: &str, kind: MarkKind, text: &str, at: u64) {
        if let Some(entry) = self.apps.get_mut(app) {
            entry.history.mark(Mark { at, kind, text: text.to_owned() });
        }
    }

    fn tell(&mut self, app: &str, kind: &NoticeKind, bad: bool, text: String, at: u64) {
        let event = Event { at, app, kind, bad, text, lines: Vec::new() };
        self.events.push(json(&event).into());
    }
}

/// The last of these lines, harmless.
fn last(lines: &[String]) -> Vec<String> {
    let skip = lines.len().saturating_sub(EVENT_LINES);
    lines[skip..].iter().map(|line| clean(line)).collect()
}

/// Adds one server-sent event. JSON has no line breaks.
pub(super) fn event(text: &mut String, name: &str, json: &str) {
    // Writing to a string does not fail.
    let _ = write!(text, "event: {name}\ndata: {json}\n\n");
}

/// What has a form in JSON, as all of these have: their keys are strings, their numbers finite.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("\"cannot write JSON: {error}\""))
}
