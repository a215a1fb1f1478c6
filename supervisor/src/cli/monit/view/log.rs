//! The third pane: the log of the selected app, or the events of all apps.

use std::collections::VecDeque;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::paint::{line, put, put_right, right_of, rule, width};
use super::theme::Theme;
use crate::cli::monit::model::{Model, Pane, Streams, Tone};
use crate::cli::watch::{Line, Origin, count};

/// Columns before a line: its mark and a space.
const GUTTER: u16 = 3;

/// Draws the pane.
pub(super) fn draw(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    if area.is_empty() {
        return;
    }
    draw_title(model, theme, line(area, 0), buffer);
    let rows = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    let text_width = rows.width.saturating_sub(GUTTER).max(1);
    // From the last line upwards, and then drawn from the first row down.
    let mut pieces = VecDeque::new();
    for entry in model.lines().newest_first() {
        let parts = match model.wraps {
            true => wrapped(&entry.text, text_width),
            false => vec![entry.text.as_str()],
        };
        for (at, part) in parts.into_iter().enumerate().rev() {
            pieces.push_front((entry, part, at == 0));
        }
        if pieces.len() >= rows.height.into() {
            break;
        }
    }
    let hidden = pieces.len().saturating_sub(rows.height.into());
    for (at, (entry, part, is_first)) in (0..rows.height).zip(pieces.iter().skip(hidden)) {
        draw_piece(theme, line(rows, at), entry, part, *is_first, buffer);
    }
    if pieces.is_empty() {
        let text = match (model.lines().filter().is_empty(), model.shows_events) {
            (false, _) => "no line matches the filter (Esc clears it)",
            (true, true) => "no events since monit began",
            (true, false) => "nothing logged yet",
        };
        put(buffer, right_of(line(rows, 0), GUTTER), text, theme.dim());
    }
}

/// `── log of web · stdout and stderr · following ───`
fn draw_title(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let lines = model.lines();
    let focused = model.focus == Pane::Log;
    let what = match (&model.app_table.selected, model.shows_events) {
        (_, true) => "events of all apps".to_owned(),
        (Some(app), false) => format!("log of {app}"),
        (None, false) => "log".to_owned(),
    };
    let streams = match (lines.streams(), model.shows_events) {
        (_, true) | (Streams::Both, _) => "",
        (Streams::Out, false) => " · only stdout",
        (Streams::Err, false) => " · only stderr",
    };
    let filter = match lines.filter() {
        "" => String::new(),
        filter => format!(" · with \"{filter}\""),
    };
    let (state, style) = match lines.is_following() {
        true => (" · following".to_owned(), theme.dim()),
        false => {
            let below = count(lines.below() as f64);
            (format!(" · stands still, {below} newer below (f follows)"), theme.tone(Tone::Warning))
        }
    };
    let title = theme.title(focused);
    let dim = theme.dim();
    rule(buffer, theme, area, &[(&what, title), (streams, dim), (&filter, dim), (&state, style)]);
}

fn draw_piece(
    theme: Theme,
    row: Rect,
    entry: &Line,
    piece: &str,
    is_first: bool,
    buffer: &mut Buffer,
) {
    let (mark, mark_style, style): (_, Style, Style) = match entry.origin {
        Origin::Out => ("│", theme.dim(), theme.plain()),
        Origin::Err => ("┃", theme.stderr(), theme.plain()),
        Origin::Event { bad: false } => ("◆", theme.tone(Tone::Busy), theme.tone(Tone::Busy)),
        Origin::Event { bad: true } => ("◆", theme.tone(Tone::Bad), theme.tone(Tone::Bad)),
    };
    let mark = if is_first || mark != "◆" { mark } else { " " };
    put_right(buffer, Rect { width: GUTTER - 1, ..row }, mark, mark_style);
    put(buffer, right_of(row, GUTTER), piece, style);
}

/// The text in pieces of at most `columns` columns.
fn wrapped(text: &str, columns: u16) -> Vec<&str> {
    if width(text) <= columns {
        return vec![text];
    }
    let mut pieces = Vec::new();
    let (mut begin, mut used) = (0, 0);
    for (at, c) in text.char_indices() {
        let mut bytes = [0; 4];
        let wide = width(c.encode_utf8(&mut bytes));
        if used + wide > columns && at > begin {
            pieces.push(&text[begin..at]);
            (begin, used) = (at, 0);
        }
        used += wide;
    }
    pieces.push(&text[begin..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_wrap_between_characters() {
        assert_eq!(wrapped("abcdefg", 3), ["abc", "def", "g"]);
        assert_eq!(wrapped("東京都", 4), ["東京", "都"]);
        assert_eq!(wrapped("東", 1), ["東"]);
        assert_eq!(wrapped("", 3), [""]);
    }
}
