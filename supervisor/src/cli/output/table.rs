//! Tables, and how numbers appear in them. There are no lines between the cells, and colours only
//! where the caller asks for them.

use std::cmp::Ordering;
use std::time::Duration;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Row, Table, presets};

use super::tone::Tone;

/// A table of `header` and `rows`, wrapped to `width` columns if there is a terminal.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    arranged(header.iter().map(Cell::new), rows.into_iter().map(Row::from), width)
}

/// The same, where some cells have the colour of a state. `colours`: the header is bold.
pub(crate) fn coloured(
    header: &[&str],
    rows: Vec<Vec<(String, Option<Tone>)>>,
    width: Option<u16>,
    colours: bool,
) -> String {
    let title = |name: &&str| match colours {
        true => Cell::new(name).add_attribute(Attribute::Bold),
        false => Cell::new(name),
    };
    let cell = |(text, tone): (String, Option<Tone>)| match tone {
        None => Cell::new(text),
        Some(Tone::Bad | Tone::Warning) => Cell::new(text).fg(Color::Red),
        Some(Tone::Busy) => Cell::new(text).fg(Color::Yellow),
        Some(Tone::Good) => Cell::new(text).fg(Color::Green),
        Some(Tone::Idle) => Cell::new(text).fg(Color::DarkGrey),
    };
    let rows = rows.into_iter().map(|row| Row::from(row.into_iter().map(cell)));
    arranged(header.iter().map(title), rows, width)
}

fn arranged(
    header: impl Iterator<Item = Cell>,
    rows: impl Iterator<Item = Row>,
    width: Option<u16>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
    // The caller knows whether there is a terminal.
    table.enforce_styling();
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// The sum of what is known; `None` if nothing is.
pub(crate) fn total(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values.flatten().reduce(|sum, value| sum + value)
}

/// The larger value first, an unknown one last.
pub(crate) fn larger_first(a: Option<f64>, b: Option<f64>) -> Ordering {
    let value = |value: Option<f64>| value.unwrap_or(-1.0);
    value(b).total_cmp(&value(a))
}

/// The text, or `-` if it is empty.
pub(crate) fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// `3h 12m`: the two largest units of a time in milliseconds.
pub(crate) fn uptime(ms: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(ms / 1000)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// `12%`.
pub(crate) fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}%"))
}

/// `12.3M`: a number of bytes in units of 1024.
pub(crate) fn bytes(value: Option<f64>) -> String {
    let Some(mut value) = value else { return "-".to_owned() };
    let mut unit = "B";
    for larger in ["K", "M", "G", "T"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{value:.0}B") } else { format!("{value:.1}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!(bytes(Some(1023.0)), "1023B");
        assert_eq!(bytes(Some(1024.0)), "1.0K");
        assert_eq!(bytes(None), "-");
        assert_eq!(uptime(59_999), "59s");
        assert_eq!(uptime(0), "0s");
    }
}
