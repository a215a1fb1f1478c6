//! What each event changes.

use ipc::control::{AppStatus, Notice};
use ratatui::crossterm::event::KeyEventKind;

use super::event::{Effect, Event};
use super::state::{Message, Mode, Model};
use crate::cli::output;
use crate::cli::output::tone::Tone;
use crate::cli::watch::{App, Line, Origin, Outcome, Report, clean, is_bad};

impl Model {
    /// Takes an event, and returns what is to be done.
    pub(crate) fn update(&mut self, event: impl Into<Event>) -> Vec<Effect> {
        match event.into() {
            Event::Key(key) if key.kind == KeyEventKind::Release => Vec::new(),
            // The selection does not move by itself any more: what is asked now is for this app.
            Event::Key(key) => {
                self.chosen = true;
                self.key(key)
            }
            Event::Mouse(mouse) => {
                self.chosen = true;
                self.mouse(mouse)
            }
            Event::Resize(width, height) => {
                self.size = (width, height);
                Vec::new()
            }
            Event::Report(report) => self.reported(report),
            Event::End => vec![Effect::Quit],
        }
    }

    fn reported(&mut self, report: Report) -> Vec<Effect> {
        match report {
            Report::Apps(names) => self.listed(&names),
            Report::Status { app, found, at_ms } => {
                match found {
                    Ok(status) => self.seen(app, *status, at_ms),
                    Err(why) => self.not_seen(app, &why),
                }
                self.keep_selection()
            }
            Report::Notice { app, time, notice } => {
                self.notice(&app, &time, &notice);
                Vec::new()
            }
            Report::Log { app, lines, begins } => {
                if self.app_table.selected.as_ref() == Some(&app) {
                    if begins {
                        self.log.clear();
                    }
                    lines.into_iter().for_each(|line| self.log.push(line));
                }
                Vec::new()
            }
            Report::Outcome(outcome) => {
                self.outcome(outcome);
                Vec::new()
            }
            Report::Fault(why) => {
                self.message = Some(Message { tone: Tone::Bad, text: clean(&why) });
                Vec::new()
            }
        }
    }

    /// Apps that no longer exist go. The place of a selected one passes to its successor there.
    fn listed(&mut self, names: &[String]) -> Vec<Effect> {
        self.listed = true;
        let row = self.app_row(&self.shown_apps());
        self.apps.retain(|name, _| names.contains(name));
        match self.app_table.selected.as_ref().is_none_or(|name| self.apps.contains_key(name)) {
            true => Vec::new(),
            false => self.select_app(row.unwrap_or(0)).into_iter().collect(),
        }
    }

    fn seen(&mut self, name: String, mut status: AppStatus, at_ms: u64) {
        status.name.clone_from(&name);
        match self.apps.get_mut(&name) {
            Some(app) => {
                if app.update(status, at_ms) {
                    let text = format!("{name}: the primary died; its successor has taken over");
                    self.tell(&name, Line { origin: Origin::Event { bad: true }, text });
                }
            }
            None => _ = self.apps.insert(name, App::new(status, at_ms)),
        }
    }

    fn not_seen(&mut self, name: String, why: &str) {
        match self.apps.get_mut(&name) {
            Some(app) => app.failure = Some(clean(why)),
            None => {
                let app = App::unknown(&name, why);
                self.apps.insert(name, app);
            }
        }
    }

    fn notice(&mut self, app: &str, time: &str, notice: &Notice) {
        let bad = is_bad(notice);
        let what = clean(&output::one_line(notice));
        let text = match what.strip_prefix(app).is_some_and(|rest| rest.starts_with([' ', ':'])) {
            true => format!("{time} {what}"),
            false => format!("{time} {app}: {what}"),
        };
        self.tell(app, Line { origin: Origin::Event { bad }, text });
    }

    /// Adds a line to the events, and to the log of its app if that is shown.
    fn tell(&mut self, app: &str, line: Line) {
        if self.app_table.selected.as_deref() == Some(app) {
            self.log.push(line.clone());
        }
        self.events.push(line);
    }

    fn outcome(&mut self, outcome: Outcome) {
        let Outcome { action, result, last_lines } = outcome;
        if let Some(at) = self.running.iter().position(|running| *running == action) {
            self.running.remove(at);
        }
        let command = action.command();
        let (tone, text) = match result {
            Ok(message) => (Tone::Good, format!("{}: {}", action.app, clean(&message))),
            Err(reason) => {
                let reason = clean(&reason);
                // Something else that the user does is not interrupted.
                if self.mode == Mode::Normal {
                    self.mode = Mode::Failure {
                        command,
                        reason: reason.clone(),
                        last_lines: last_lines.iter().map(|line| clean(line)).collect(),
                    };
                }
                (Tone::Bad, reason)
            }
        };
        self.message = Some(Message { tone, text });
    }
}
