//! What stands above the panes: questions, failures, help.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::{Block, Clear, Widget};

use super::help::KEYS;
use super::paint::{line, put, put_all, right_of, width};
use super::theme::Theme;
use crate::cli::monit::model::{Mode, Model, Tone};
use crate::cli::watch::Action;

/// The widest dialog.
const WIDEST: u16 = 76;

/// Draws what is asked or shown now.
pub(super) fn draw(model: &Model, theme: Theme, buffer: &mut Buffer) {
    match &model.mode {
        Mode::Normal | Mode::Filter => {}
        Mode::Confirm(action) => confirm(theme, action, buffer),
        Mode::Signal { text, wrong } => signal(theme, text, wrong.as_deref(), buffer),
        Mode::Help { from } => help(theme, *from, buffer),
        Mode::Failure { command, reason, last_lines } => {
            failure(theme, command, reason, last_lines, buffer);
        }
    }
}

/// An empty box with a border and a title in the middle of the screen. Returns the inside.
fn open(buffer: &mut Buffer, title: &str, (columns, lines): (u16, u16), style: Style) -> Rect {
    let screen = buffer.area;
    let size =
        ((columns + 4).min(screen.width), (lines + 2).min(screen.height.saturating_sub(2)).max(3));
    let area = Rect {
        x: screen.x + (screen.width - size.0) / 2,
        y: screen.y + (screen.height - size.1) / 2,
        width: size.0,
        height: size.1,
    };
    Clear.render(area, buffer);
    Block::bordered().title(format!(" {title} ")).border_style(style).render(area, buffer);
    Rect { x: area.x + 2, y: area.y + 1, width: area.width - 4, height: area.height - 2 }
}

fn confirm(theme: Theme, action: &Action, buffer: &mut Buffer) {
    let command = action.command();
    let option = action.option().map(|(key, what)| format!("[{key}] {what}"));
    let answers = format!("[y] yes   [n] no   {}", option.unwrap_or_default());
    let texts = [command.as_str(), action.consequence(), answers.as_str()];
    let columns = texts.into_iter().map(width).max().unwrap_or(0).min(WIDEST);
    let inside = open(buffer, "Do this?", (columns, 5), theme.tone(Tone::Warning));
    put(buffer, line(inside, 0), &command, theme.bold());
    put(buffer, line(inside, 2), action.consequence(), theme.plain());
    put(buffer, line(inside, 4), &answers, theme.plain());
}

fn signal(theme: Theme, text: &str, wrong: Option<&str>, buffer: &mut Buffer) {
    let inside = open(buffer, "Send which signal?", (WIDEST.min(60), 3), theme.tone(Tone::Warning));
    let texts = [("signal: ", theme.plain()), (text, theme.bold()), ("▏", theme.plain())];
    put_all(buffer, line(inside, 0), &texts);
    match wrong {
        Some(wrong) => put(buffer, line(inside, 2), wrong, theme.tone(Tone::Bad)),
        None => {
            let hint = "a name such as HUP or USR2, or a number; Enter, or Esc";
            put(buffer, line(inside, 2), hint, theme.dim())
        }
    };
}

fn failure(theme: Theme, command: &str, reason: &str, last_lines: &[String], buffer: &mut Buffer) {
    let columns = WIDEST.min(buffer.area.width.saturating_sub(6));
    let reason = words(reason, columns);
    let most = usize::from(buffer.area.height).saturating_sub(8 + reason.len());
    let last = &last_lines[last_lines.len().saturating_sub(most)..];
    let lines = 2 + reason.len() + last.len() + usize::from(!last.is_empty()) + 2;
    let lines = u16::try_from(lines).unwrap_or(u16::MAX);
    let inside = open(buffer, "It failed", (columns, lines), theme.tone(Tone::Bad));
    let mut at = 0;
    let mut add = |text: &str, style: Style| {
        put(buffer, line(inside, at), text, style);
        at += 1;
    };
    add(command, theme.bold());
    add("", theme.plain());
    reason.iter().for_each(|text| add(text, theme.plain()));
    if !last.is_empty() {
        add("", theme.plain());
        last.iter().for_each(|text| add(&format!("│ {text}"), theme.dim()));
    }
    add("", theme.plain());
    add("any key closes this", theme.dim());
}

fn help(theme: Theme, from: u16, buffer: &mut Buffer) {
    // Two columns of keys where they fit, and else one that scrolls.
    let two = buffer.area.width >= 110;
    let per_column = if two { KEYS.len().div_ceil(2) + 1 } else { KEYS.len() };
    let columns: u16 = if two { 104 } else { 60 };
    let lines = u16::try_from(per_column).unwrap_or(u16::MAX);
    let title = "Keys (↑ ↓ scroll, another key closes)";
    let inside = open(buffer, title, (columns, lines), theme.bold());
    let hidden = lines.saturating_sub(inside.height);
    let from = usize::from(from.min(hidden));
    let wide = if two { inside.width / 2 } else { inside.width };
    for (column, keys) in KEYS.chunks(per_column).enumerate() {
        let part = right_of(inside, wide * u16::try_from(column).unwrap_or(0));
        let part = Rect { width: part.width.min(wide), ..part };
        for ((key, what), at) in keys.iter().skip(from).zip(0..inside.height) {
            let row = line(part, at);
            if key.is_empty() {
                put(buffer, row, what, theme.bold());
                continue;
            }
            put(buffer, right_of(row, 2), key, theme.tone(Tone::Busy));
            put(buffer, right_of(row, 14), what, theme.plain());
        }
    }
}

/// The text in lines of at most `columns` columns, broken between words where that is possible.
fn words(text: &str, columns: u16) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(last) = lines.last_mut() else { break };
        match last.is_empty() || width(last) + 1 + width(word) <= columns {
            true => {
                if !last.is_empty() {
                    last.push(' ');
                }
                last.push_str(word);
            }
            false => lines.push(word.to_owned()),
        }
    }
    lines
}
