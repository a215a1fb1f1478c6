//! Charts of several lines below the workers, where a tall terminal has room for them.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::apps::known;
use super::paint::{around, bars, from_zero, line, put, put_right};
use super::theme::Theme;
use crate::cli::output::table;
use crate::cli::watch::{App, Series, rate};

/// Lines of bars of a chart, at least and at most.
const BARS: [u16; 2] = [3, 14];
/// Lines of a chart beside its bars: an empty one and the title.
const HEAD: u16 = 2;
/// Columns before a chart, as before the graphs above.
const INDENT: u16 = 3;

/// A chart: its title, its values, how they are written, and its scale in so many columns.
pub(super) type Chart<'a> =
    (&'a str, &'a Series, fn(f64) -> String, fn(&Series, u16) -> (f64, f64));

/// Those of an app, also for the small form.
pub(super) fn of(app: &App) -> [Chart<'_>; 3] {
    [
        ("cpu", &app.cpu, |value| table::percent(Some(value)), |all, w| from_zero(all, w, 10.0)),
        ("mem", &app.memory, |value| table::bytes(Some(value)), around),
        ("acc/s", &app.accepted, rate, |all, w| from_zero(all, w, 1.0)),
    ]
}

/// Draws them into what is left of the pane. Returns whether that is enough for all; if not, it
/// draws nothing.
pub(super) fn draw(theme: Theme, area: Rect, app: &App, buffer: &mut Buffer) -> bool {
    let high = (area.height / 3).saturating_sub(HEAD).min(BARS[1]);
    if high < BARS[0] {
        return false;
    }
    let width = area.width.saturating_sub(INDENT);
    for ((title, series, form, scale), at) in of(app).into_iter().zip(0..) {
        let scale = scale(series, width);
        let y = area.y + at * (high + HEAD) + 1;
        let place = Rect { x: area.x + INDENT, y, width, height: high + 1 };
        let end = put(buffer, line(place, 0), title, theme.dim());
        let now = format!(" {}", known(series.latest(), form));
        put(buffer, Rect { x: end, width: place.right() - end, ..place }, &now, theme.plain());
        // What the height stands for.
        let ends = format!("{} to {}", form(scale.0), form(scale.1));
        if series.latest().is_some() {
            put_right(buffer, line(place, 0), &ends, theme.dim());
        }
        let place = Rect { y: y + 1, height: high, ..place };
        bars(buffer, place, series, scale, theme.graph());
    }
    true
}
