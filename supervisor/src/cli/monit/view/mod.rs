//! Draws a model. Nothing here changes it.

mod apps;
mod charts;
mod dialogs;
mod header;
mod help;
mod log;
mod paint;
mod theme;
mod workers;

#[cfg(test)]
mod tests;

use ratatui::buffer::Buffer;

pub(crate) use theme::Theme;

use super::model::Model;
use paint::put;

/// Draws the whole screen.
pub(crate) fn draw(model: &Model, theme: Theme, buffer: &mut Buffer) {
    let Some(areas) = model.areas() else {
        let text = format!("{} x {} is too small", model.size.0, model.size.1);
        put(buffer, buffer.area, &text, theme.plain());
        return;
    };
    header::draw(model, theme, areas.header, buffer);
    apps::draw(model, theme, areas.apps, buffer);
    workers::draw(model, theme, areas.workers, buffer);
    log::draw(model, theme, areas.log, buffer);
    header::draw_message(model, theme, areas.message, buffer);
    header::draw_keys(model, theme, areas.footer, buffer);
    dialogs::draw(model, theme, buffer);
}
