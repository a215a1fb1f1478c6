//! The terminal while it is ours: raw mode, the alternate screen, the mouse. It is given back when
//! the value is dropped, before this process stops, and when it panics.

use std::io::{self, Write};
use std::sync::Once;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::style::Print;
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{cursor, execute, queue};
use ratatui::layout::Rect;

use crate::cli::monit::model::Model;
use crate::cli::monit::view::{self, Theme};

/// Reports of clicks and the wheel, in the form that has no limit of columns. Crossterm's own
/// command also asks for every movement.
const MOUSE_ON: &str = "\x1b[?1000h\x1b[?1006h";
const MOUSE_OFF: &str = "\x1b[?1006l\x1b[?1000l";

/// The terminal.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<io::Stdout>>,
    theme: Theme,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn take(theme: Theme) -> io::Result<Self> {
        restore_on_panic();
        enter()?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()));
        let terminal = terminal.inspect_err(|_| give_back())?;
        Ok(Self { terminal, theme })
    }

    /// The size in columns and lines.
    pub(super) fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
    }

    /// Draws the model: writes the cells that differ from what is shown, all at once where the
    /// terminal can do that.
    pub(super) fn draw(&mut self, model: &Model) -> io::Result<()> {
        queue!(io::stdout(), BeginSynchronizedUpdate)?;
        let theme = self.theme;
        self.terminal.draw(|frame| view::draw(model, theme, frame.buffer_mut()))?;
        execute!(io::stdout(), EndSynchronizedUpdate)
    }

    /// Makes the next drawing write every cell.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        // `Terminal::clear` asks the terminal for the cursor, and the thread that reads keys would
        // get the answer.
        let (width, height) = self.size()?;
        self.terminal.resize(Rect::new(0, 0, width, height))
    }

    /// Gives the terminal back while `stopped` runs, and takes it again.
    pub(super) fn without(&mut self, stopped: impl FnOnce()) -> io::Result<()> {
        give_back();
        stopped();
        enter()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    let entered = execute!(io::stdout(), EnterAlternateScreen, Print(MOUSE_ON), cursor::Hide);
    entered.inspect_err(|_| give_back())
}

/// Gives the terminal back. If it is gone, there is nothing to give back.
fn give_back() {
    let _ = execute!(io::stdout(), Print(MOUSE_OFF), LeaveAlternateScreen, cursor::Show);
    let _ = io::stdout().flush();
    let _ = disable_raw_mode();
}

/// From now on a panic gives the terminal back before it prints its message.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
    });
}
