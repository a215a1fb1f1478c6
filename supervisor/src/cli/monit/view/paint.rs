//! Text, cells, rules and graphs in a buffer.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;

use super::theme::Theme;
use crate::cli::watch::Series;

/// The columns that a text takes.
pub(super) fn width(text: &str) -> u16 {
    match text.is_ascii() {
        true => u16::try_from(text.len()).unwrap_or(u16::MAX),
        false => u16::try_from(Span::raw(text).width()).unwrap_or(u16::MAX),
    }
}

/// Writes a text into the first line of `area`. A text that is too wide ends in `…`. Returns the
/// column after it.
pub(super) fn put(buffer: &mut Buffer, area: Rect, text: &str, style: Style) -> u16 {
    let area = area.intersection(buffer.area);
    if area.is_empty() {
        return area.x;
    }
    if width(text) <= area.width {
        return buffer.set_stringn(area.x, area.y, text, area.width.into(), style).0;
    }
    let (x, y) = buffer.set_stringn(area.x, area.y, text, usize::from(area.width) - 1, style);
    buffer.set_stringn(x, y, "…", 1, style).0
}

/// Writes a text so that it ends at the right edge of `area`.
pub(super) fn put_right(buffer: &mut Buffer, area: Rect, text: &str, style: Style) {
    let indent = area.width.saturating_sub(width(text));
    put(buffer, right_of(area, indent), text, style);
}

/// Writes texts one after the other. Returns the column after the last.
pub(super) fn put_all(buffer: &mut Buffer, area: Rect, texts: &[(&str, Style)]) -> u16 {
    let mut x = area.x;
    for (text, style) in texts {
        x = put(buffer, right_of(area, x - area.x), text, *style);
    }
    x
}

/// The area without its first columns.
pub(super) fn right_of(area: Rect, columns: u16) -> Rect {
    let columns = columns.min(area.width);
    Rect { x: area.x + columns, width: area.width - columns, ..area }
}

/// One line of the area.
pub(super) fn line(area: Rect, at: u16) -> Rect {
    let height = area.height.saturating_sub(at).min(1);
    Rect { y: area.y + at, height, ..area }
}

/// A rule with a title: `── title ─────`.
pub(super) fn rule(buffer: &mut Buffer, theme: Theme, area: Rect, title: &[(&str, Style)]) {
    let end = put(buffer, area, "── ", theme.dim());
    let end = put_all(buffer, right_of(area, end - area.x), title);
    let left = right_of(area, end + 1 - area.x.min(end));
    put(buffer, left, &"─".repeat(left.width.into()), theme.dim());
}

/// Draws the latest samples as bars in one line, one for each column, the newest at the right.
/// `floor` is the value of the lowest bar, and `top` that of the highest.
pub(super) fn graph(
    buffer: &mut Buffer,
    area: Rect,
    series: &Series,
    scale: (f64, f64),
    style: Style,
) {
    bars(buffer, line(area, 0), series, scale, style);
}

/// The same over all lines of the area. A sample that is known has at least the lowest bar.
pub(super) fn bars(
    buffer: &mut Buffer,
    area: Rect,
    series: &Series,
    (floor, top): (f64, f64),
    style: Style,
) {
    const BARS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    let steps = usize::from(area.height) * 8;
    let samples = series.last(area.width.into()).map(|sample| {
        let share = ((sample? - floor) / (top - floor).max(f64::EPSILON)).clamp(0.0, 1.0);
        // A share of 0 to 1 is a number of steps, of which there is at least one.
        Some(1 + (share * steps.saturating_sub(1) as f64).round() as usize)
    });
    let samples: Vec<Option<usize>> = samples.collect();
    for at in 0..area.height {
        let below = usize::from(area.height - 1 - at) * 8;
        let bar = |high: &Option<usize>| BARS[high.unwrap_or(0).saturating_sub(below).min(8)];
        let text: String = samples.iter().map(bar).collect();
        put_right(buffer, line(area, at), &text, style);
    }
}

/// The values of the lowest and the highest bar: from zero, and at least up to `least`.
pub(super) fn from_zero(series: &Series, width: u16, least: f64) -> (f64, f64) {
    (0.0, series.last(width.into()).flatten().fold(least, f64::max))
}

/// The values of the lowest and the highest bar of something that is never near zero: growth by a
/// tenth is the whole height or more.
pub(super) fn around(series: &Series, width: u16) -> (f64, f64) {
    let known = || series.last(width.into()).flatten();
    let top = known().fold(0.0, f64::max);
    let floor = known().fold(top, f64::min);
    (floor, top.max(floor * 1.1))
}
