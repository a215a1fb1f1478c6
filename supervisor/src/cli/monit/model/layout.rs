//! Where everything stands on a screen of a given size. The view draws there, and clicks are found
//! there.

use ratatui::layout::Rect;

/// The smallest screen on which the panes make sense.
pub(crate) const SMALLEST: (u16, u16) = (50, 14);

/// From this width on, workers and log stand side by side.
const SIDE_BY_SIDE: u16 = 140;

/// Lines of a pane of workers above its rows: title, reason, graphs, titles of the columns.
pub(crate) const WORKERS_HEAD: u16 = 4;

/// One of the panes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pane {
    Apps,
    Workers,
    Log,
}

/// What decides the sizes of the panes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    pub(crate) apps: usize,
    pub(crate) workers: usize,
    /// The only pane that is shown.
    pub(crate) zoomed: Option<Pane>,
}

/// The parts of the screen. One that is not shown has no height.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Areas {
    pub(crate) header: Rect,
    pub(crate) apps: Rect,
    pub(crate) workers: Rect,
    pub(crate) log: Rect,
    pub(crate) message: Rect,
    pub(crate) footer: Rect,
}

impl Areas {
    /// The parts of a screen of `width` times `height`; `None` if it is too small.
    pub(crate) fn new((width, height): (u16, u16), needs: Needs) -> Option<Self> {
        if width < SMALLEST.0 || height < SMALLEST.1 {
            return None;
        }
        let row = |y| Rect::new(0, y, width, 1);
        let body = Rect::new(0, 1, width, height - 3);
        let mut areas = Self {
            header: row(0),
            message: row(height - 2),
            footer: row(height - 1),
            ..Self::default()
        };
        match needs.zoomed {
            Some(Pane::Apps) => areas.apps = body,
            Some(Pane::Workers) => areas.workers = body,
            Some(Pane::Log) => areas.log = body,
            None => areas.divide(body, needs),
        }
        Some(areas)
    }

    fn divide(&mut self, body: Rect, needs: Needs) {
        let rows = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        let wide = body.width >= SIDE_BY_SIDE;
        // A blank line below the apps, where there is room.
        let most = if wide { body.height / 2 } else { body.height * 2 / 5 };
        let apps = rows(needs.apps.max(1)).saturating_add(2).min(most);
        self.apps = Rect { height: apps, ..body };
        let rest = Rect { y: body.y + apps, height: body.height - apps, ..body };
        if wide {
            let left = (rest.width / 2).max(84);
            self.workers = Rect { width: left - 1, ..rest };
            self.log = Rect { x: left + 1, width: rest.width - left - 1, ..rest };
            return;
        }
        let needed = rows(needs.workers.max(1)).saturating_add(WORKERS_HEAD);
        let workers = needed.min(rest.height * 3 / 5).max(WORKERS_HEAD + 1);
        self.workers = Rect { height: workers, ..rest };
        self.log = Rect { y: rest.y + workers, height: rest.height - workers, ..rest };
    }

    /// The rows of apps.
    pub(crate) fn app_rows(&self) -> Rect {
        below(self.apps, 1)
    }

    /// The rows of workers.
    pub(crate) fn worker_rows(&self) -> Rect {
        below(self.workers, WORKERS_HEAD)
    }

    /// The lines of the log.
    pub(crate) fn log_rows(&self) -> Rect {
        below(self.log, 1)
    }

    /// The pane at a place.
    pub(crate) fn pane_at(&self, x: u16, y: u16) -> Option<Pane> {
        let panes = [(self.apps, Pane::Apps), (self.workers, Pane::Workers), (self.log, Pane::Log)];
        panes.into_iter().find(|(area, _)| area.contains((x, y).into())).map(|(_, pane)| pane)
    }
}

/// The area without its first lines.
fn below(area: Rect, lines: u16) -> Rect {
    let lines = lines.min(area.height);
    Rect { y: area.y + lines, height: area.height - lines, ..area }
}

/// The first row in sight of a table of `count` rows, `height` of which have room: the selected
/// one is in the middle where that is possible.
pub(crate) fn first_row(selected: usize, count: usize, height: u16) -> usize {
    let height = usize::from(height);
    selected.saturating_sub(height / 2).min(count.saturating_sub(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn areas(size: (u16, u16), apps: usize, workers: usize) -> Areas {
        Areas::new(size, Needs { apps, workers, zoomed: None }).unwrap()
    }

    #[test]
    fn panes_fill_the_screen_without_overlap() {
        for size in [SMALLEST, (80, 24), (139, 30), (140, 30), (200, 60), (300, 90)] {
            for (apps, workers) in [(0, 0), (1, 1), (4, 4), (50, 300)] {
                let areas = areas(size, apps, workers);
                let panes = [areas.apps, areas.workers, areas.log];
                for (at, one) in panes.iter().enumerate() {
                    assert!(one.height > 1 && one.bottom() <= size.1 - 2, "{size:?} {areas:?}");
                    assert!(panes[at + 1..].iter().all(|two| !one.intersects(*two)), "{areas:?}");
                }
                assert!(areas.app_rows().height > 0 && areas.worker_rows().height > 0);
                assert_eq!(areas.log.bottom(), size.1 - 2);
            }
        }
        assert_eq!(Areas::new((49, 24), Needs { apps: 1, workers: 1, zoomed: None }), None);
    }

    #[test]
    fn a_zoomed_pane_has_it_all() {
        let needs = Needs { apps: 3, workers: 3, zoomed: Some(Pane::Log) };
        let areas = Areas::new((80, 24), needs).unwrap();
        assert_eq!((areas.log.height, areas.apps.height), (21, 0));
        assert_eq!(areas.pane_at(5, 5), Some(Pane::Log));
        assert_eq!(areas.pane_at(5, 0), None);
    }

    #[test]
    fn the_selected_row_is_in_sight() {
        for count in 1..40 {
            for selected in 0..count {
                let first = first_row(selected, count, 7);
                assert!(first <= selected && selected < first + 7);
                assert!(first == 0 || first + 7 <= count, "no blank rows while others are hidden");
            }
        }
    }
}
