//! A spinner while a command waits for a primary, with the notices that the primary sends.

use std::fmt::Display;
use std::time::Duration;

use indicatif::ProgressBar;
use ipc::control::Notice;

/// How often the spinner moves.
const SPINNER_INTERVAL: Duration = Duration::from_millis(100);

/// A spinner on stderr, removed when it is dropped. Where stderr is no terminal, nothing is shown.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Shows the spinner with the text `what`.
    pub(crate) fn start(what: impl Display) -> Self {
        // Where stderr is no terminal, the bar hides itself.
        let bar = ProgressBar::new_spinner();
        if !bar.is_hidden() {
            bar.set_message(what.to_string());
            // The spinner needs a thread, and indicatif panics if there can be none.
            if std::thread::Builder::new().spawn(|| ()).is_ok() {
                bar.enable_steady_tick(SPINNER_INTERVAL);
            }
        }
        Self { bar }
    }

    /// Shows a notice above the spinner.
    pub(crate) fn notice(&self, notice: &Notice) {
        self.bar.println(format!("  {}", one_line(notice)));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
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
