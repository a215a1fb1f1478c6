//! The first line (how all apps are), the message line, and the line of keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::paint::{put, put_all, put_right, right_of, width};
use super::theme::{Theme, mark};
use crate::cli::monit::model::{Mode, Model, Pane, Tone};
use crate::cli::output::table;
use crate::cli::watch::{App, plural};

/// How many apps are in which state, what is worst first, and what all of them take.
pub(super) fn draw(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let mut x = put(buffer, area, " supervisor  ", theme.bold());
    let count = plural(model.apps.len(), "app");
    x = put(buffer, right_of(area, x), &count, theme.plain());
    let mut words: Vec<(Tone, &str, usize)> = Vec::new();
    for app in model.apps.values() {
        match words.iter_mut().find(|(_, word, _)| *word == app.word()) {
            Some((.., count)) => *count += 1,
            None => words.push((app.tone(), app.word(), 1)),
        }
    }
    words.sort();
    for (tone, word, count) in words {
        let style = theme.tone(tone);
        let text = format!("{count} {word}");
        let texts = [("  ", style), (mark(tone), style), (" ", style), (&text, style)];
        x = put_all(buffer, right_of(area, x), &texts);
    }
    let sum = |of: fn(&App) -> Option<f64>| {
        model.apps.values().filter_map(of).fold(0.0, |sum, value| sum + value)
    };
    let cpu = table::percent(Some(sum(|app| app.cpu.latest())));
    let memory = table::bytes(Some(sum(|app| app.memory.latest())));
    let totals = format!("  cpu {cpu}  mem {memory} ");
    if width(&totals) <= area.width - x {
        put_right(buffer, right_of(area, x), &totals, theme.dim());
    }
}

/// What is typed, else what runs, else how the last command ended, else how the lists differ from
/// what they are at first.
pub(super) fn draw_message(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let inner = right_of(area, 1);
    if model.mode == Mode::Filter {
        let what = match model.focus {
            Pane::Apps => "filter apps: ",
            Pane::Workers => "filter workers: ",
            Pane::Log => "filter lines: ",
        };
        let texts = [
            (what, theme.bold()),
            (model.filter(), theme.plain()),
            ("▏", theme.plain()),
            ("   Enter keeps it, Esc clears it", theme.dim()),
        ];
        put_all(buffer, inner, &texts);
        return;
    }
    if let Some(action) = model.running.back() {
        let style = theme.tone(Tone::Busy);
        let more = match model.running.len() {
            1 => String::new(),
            count => format!("  (and {} more)", count - 1),
        };
        let command = action.command();
        let texts = [(mark(Tone::Busy), style), (" ", style), (&command, style), (&more, style)];
        put_all(buffer, inner, &texts);
        return;
    }
    if let Some(message) = &model.message {
        let style = theme.tone(message.tone);
        let text = [(mark(message.tone), style), (" ", style), (&message.text, theme.plain())];
        put_all(buffer, inner, &text);
        return;
    }
    put(buffer, inner, &differences(model), theme.dim());
}

/// How the lists differ from what they are at first.
fn differences(model: &Model) -> String {
    let mut parts = Vec::new();
    if model.only_trouble {
        parts.push("only apps in trouble (t)".to_owned());
    }
    for (what, filter, sort) in [
        ("apps", &model.app_table.filter, model.app_table.sort),
        ("workers", &model.worker_table.filter, model.worker_table.sort),
    ] {
        if !filter.is_empty() {
            parts.push(format!("{what} with \"{filter}\""));
        }
        if sort != Default::default() {
            let reversed = if sort.reversed { ", reversed" } else { "" };
            parts.push(format!("{what} by {}{reversed}", sort.key.word()));
        }
    }
    parts.join("  ·  ")
}

/// The keys that matter now.
pub(super) fn draw_keys(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let log = [
        ("f", "follow"),
        ("x", "out/err"),
        ("w", "wrap"),
        ("e", "events"),
        ("/", "filter"),
        ("z", "zoom"),
        ("Tab", "pane"),
        ("?", "help"),
        ("q", "quit"),
    ];
    let stopped = model.app().is_some_and(|app| app.tone() == Tone::Idle);
    let apps = [
        ("r", "reload"),
        ("R", "restart"),
        ("+ -", "scale"),
        ("s", if stopped { "start" } else { "stop" }),
        ("d", "delete"),
        ("K", "signal"),
        ("/", "filter"),
        ("?", "help"),
        ("q", "quit"),
    ];
    let keys = if model.focus == Pane::Log { log } else { apps };
    let mut x = 1;
    // What fits: the list of keys is one of them.
    let all: u16 = keys.iter().map(|(key, what)| width(key) + width(what) + 3).sum();
    let rare = |key: &str| all > area.width && key == "K";
    for (key, what) in keys.into_iter().filter(|(key, _)| !rare(key)) {
        let texts = [(key, theme.bold()), (" ", theme.dim()), (what, theme.dim())];
        x = put_all(buffer, right_of(area, x), &texts) + 2;
    }
}
