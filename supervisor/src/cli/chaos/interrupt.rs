//! Signals that end a run: the app is deleted, and what was seen is printed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::cli::exit::Failure;
use crate::cli::output::pause;

/// The longest wait at once.
const SLICE: Duration = Duration::from_millis(50);

/// Whether a signal has come.
#[derive(Debug, Clone)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on SIGINT, SIGTERM and SIGHUP end the run and not this process.
    pub(super) fn new() -> Result<Self, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signal_hook::flag::register(signal as i32, Arc::clone(&flag))
                .map_err(|error| Failure::io("cannot handle signals", &error))?;
        }
        Ok(Self(flag))
    }

    /// Whether one has come.
    pub(super) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits for this long, or until a signal comes.
    pub(super) fn wait(&self, span: Duration) {
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
