//! Colours, or what stands for them without colours. Each state also has a mark of its own.

use ratatui::style::{Color, Modifier, Style};

use crate::cli::monit::model::Tone;

/// Whether there are colours (<https://no-color.org>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Theme {
    pub(crate) colours: bool,
}

impl Theme {
    pub(super) fn plain(self) -> Style {
        Style::new()
    }

    /// For what matters less.
    pub(super) fn dim(self) -> Style {
        match self.colours {
            true => Style::new().fg(Color::DarkGray),
            false => Style::new().add_modifier(Modifier::DIM),
        }
    }

    pub(super) fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// For a row that keys and commands are for: one bar, whatever colours its cells had.
    pub(super) fn selected(self) -> Style {
        Style::reset().add_modifier(Modifier::REVERSED | Modifier::BOLD)
    }

    /// For the reason of a state. One that serves as wanted has a reason only if something else
    /// went wrong, such as a reload that was rolled back.
    pub(super) fn reason(self, tone: Tone) -> Style {
        self.tone(if tone == Tone::Good { Tone::Warning } else { tone })
    }

    /// For the title of a pane.
    pub(super) fn title(self, focused: bool) -> Style {
        if focused { self.bold() } else { self.plain() }
    }

    /// For the words and marks of a state.
    pub(super) fn tone(self, tone: Tone) -> Style {
        if !self.colours {
            return match tone {
                Tone::Bad | Tone::Warning => self.bold(),
                Tone::Busy | Tone::Good => self.plain(),
                Tone::Idle => self.dim(),
            };
        }
        match tone {
            Tone::Bad => self.bold().fg(Color::Red),
            Tone::Warning => Style::new().fg(Color::Yellow),
            Tone::Busy => Style::new().fg(Color::Cyan),
            Tone::Good => Style::new().fg(Color::Green),
            Tone::Idle => self.dim(),
        }
    }

    /// For graphs.
    pub(super) fn graph(self) -> Style {
        match self.colours {
            true => Style::new().fg(Color::Blue),
            false => self.plain(),
        }
    }

    /// For lines of stderr.
    pub(super) fn stderr(self) -> Style {
        match self.colours {
            true => Style::new().fg(Color::Red),
            false => self.bold(),
        }
    }
}

/// The mark of a state.
pub(super) fn mark(tone: Tone) -> &'static str {
    match tone {
        Tone::Bad => "✗",
        Tone::Warning => "▲",
        Tone::Busy => "◐",
        Tone::Good => "●",
        Tone::Idle => "○",
    }
}
