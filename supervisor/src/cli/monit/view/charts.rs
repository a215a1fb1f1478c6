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

/// A chart: its title, its values, how they are written, and its scale.
type Chart<'a> = (&'a str, &'a Series, fn(f64) -> String, (f64, f64));

/// The lines of bars of each chart in this area. `None`: it is not enough for all.
fn bar_lines(area: Rect) -> Option<u16> {
    let high = (area.height / 3).saturating_sub(HEAD).min(BARS[1]);
    (high >= BARS[0]).then_some(high)
}

/// Whether an area has room for them.
pub(super) fn fit(area: Rect) -> bool {
    bar_lines(area).is_some()
}

/// Draws them into what is left of the pane, if that is enough for all.
pub(super) fn draw(theme: Theme, area: Rect, app: &App, buffer: &mut Buffer) {
    let width = area.width.saturating_sub(INDENT);
    let charts: [Chart<'_>; 3] = [
        ("cpu", &app.cpu, |value| table::percent(Some(value)), from_zero(&app.cpu, width, 10.0)),
        ("mem", &app.memory, |value| table::bytes(Some(value)), around(&app.memory, width)),
        ("acc/s", &app.accepted, rate, from_zero(&app.accepted, width, 1.0)),
    ];
    let Some(high) = bar_lines(area) else { return };
    for ((title, series, form, scale), at) in charts.into_iter().zip(0..) {
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
}
