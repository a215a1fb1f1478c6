//! A line on the terminal for each app while a command waits for its primary, with the notices that
//! the primary sends.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar};
use ipc::control::Notice;

/// How often the spinner moves.
const SPINNER_INTERVAL: Duration = Duration::from_millis(100);

/// The lines on the terminal: one for each app that a command waits for.
static LINES: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Whether a line has a spinner that moves. The others stand still: each spinner needs a thread.
static MOVES: AtomicBool = AtomicBool::new(false);

/// A line about one app on stderr, removed when it is dropped. Where stderr is no terminal, nothing
/// is shown.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    app: String,
    moves: bool,
}

impl Progress {
    /// Shows the line: the name of the app, and `what` it does.
    pub(crate) fn start(app: &str, what: &str) -> Self {
        // Where stderr is no terminal, the bar hides itself.
        let bar = LINES.add(ProgressBar::new_spinner());
        let mut moves = false;
        if !bar.is_hidden() {
            bar.set_message(format!("{app}: {what}"));
            bar.tick();
            moves = !MOVES.swap(true, Ordering::Relaxed);
            // The spinner needs a thread, and indicatif panics if there can be none.
            if moves && std::thread::Builder::new().spawn(|| ()).is_ok() {
                bar.enable_steady_tick(SPINNER_INTERVAL);
            }
        }
        Self { bar, app: app.to_owned(), moves }
    }

    /// Shows a notice of the app above the lines.
    pub(crate) fn notice(&self, notice: &Notice) {
        self.bar.println(format!("  {}: {}", self.app, one_line(notice)));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        LINES.remove(&self.bar);
        if self.moves {
            MOVES.store(false, Ordering::Relaxed);
        }
    }
}

/// Prints something of the command itself above the lines.
pub(crate) fn above_progress<R>(print: impl FnOnce() -> R) -> R {
    LINES.suspend(print)
}

/// A notice in one line, with its slot in front.
pub(crate) fn one_line(notice: &Notice) -> String {
    match notice.slot {
        Some(slot) if !notice.message.starts_with("slot ") => {
            format!("slot {slot}: {}", notice.message)
        }
        _ => notice.message.clone(),
    }
}
