//! The table of apps.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::paint::{around, from_zero, graph, line, put, put_all, put_right, right_of, width};
use super::theme::{Theme, mark};
use crate::cli::monit::model::{Column, Key, Model, Pane, Placed, Tone, first_row};
use crate::cli::output::table;
use crate::cli::watch::{App, count, rate, uptime};

/// Draws the titles and the rows.
pub(super) fn draw(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let columns = model.app_columns(area.width);
    draw_titles(theme, line(area, 0), &columns, model.app_table.sort.key, buffer);
    let shown = model.shown_apps();
    let rows = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    if shown.is_empty() {
        put(buffer, right_of(line(rows, 0), 3), nothing(model), theme.dim());
        return;
    }
    let selected = model.app_row(&shown);
    let first = first_row(selected.unwrap_or(0), shown.len(), rows.height);
    for (at, app) in shown.iter().enumerate().skip(first).take(rows.height.into()) {
        let row = line(rows, u16::try_from(at - first).unwrap_or(0));
        let is_selected = selected == Some(at);
        draw_row(theme, row, &columns, app, is_selected, buffer);
        if is_selected && model.focus == Pane::Apps {
            buffer.set_style(row, theme.selected());
        }
    }
}

/// Why there is no row.
fn nothing(model: &Model) -> &'static str {
    match (model.listed, model.apps.is_empty(), model.only_trouble) {
        (false, true, _) => "asking the primaries…",
        (true, true, _) => "no apps; start one with: supervisor start -i max -- COMMAND",
        (_, false, true) => "no app is in trouble (t shows all)",
        (_, false, false) => "no app matches the filter (Esc clears it)",
    }
}

/// The titles of the columns; that of the sorted one stands out.
pub(super) fn draw_titles(
    theme: Theme,
    area: Rect,
    columns: &[Placed],
    sorted: Key,
    buffer: &mut Buffer,
) {
    for placed in columns {
        let cell = cell(area, *placed);
        let style = match placed.column.sort() == Some(sorted) {
            true => theme.bold(),
            false => theme.dim(),
        };
        match placed.column.is_right() {
            true => put_right(buffer, cell, placed.column.title(), style),
            false => _ = put(buffer, cell, placed.column.title(), style),
        }
    }
}

/// The place of a cell.
pub(super) fn cell(row: Rect, placed: Placed) -> Rect {
    let cell = right_of(row, placed.x);
    Rect { width: placed.width.min(cell.width), ..cell }
}

fn draw_row(
    theme: Theme,
    row: Rect,
    columns: &[Placed],
    app: &App,
    is_selected: bool,
    buffer: &mut Buffer,
) {
    let (status, tone) = (&app.status, app.tone());
    let has_reasons = columns.iter().any(|placed| placed.column == Column::Reason);
    for placed in columns {
        let at = cell(row, *placed);
        // An app without workers has no numbers; why it has none takes their place.
        if placed.column == Column::Cpu && app.is_down() && !(has_reasons && row.width > 140) {
            let text = app.reason().unwrap_or_default();
            put(buffer, right_of(row, placed.x + 1), text, theme.tone(tone));
            return;
        }
        let number = |text: String, buffer: &mut Buffer| {
            put_right(buffer, at, &text, number_style(theme, &text));
        };
        match placed.column {
            Column::Name => draw_name(theme, at, &status.name, tone, is_selected, buffer),
            Column::State => _ = put(buffer, at, app.word(), theme.tone(tone)),
            Column::Ready => {
                let style =
                    if status.ready < status.wanted { theme.tone(tone) } else { theme.plain() };
                // Three digits each need the room that a short word for the state leaves.
                let more = 9u16.saturating_sub(width(app.word())).min(2);
                let at = Rect { x: at.x - more, width: at.width + more, ..at };
                put_right(buffer, at, &format!("{}/{}", status.ready, status.wanted), style);
            }
            Column::Generation => number(status.generation.to_string(), buffer),
            Column::Cpu => number(table::percent(app.cpu.latest()), buffer),
            Column::Memory => number(table::bytes(app.memory.latest()), buffer),
            Column::Connections => number(known(app.connections(), count), buffer),
            Column::Accepted => number(known(app.accepted.latest(), rate), buffer),
            Column::Backlog => number(count(app.backlog()), buffer),
            Column::Restarts => number(count(status.restarts as f64), buffer),
            Column::Uptime => number(known_uptime(status.uptime_ms), buffer),
            Column::Addresses => _ = put(buffer, at, &app.addresses(), theme.plain()),
            Column::Reason => {
                let text = app.reason().unwrap_or_default();
                put(buffer, at, text, theme.reason(tone));
            }
            Column::CpuGraph => {
                let scale = from_zero(&app.cpu, at.width, 10.0);
                graph(buffer, at, &app.cpu, scale, theme.graph());
            }
            Column::MemoryGraph => {
                let scale = around(&app.memory, at.width);
                graph(buffer, at, &app.memory, scale, theme.graph());
            }
            Column::AcceptedGraph => {
                let scale = from_zero(&app.accepted, at.width, 1.0);
                graph(buffer, at, &app.accepted, scale, theme.graph());
            }
            Column::Slot | Column::Pool | Column::Pid => {}
        }
    }
}

/// The marks, and a name or number: `▸● web`.
pub(super) fn draw_name(
    theme: Theme,
    at: Rect,
    name: &str,
    tone: Tone,
    is_selected: bool,
    buffer: &mut Buffer,
) {
    let (pointer, style) = match is_selected {
        true => ("▸", theme.bold()),
        false => (" ", theme.plain()),
    };
    let texts = [(pointer, style), (mark(tone), theme.tone(tone)), (" ", style), (name, style)];
    put_all(buffer, at, &texts);
}

/// Zeros, and what is not known, stand back.
pub(super) fn number_style(theme: Theme, text: &str) -> Style {
    match text {
        "0" | "-" | "0%" => theme.dim(),
        _ => Style::new().remove_modifier(Modifier::DIM),
    }
}

/// A number in a form of it, or `-`.
pub(super) fn known(value: Option<f64>, form: fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), form)
}

/// A time since the start, or `-` for one that is not known.
fn known_uptime(ms: u64) -> String {
    if ms == 0 { "-".to_owned() } else { uptime(ms) }
}
