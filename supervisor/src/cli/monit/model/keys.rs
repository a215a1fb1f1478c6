//! What the keys do.

use ipc::control::Status;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::event::Effect;
use super::layout::Pane;
use super::state::{Mode, Model};
use crate::cli::watch::{Action, Kind};

/// Characters of a filter or of a signal's name.
const MAX_TYPED: usize = 60;

impl Model {
    /// What a pressed key does.
    pub(super) fn key(&mut self, key: KeyEvent) -> Vec<Effect> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => vec![Effect::Quit],
                KeyCode::Char('z') => vec![Effect::Suspend],
                KeyCode::Char('l') => vec![Effect::Redraw],
                _ => Vec::new(),
            };
        }
        match std::mem::take(&mut self.mode) {
            Mode::Normal => self.command(key.code),
            Mode::Filter => self.type_filter(key.code),
            Mode::Signal { text, .. } => {
                self.type_signal(text, key.code);
                Vec::new()
            }
            Mode::Confirm(action) => self.confirm(action, key.code),
            Mode::Help { from } => {
                self.mode = match key.code {
                    KeyCode::Down | KeyCode::Char('j') => Mode::Help { from: from + 1 },
                    KeyCode::Up | KeyCode::Char('k') => Mode::Help { from: from.saturating_sub(1) },
                    _ => Mode::Normal,
                };
                Vec::new()
            }
            Mode::Failure { .. } => Vec::new(),
        }
    }

    fn command(&mut self, code: KeyCode) -> Vec<Effect> {
        match code {
            KeyCode::Char('q') => return vec![Effect::Quit],
            KeyCode::Char('?') | KeyCode::F(1) => self.mode = Mode::Help { from: 0 },
            KeyCode::Tab => self.focus_next(1),
            KeyCode::BackTab => self.focus_next(2),
            KeyCode::Enter | KeyCode::Char('z') => self.zoomed = !self.zoomed,
            KeyCode::Esc => return self.escape(),
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('o') => self.sort(false),
            KeyCode::Char('O') => self.sort(true),
            KeyCode::Char('t') => {
                self.only_trouble = !self.only_trouble;
                return self.keep_selection();
            }
            KeyCode::Char('f') => self.lines_mut().toggle_follow(),
            KeyCode::Char('e') => self.shows_events = !self.shows_events,
            KeyCode::Char('w') => self.wraps = !self.wraps,
            KeyCode::Char('x') => self.log.next_streams(),
            KeyCode::Up | KeyCode::Char('k') => return self.move_by(self.focus, -1),
            KeyCode::Down | KeyCode::Char('j') => return self.move_by(self.focus, 1),
            KeyCode::PageUp => return self.move_by(self.focus, -self.page()),
            KeyCode::PageDown => return self.move_by(self.focus, self.page()),
            KeyCode::Home | KeyCode::Char('g') => return self.move_by(self.focus, -i32::MAX),
            KeyCode::End | KeyCode::Char('G') => return self.move_by(self.focus, i32::MAX),
            KeyCode::Char(letter) => self.ask(letter),
            _ => {}
        }
        Vec::new()
    }

    /// Asks before an action on the selected app.
    fn ask(&mut self, letter: char) {
        let Some(app) = self.app() else { return };
        let name = app.status.name.clone();
        let is_stopped = app.status.status == Status::Stopped;
        let kind = match letter {
            'r' => Kind::Reload,
            'R' => Kind::Restart { hard: false },
            '+' | '=' => Kind::Scale { up: true, pool: self.pool() },
            '-' | '_' => Kind::Scale { up: false, pool: self.pool() },
            // The key that stops starts again what is stopped.
            's' if is_stopped => Kind::Start,
            's' => Kind::Stop { fast: false },
            'd' => Kind::Delete { fast: false },
            'K' => {
                self.mode = Mode::Signal { text: String::new(), wrong: None };
                return;
            }
            _ => return,
        };
        self.mode = Mode::Confirm(Action { app: name, kind });
    }

    /// The pool of the marked worker, if the app has several.
    fn pool(&self) -> Option<String> {
        let app = self.app()?;
        let (slot, _) = self.marked_worker()?;
        let worker = app.status.workers.iter().find(|worker| worker.slot == slot)?;
        worker.pool.clone().filter(|_| app.status.pools.len() > 1)
    }

    /// The worker that an action is for, if the user is in the table of workers.
    fn marked_worker(&self) -> Option<(u16, Option<u32>)> {
        self.worker_table.selected.filter(|_| self.focus == Pane::Workers)
    }

    fn confirm(&mut self, mut action: Action, code: KeyCode) -> Vec<Effect> {
        match code {
            KeyCode::Char('y' | 'Y') => {
                self.message = None;
                self.running.push_back(action.clone());
                return vec![Effect::Run(action)];
            }
            KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => {}
            KeyCode::Char(key) if action.option().is_some_and(|(option, _)| option == key) => {
                action.toggle();
                self.mode = Mode::Confirm(action);
            }
            // Another key is no answer: the question stays.
            _ => self.mode = Mode::Confirm(action),
        }
        Vec::new()
    }

    fn type_signal(&mut self, mut text: String, code: KeyCode) {
        match code {
            KeyCode::Esc => return,
            KeyCode::Enter => match (config::signal::parse(&text), self.app()) {
                (Ok(_), Some(app)) => {
                    let app = app.status.name.clone();
                    let slot = self.marked_worker().map(|(slot, _)| slot);
                    let kind = Kind::Signal { name: text.to_uppercase(), slot, all: false };
                    self.mode = Mode::Confirm(Action { app, kind });
                    return;
                }
                (Err(why), _) => {
                    self.mode = Mode::Signal { text, wrong: Some(why.to_string()) };
                    return;
                }
                (Ok(_), None) => return,
            },
            code => edit(&mut text, code),
        }
        self.mode = Mode::Signal { text, wrong: None };
    }

    fn type_filter(&mut self, code: KeyCode) -> Vec<Effect> {
        let mut text = self.filter().to_owned();
        match code {
            KeyCode::Enter => return Vec::new(),
            KeyCode::Esc => text.clear(),
            code => {
                edit(&mut text, code);
                self.mode = Mode::Filter;
            }
        }
        self.set_filter(&text);
        self.keep_selection()
    }

    /// Takes back the last thing that hides something.
    fn escape(&mut self) -> Vec<Effect> {
        if self.message.take().is_some() {
        } else if !self.filter().is_empty() {
            self.set_filter("");
        } else if self.zoomed {
            self.zoomed = false;
        } else if !self.lines().is_following() {
            self.lines_mut().follow();
        } else {
            self.only_trouble = false;
        }
        self.keep_selection()
    }

    fn focus_next(&mut self, steps: usize) {
        const ORDER: [Pane; 3] = [Pane::Apps, Pane::Workers, Pane::Log];
        let at = ORDER.iter().position(|pane| *pane == self.focus).unwrap_or(0);
        self.focus = ORDER[(at + steps) % ORDER.len()];
        if self.focus == Pane::Workers && self.worker_table.selected.is_none() {
            self.select_worker(0);
        }
    }

    fn sort(&mut self, reverse: bool) {
        let sort = match self.focus {
            Pane::Apps => &mut self.app_table.sort,
            Pane::Workers => &mut self.worker_table.sort,
            Pane::Log => return,
        };
        match reverse {
            true => sort.reversed = !sort.reversed,
            false => *sort = sort.next(),
        }
    }

    /// The rows that a page has.
    fn page(&self) -> i32 {
        let height = self.areas().map_or(1, |areas| match self.focus {
            Pane::Apps => areas.app_rows().height,
            Pane::Workers => areas.worker_rows().height,
            Pane::Log => areas.log_rows().height,
        });
        i32::from(height.max(2)) - 1
    }

    /// Moves the selection of a table, or scrolls the log.
    pub(super) fn move_by(&mut self, pane: Pane, rows: i32) -> Vec<Effect> {
        let to = |from: Option<usize>| {
            let from = i32::try_from(from.unwrap_or(0)).unwrap_or(i32::MAX);
            usize::try_from(from.saturating_add(rows)).unwrap_or(0)
        };
        match pane {
            Pane::Apps => {
                let row = to(self.app_row(&self.shown_apps()));
                self.select_app(row).into_iter().collect()
            }
            Pane::Workers => {
                let row = to(self.worker_row(&self.shown_workers()));
                self.select_worker(row);
                Vec::new()
            }
            Pane::Log => {
                let count = usize::try_from(rows.unsigned_abs()).unwrap_or(usize::MAX);
                match rows {
                    i32::MAX => self.lines_mut().follow(),
                    1.. => self.lines_mut().down(count),
                    ..=0 if count > 1_000_000 => self.lines_mut().top(),
                    ..=0 => self.lines_mut().up(count),
                }
                Vec::new()
            }
        }
    }

    /// The selected app stays if it is still in sight; otherwise the first one is selected, and
    /// likewise a worker. Before the user did anything, the first app is the selected one.
    pub(super) fn keep_selection(&mut self) -> Vec<Effect> {
        let row = match self.chosen {
            true => self.app_row(&self.shown_apps()),
            false => None,
        };
        let effects = self.select_app(row.unwrap_or(0)).into_iter().collect();
        if self.worker_table.selected.is_some() && self.worker_row(&self.shown_workers()).is_none()
        {
            self.select_worker(0);
        }
        effects
    }
}

/// Changes a typed text by a key.
fn edit(text: &mut String, code: KeyCode) {
    match code {
        KeyCode::Char(c) if text.chars().count() < MAX_TYPED => text.push(c),
        KeyCode::Backspace => _ = text.pop(),
        _ => {}
    }
}
