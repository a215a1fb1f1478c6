//! Followed logs. All pages that read the log of an app share one thread and its newest lines; the
//! thread ends when no page reads it any more.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::Serialize;
use tokio::sync::watch;

use super::model::{Tail, event, json};
use crate::cli::exit::Failure;
use crate::cli::watch::{Ended, Line, Origin, Report, logs};
use crate::home::Home;

/// Lines that are kept for pages that come later or read slowly.
const LINES: usize = 1000;

/// The logs that pages read, by app.
#[derive(Debug, Default)]
pub(super) struct LogFollowers(Mutex<BTreeMap<String, Weak<LogFollower>>>);

/// The log of one app.
#[derive(Debug)]
pub(super) struct LogFollower {
    app: String,
    lines: Arc<Lines>,
    /// The thread ends when this is dropped.
    _thread: Sender<Option<String>>,
}

#[derive(Debug)]
struct Lines {
    tail: Mutex<Tail<Line>>,
    changed: watch::Sender<()>,
}

/// Lines as a page gets them.
#[derive(Debug, Serialize)]
struct Told<'a> {
    app: &'a str,
    /// What the page shows is of another app, or older.
    begins: bool,
    /// Lines that came too fast for this page.
    gone: u64,
    lines: Vec<(&'static str, &'a str)>,
}

impl LogFollowers {
    /// The log of this app.
    pub(super) fn follow(&self, home: &Home, app: &str) -> Result<Arc<LogFollower>, Failure> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, follower| follower.strong_count() > 0);
        if let Some(follower) = all.get(app).and_then(Weak::upgrade) {
            return Ok(follower);
        }
        let tail = Mutex::new(Tail::new(LINES));
        let lines = Arc::new(Lines { tail, changed: watch::Sender::new(()) });
        let kept = Arc::downgrade(&lines);
        let thread = logs::start(home.clone(), move |report| {
            let kept = kept.upgrade().ok_or(Ended)?;
            if let Report::Log { lines, .. } = report {
                let mut tail = kept.tail.lock().unwrap_or_else(PoisonError::into_inner);
                lines.into_iter().for_each(|line| tail.push(line));
                drop(tail);
                kept.changed.send_replace(());
            }
            Ok(())
        })?;
        // An error means that the thread has ended, and the log stays empty.
        let _ = thread.send(Some(app.to_owned()));
        let follower = Arc::new(LogFollower { app: app.to_owned(), lines, _thread: thread });
        all.insert(app.to_owned(), Arc::downgrade(&follower));
        Ok(follower)
    }
}

impl LogFollower {
    /// Says when there are new lines.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.lines.changed.subscribe()
    }

    /// The lines behind `at` as a server-sent event; empty if there are none. `at`: `None` for a
    /// page that begins.
    pub(super) fn since(&self, at: &mut Option<u64>) -> String {
        let tail = self.lines.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        if *at == Some(tail.end()) {
            return text;
        }
        let (gone, new) = tail.since(at.unwrap_or(0));
        let lines = new.map(|line| (word(line.origin), line.text.as_str())).collect();
        event(&mut text, "log", &json(&Told { app: &self.app, begins: at.is_none(), gone, lines }));
        *at = Some(tail.end());
        text
    }
}

fn word(origin: Origin) -> &'static str {
    match origin {
        Origin::Out => "out",
        Origin::Err => "err",
        Origin::Event { .. } => "note",
    }
}
