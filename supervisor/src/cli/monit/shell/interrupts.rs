//! Signals that end or stop a program on a terminal. The terminal must be given back first.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread;

use nix::sys::signal::{Signal, raise};

use super::input::Input;
use crate::cli::exit::Failure;
use crate::cli::monit::model::Event;

/// What ends this process.
const ENDS: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP];

/// Starts the thread that reports signals. Fails if there can be no thread or no handler.
pub(super) fn start(sender: SyncSender<Input>) -> Result<(), Failure> {
    let failed = |error| Failure::io("cannot handle signals", &error);
    let (mut pipe, wake) = UnixStream::pair().map_err(failed)?;
    let stops = Arc::new(AtomicBool::new(false));
    // The flag first: actions run in the order of their registration.
    signal_hook::flag::register(Signal::SIGTSTP as i32, Arc::clone(&stops)).map_err(failed)?;
    for signal in ENDS.into_iter().chain([Signal::SIGTSTP]) {
        let wake = wake.try_clone().map_err(failed)?;
        signal_hook::low_level::pipe::register(signal as i32, wake).map_err(failed)?;
    }
    let report = move || {
        let mut bytes = [0; 64];
        while pipe.read(&mut bytes).is_ok_and(|count| count > 0) {
            let input = match stops.swap(false, Ordering::SeqCst) {
                true => Input::Suspend,
                false => Input::Event(Event::End),
            };
            if sender.send(input).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(report).map(drop).map_err(failed)
}

/// Stops this process, until somebody sends it SIGCONT. SIGTSTP has our handler, so this is
/// SIGSTOP, which shells treat alike.
pub(super) fn stop() {
    // It can only fail for a signal that does not exist.
    let _ = raise(Signal::SIGSTOP);
}
