//! What the mouse does.

use ratatui::crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Rect;

use super::columns::Placed;
use super::event::Effect;
use super::layout::{Pane, first_row};
use super::sort::Sort;
use super::state::{Mode, Model};

/// Lines of the log that one step of the wheel scrolls.
const WHEEL_LINES: i32 = 3;

impl Model {
    /// What a click or the wheel does. While something is asked, nothing.
    pub(super) fn mouse(&mut self, mouse: MouseEvent) -> Vec<Effect> {
        let Some(areas) = self.areas() else { return Vec::new() };
        if matches!(self.mode, Mode::Help { .. } | Mode::Failure { .. })
            && matches!(mouse.kind, MouseEventKind::Down(_))
        {
            self.mode = Mode::Normal;
            return Vec::new();
        }
        let (x, y) = (mouse.column, mouse.row);
        let (Some(pane), Mode::Normal) = (areas.pane_at(x, y), &self.mode) else {
            return Vec::new();
        };
        let wheel = |rows: i32| if pane == Pane::Log { rows * WHEEL_LINES } else { rows };
        match mouse.kind {
            MouseEventKind::ScrollUp => self.move_by(pane, wheel(-1)),
            MouseEventKind::ScrollDown => self.move_by(pane, wheel(1)),
            MouseEventKind::Down(MouseButton::Left) => {
                self.focus = pane;
                match pane {
                    Pane::Apps => self.click_app(areas.app_rows(), x, y),
                    Pane::Workers => {
                        self.click_worker(areas.worker_rows(), x, y);
                        Vec::new()
                    }
                    Pane::Log => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }

    fn click_app(&mut self, rows: Rect, x: u16, y: u16) -> Vec<Effect> {
        if y < rows.y {
            let columns = self.app_columns(rows.width);
            sort_by_title(&mut self.app_table.sort, &columns, x - rows.x);
            return Vec::new();
        }
        let shown = self.shown_apps();
        let first = first_row(self.app_row(&shown).unwrap_or(0), shown.len(), rows.height);
        let row = first + usize::from(y - rows.y);
        if row >= shown.len() {
            return Vec::new();
        }
        self.select_app(row).into_iter().collect()
    }

    fn click_worker(&mut self, rows: Rect, x: u16, y: u16) {
        if y + 1 == rows.y {
            let columns = self.worker_columns(rows.width);
            sort_by_title(&mut self.worker_table.sort, &columns, x - rows.x);
        }
        let shown = self.shown_workers();
        let first = first_row(self.worker_row(&shown).unwrap_or(0), shown.len(), rows.height);
        let row = usize::from(y.saturating_sub(rows.y));
        if y >= rows.y && first + row < shown.len() {
            self.select_worker(first + row);
        }
    }
}

/// Sorts by the column whose title is at `x`.
fn sort_by_title(sort: &mut Sort, columns: &[Placed], x: u16) {
    let at = columns.iter().find(|placed| (placed.x..placed.x + placed.width).contains(&x));
    if let Some(key) = at.and_then(|placed| placed.column.sort()) {
        *sort = sort.by(key);
    }
}
