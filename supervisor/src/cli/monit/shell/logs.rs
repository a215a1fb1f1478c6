//! The thread that reads the log of the selected app: the files that `logs` reads.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::thread;
use std::time::Duration;

use super::input::Input;
use crate::cli::exit::Failure;
use crate::cli::files::follow::Follower;
use crate::cli::monit::model::{Event, Line, Origin, clean_bytes};
use crate::home::Home;

/// How often the files are read.
const INTERVAL: Duration = Duration::from_millis(250);

/// Lines of each file that are shown at first.
const FIRST_LINES: usize = 500;

/// Lines of each file that are passed on at once. Of more, the newest are passed on.
const MAX_LINES: usize = 1000;

/// Starts the thread. Whose log it reads is what was sent last.
pub(super) fn start(
    home: Home,
    sender: SyncSender<Input>,
) -> Result<Sender<Option<String>>, Failure> {
    let (choose, chosen) = channel();
    let read = move || while follow(&home, &chosen, &sender).is_some() {};
    let started = thread::Builder::new().name("logs".into()).spawn(read);
    started.map_err(|error| Failure::io("cannot start a thread to read logs", &error))?;
    Ok(choose)
}

/// Waits for the name of an app, and reads its log until there is another name. `None`: the
/// dashboard has ended.
fn follow(
    home: &Home,
    chosen: &Receiver<Option<String>>,
    sender: &SyncSender<Input>,
) -> Option<()> {
    let mut app = chosen.recv().ok()?;
    loop {
        // Only the last of several choices counts.
        while let Ok(next) = chosen.try_recv() {
            app = next;
        }
        let Some(name) = app else { return Some(()) };
        let mut files = [(home.out_log(&name), Origin::Out), (home.err_log(&name), Origin::Err)]
            .map(|(path, origin)| (Follower::new(path), origin));
        let mut begins = true;
        app = loop {
            let lines: Vec<Line> =
                files.iter_mut().flat_map(|(file, origin)| read(file, *origin, begins)).collect();
            if begins || !lines.is_empty() {
                let event = Event::Log { app: name.clone(), lines, begins };
                sender.send(Input::Event(event)).ok()?;
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

/// The last lines of a file, or those that were added.
fn read(file: &mut Follower, origin: Origin, begins: bool) -> Vec<Line> {
    let line = |bytes: &[u8]| Line { origin, text: clean_bytes(bytes) };
    let mut lines = std::collections::VecDeque::new();
    let mut left_out = 0;
    let result = match begins {
        true => file.last(FIRST_LINES).map(|all| lines.extend(all.iter().map(|one| line(one)))),
        false => file.more(&mut |bytes| {
            if lines.len() == MAX_LINES {
                lines.pop_front();
                left_out += 1;
            }
            lines.push_back(line(bytes));
        }),
    };
    let note = |text: String| Line { origin: Origin::Event { bad: true }, text };
    if left_out > 0 {
        lines.push_front(note(format!("{left_out} lines came too fast to be shown")));
    }
    // A file that cannot be read is reported once, when the app is chosen.
    if let (Err(error), true) = (result, begins) {
        lines.push_back(note(format!("cannot read a log file: {error}")));
    }
    lines.into()
}
