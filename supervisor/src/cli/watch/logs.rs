//! The thread that reads the log of the selected app: the files that `logs` reads.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::line::{Line, Origin};
use super::report::{Ended, Report};
use super::text::clean_bytes;
use crate::base::stream::Stream;
use crate::cli::exit::Failure;
use crate::cli::files::follow::Follower;
use crate::cli::logs::filter::Filter;
use crate::cli::logs::paths::{LogPath, logs_of};
use crate::cli::logs::{last, segment};
use crate::home::Home;

/// How often the files are read.
const INTERVAL: Duration = Duration::from_millis(250);

/// Lines of each file that are shown at first.
const FIRST_LINES: usize = 500;

/// Lines of each file that are passed on at once. Of more, the newest are passed on.
const MAX_LINES: usize = 1000;

/// Starts the thread. Whose log it reads is what was sent last; it ends with the sender.
pub(crate) fn start(
    home: Home,
    report: impl Fn(Report) -> Result<(), Ended> + Send + 'static,
) -> Result<Sender<Option<String>>, Failure> {
    let (choose, chosen) = channel();
    let read = move || while follow(&home, &chosen, &report).is_some() {};
    let started = thread::Builder::new().name("logs".into()).spawn(read);
    started.map_err(|error| Failure::io("cannot start a thread to read logs", &error))?;
    Ok(choose)
}

/// Waits for the name of an app, and reads its log until there is another name. `None`: the
/// dashboard has ended.
fn follow(
    home: &Home,
    chosen: &Receiver<Option<String>>,
    report: &impl Fn(Report) -> Result<(), Ended>,
) -> Option<()> {
    let mut app = chosen.recv().ok()?;
    loop {
        // Only the last of several choices counts.
        while let Ok(next) = chosen.try_recv() {
            app = next;
        }
        let Some(name) = app else { return Some(()) };
        let mut files: Vec<File> = logs_of(home, &name).into_iter().map(File::new).collect();
        let mut begins = true;
        app = loop {
            let lines = if begins { last_of_all(&mut files) } else { added(&mut files) };
            if begins || !lines.is_empty() {
                report(Report::Log { app: name.clone(), lines, begins }).ok()?;
            }
            begins = false;
            match chosen.recv_timeout(INTERVAL) {
                Ok(next) => break next,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        };
    }
}

/// A log file of the app.
struct File {
    log: LogPath,
    follower: Follower,
}

impl File {
    fn new(log: LogPath) -> Self {
        let follower = Follower::new(log.path.clone());
        Self { log, follower }
    }

    fn line(&self, bytes: &[u8]) -> Line {
        let origin = match self.log.stream {
            Stream::Out => Origin::Out,
            Stream::Err => Origin::Err,
        };
        Line { origin, text: clean_bytes(bytes) }
    }

    /// The last lines with their times. Goes on from there.
    fn last(&mut self) -> io::Result<Vec<(u64, Line)>> {
        let mut segments = segment::segments(&self.log.path, self.log.form)?;
        let found = last::last(&mut segments, &Filter::default(), FIRST_LINES)?;
        self.follower = Follower::behind(self.log.path.clone(), &segments)?;
        Ok(found.timed().map(|(time, line)| (time, self.line(&line.bytes))).collect())
    }

    /// The lines that were added, at most [`MAX_LINES`].
    fn added(&mut self) -> Vec<Line> {
        let (mut newest, mut left_out) = (VecDeque::new(), 0);
        // A file that cannot be read was reported when the app was chosen.
        let _ = self.follower.more(&mut |bytes| {
            if newest.len() == MAX_LINES {
                newest.pop_front();
                left_out += 1;
            }
            newest.push_back(bytes.to_vec());
        });
        let note =
            (left_out > 0).then(|| note(format!("{left_out} lines came too fast to be shown")));
        note.into_iter().chain(newest.iter().map(|bytes| self.line(bytes))).collect()
    }
}

/// The last lines of all files, in the order of time.
fn last_of_all(files: &mut [File]) -> Vec<Line> {
    let (mut timed, mut failed) = (Vec::new(), Vec::new());
    for file in files {
        match file.last() {
            Ok(lines) => timed.extend(lines),
            Err(error) => failed.push(note(format!("cannot read a log file: {error}"))),
        }
    }
    timed.sort_by_key(|(time, _)| *time);
    timed.into_iter().map(|(_, line)| line).chain(failed).collect()
}

fn added(files: &mut [File]) -> Vec<Line> {
    files.iter_mut().flat_map(File::added).collect()
}

fn note(text: String) -> Line {
    Line { origin: Origin::Event { bad: true }, text }
}
