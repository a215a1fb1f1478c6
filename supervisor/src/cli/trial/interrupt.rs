//! Signals that end a trial early: what it started is cleared away, and what was seen is printed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::cli::exit::Failure;
use crate::cli::output::pause;

/// The longest wait at once.
const SLICE: Duration = Duration::from_millis(50);

/// The signals that end a trial.
const ENDING: [Signal; 5] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP];

/// Whether a signal has come.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on the signals that a terminal or `kill` sends end the trial and not this process.
    /// Ctrl-Z and Ctrl-\ are among them: either would leave behind what the trial has started.
    pub(crate) fn new() -> Result<Self, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in ENDING {
            signal_hook::flag::register(signal as i32, Arc::clone(&flag))
                .map_err(|error| Failure::io("cannot handle signals", &error))?;
        }
        Ok(Self(flag))
    }

    /// Whether one has come.
    pub(crate) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits for this long, or until a signal comes.
    pub(crate) fn wait(&self, span: Duration) {
        let end = Instant::now() + span;
        while !self.came() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            pause(left.min(SLICE));
        }
    }
}
