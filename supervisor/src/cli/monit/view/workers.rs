//! The pane of one app: how it is, its graphs, a rollout slot by slot, and its workers.

use ipc::control::{Status, WorkerState, WorkerStatus};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::apps::{cell, draw_name, draw_titles, known, number_style};
use super::charts;
use super::paint::{graph, line, put, put_all, put_right, right_of, rule, width};
use super::theme::Theme;
use crate::cli::monit::model::{Column, Model, Pane, Placed, Tone, first_row};
use crate::cli::output::table;
use crate::cli::watch::{App, Progress, SlotProgress, count, rate, uptime, worker_tone};

/// Slots of a rollout that are drawn one by one.
const MAX_SLOTS: usize = 40;

/// Draws the pane.
pub(super) fn draw(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    if area.is_empty() {
        return;
    }
    let focused = model.focus == Pane::Workers;
    let Some(app) = model.app() else {
        rule(buffer, theme, line(area, 0), &[("workers", theme.title(focused))]);
        return;
    };
    draw_title(theme, line(area, 0), app, focused, buffer);
    draw_reason(theme, line(area, 1), app, buffer);
    let columns = model.worker_columns(area.width);
    draw_titles(theme, line(area, 3), &columns, model.worker_table.sort.key, buffer);
    let rows = Rect { y: area.y + 4, height: area.height.saturating_sub(4), ..area };
    let shown = model.shown_workers();
    if shown.is_empty() {
        let text = match app.status.workers.is_empty() {
            true => "no workers",
            false => "no worker matches the filter (Esc clears it)",
        };
        put(buffer, right_of(line(rows, 0), 3), text, theme.dim());
    }
    let taken = u16::try_from(shown.len().max(1)).unwrap_or(u16::MAX).min(rows.height);
    let left = Rect { y: rows.y + taken, height: rows.height - taken, ..rows };
    if !charts::draw(theme, left, app, buffer) {
        draw_graphs(theme, line(area, 2), app, buffer);
    }
    let selected = model.worker_row(&shown);
    let first = first_row(selected.unwrap_or(0), shown.len(), rows.height);
    for (at, index) in shown.iter().enumerate().skip(first).take(rows.height.into()) {
        let row = line(rows, u16::try_from(at - first).unwrap_or(0));
        let is_selected = selected == Some(at) && focused;
        let accepted = app.worker_rates.get(*index).copied().flatten();
        let worker = &app.status.workers[*index];
        draw_row(theme, row, &columns, (worker, accepted), is_selected, buffer);
        if is_selected {
            buffer.set_style(row, theme.selected());
        }
    }
}

/// `── web · ready 4/4 · generation 3 · 127.0.0.1:8000 ───`
fn draw_title(theme: Theme, area: Rect, app: &App, focused: bool, buffer: &mut Buffer) {
    let status = &app.status;
    let state = format!("{} {}/{}", app.word(), status.ready, status.wanted);
    let rest = match status.primary_pid {
        0 => String::new(),
        pid => format!(" · generation {} · {} · primary {pid}", status.generation, app.addresses()),
    };
    let dim = theme.dim();
    let name = theme.title(focused);
    let texts = [
        (status.name.as_str(), name),
        (" · ", dim),
        (&state, theme.tone(app.tone())),
        (&rest, dim),
    ];
    rule(buffer, theme, area, &texts);
}

/// A rollout under way; else why the app is not ready; else how the last reload ended.
fn draw_reason(theme: Theme, area: Rect, app: &App, buffer: &mut Buffer) {
    let area = right_of(area, 3);
    if app.status.status == Status::Reloading && app.failure.is_none() {
        let progress = Progress::of(&app.status);
        let slots = match progress.slots.len() {
            0..=MAX_SLOTS => progress.slots.iter().map(|slot| slot_mark(*slot)).collect(),
            _ => bar(&progress),
        };
        let done = format!("  {} of {} replaced  ", progress.replaced(), progress.slots.len());
        let reason = app.reason().unwrap_or_default();
        let style = theme.tone(Tone::Busy);
        let texts = [(slots.as_str(), style), (&done, style), (reason, theme.dim())];
        put_all(buffer, area, &texts);
        return;
    }
    match (app.reason(), &app.status.last_reload, app.status.notes.first()) {
        (Some(reason), ..) => put(buffer, area, reason, theme.reason(app.tone())),
        (None, Some(last), _) => put(buffer, area, &format!("last reload: {last}"), theme.dim()),
        (None, None, Some(note)) => put(buffer, area, note, theme.dim()),
        (None, None, None) => area.x,
    };
}

/// The mark of one slot of a rollout.
fn slot_mark(slot: SlotProgress) -> char {
    match slot {
        SlotProgress::Old => '□',
        SlotProgress::Between => '◧',
        SlotProgress::New => '■',
    }
}

/// Many slots as a bar of a fixed width.
fn bar(progress: &Progress) -> String {
    let full = progress.replaced() * MAX_SLOTS / progress.slots.len().max(1);
    "■".repeat(full) + &"□".repeat(MAX_SLOTS - full)
}

/// `cpu 42% ▁▂▃   mem 120M ▁▁▂   acc/s 1.2k ▃▅▆`, each in a third of the line.
fn draw_graphs(theme: Theme, area: Rect, app: &App, buffer: &mut Buffer) {
    let area = right_of(area, 3);
    let third = area.width / 3;
    for ((name, series, form, scale), part) in charts::of(app).into_iter().zip(0..) {
        let value = known(series.latest(), form);
        let part = Rect { width: third.saturating_sub(2), ..right_of(area, third * part) };
        let texts = [(name, theme.dim()), (" ", theme.dim()), (&value, theme.plain())];
        let used = width(name) + 1 + width(&value).max(6) + 1;
        put_all(buffer, part, &texts);
        let at = right_of(part, used);
        graph(buffer, at, series, scale(series, at.width), theme.graph());
    }
}

fn draw_row(
    theme: Theme,
    row: Rect,
    columns: &[Placed],
    (worker, accepted): (&WorkerStatus, Option<f64>),
    is_selected: bool,
    buffer: &mut Buffer,
) {
    let tone = worker_tone(worker);
    let number = |value: Option<f64>| known(value, count);
    for placed in columns {
        let at = cell(row, *placed);
        // A slot without a worker has no numbers; why it has none takes their place.
        if placed.column == Column::Cpu && worker.pid.is_none() {
            put(buffer, right_of(row, placed.x + 1), &why(worker), theme.tone(tone));
            return;
        }
        let text = match placed.column {
            Column::Slot => {
                draw_name(theme, at, &worker.slot.to_string(), tone, is_selected, buffer);
                continue;
            }
            Column::State => {
                put(buffer, at, worker.state.word(), theme.tone(tone));
                continue;
            }
            Column::Pool => {
                put(buffer, at, worker.pool.as_deref().unwrap_or("-"), theme.plain());
                continue;
            }
            Column::Reason => {
                put(buffer, at, &why(worker), theme.dim());
                continue;
            }
            Column::Pid => worker.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            Column::Generation => worker.generation.to_string(),
            Column::Cpu => table::percent(worker.cpu_percent.map(f64::from)),
            Column::Memory => table::bytes(worker.rss_bytes.map(|bytes| bytes as f64)),
            Column::Connections => number(worker.connections.map(f64::from)),
            Column::Accepted => known(accepted, rate),
            Column::Backlog => number(worker.backlog.map(f64::from)),
            Column::Restarts => count(worker.restarts as f64),
            Column::Uptime => worker.uptime_ms.map_or_else(|| "-".to_owned(), uptime),
            Column::Name
            | Column::Ready
            | Column::CpuGraph
            | Column::MemoryGraph
            | Column::AcceptedGraph
            | Column::Addresses => continue,
        };
        put_right(buffer, at, &text, number_style(theme, &text));
    }
}

/// Why a worker is in its state, or what it says of itself, or how the last one of its slot ended.
fn why(worker: &WorkerStatus) -> String {
    let said = worker.reason.clone().or_else(|| worker.status_text.clone());
    match (said, &worker.last_exit) {
        (Some(said), _) => said,
        (None, Some(exit)) if worker.state == WorkerState::Ready => format!("before: {exit}"),
        (None, Some(exit)) => exit.clone(),
        (None, None) => String::new(),
    }
}
