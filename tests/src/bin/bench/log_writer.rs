//! The worker of `bench logs`: it waits for a file, and then writes lines as fast as it can for
//! some time. The lines have numbers, so that a lost one is found.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use tests::wait::let_pass;

/// The word that makes this program the writer. After it come the file to wait for and the seconds.
pub(crate) const MODE: &str = "write-lines";

/// Bytes of a line, the end included.
pub(crate) const LINE: usize = 100;

/// Lines of one `write`.
const BATCH: u64 = 64;

/// Writes, then leaves the number of lines in a file beside the first one, and sleeps until it is
/// killed.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let [go, seconds] = arguments else { return ExitCode::from(2) };
    let Ok(seconds) = seconds.parse() else { return ExitCode::from(2) };
    while !Path::new(go).exists() {
        let_pass(Duration::from_millis(1));
    }
    let me = std::process::id();
    let (begun, span) = (Instant::now(), Duration::from_secs(seconds));
    let mut written = 0u64;
    let mut text = Vec::with_capacity(LINE * 64);
    while begun.elapsed() < span {
        text.clear();
        for number in written..written + BATCH {
            let line = format!("{me} {number} ");
            let _ = writeln!(text, "{line:.<width$}", width = LINE - 1);
        }
        if io::stdout().lock().write_all(&text).is_err() {
            return ExitCode::FAILURE;
        }
        written += BATCH;
    }
    // Renamed, so that a reader never sees half of it.
    let (mark, fresh) = (format!("{go}.{me}"), format!("{go}-{me}"));
    let told = fs::write(&fresh, written.to_string()).and_then(|()| fs::rename(&fresh, &mark));
    if told.is_err() {
        return ExitCode::FAILURE;
    }
    loop {
        thread::park();
    }
}
