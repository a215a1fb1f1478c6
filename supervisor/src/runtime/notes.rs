//! What people are told beside what the core says: warnings, and notes that stay in the status.

use std::collections::BTreeSet;

use ipc::control::{Notice, NoticeKind};

use crate::limits::NOTES;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Notes {
    /// Said once, then shown in the status.
    lasting: BTreeSet<String>,
    /// Not yet published.
    news: Vec<Notice>,
}

impl Notes {
    /// As a predecessor left them.
    pub(in crate::runtime) fn of(lasting: BTreeSet<String>) -> Self {
        Self { lasting, news: Vec::new() }
    }

    /// For the state.
    pub(in crate::runtime) fn lasting(&self) -> &BTreeSet<String> {
        &self.lasting
    }

    /// For the status.
    pub(in crate::runtime) fn iter(&self) -> impl Iterator<Item = &String> {
        self.lasting.iter()
    }

    /// What is to be published now, in the order in which it was said.
    pub(in crate::runtime) fn take_news(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.news)
    }

    /// This is to be published.
    pub(in crate::runtime) fn publish(&mut self, notice: Notice) {
        self.news.push(notice);
    }

    /// Something a person should know.
    pub(in crate::runtime) fn warn(&mut self, message: String) {
        self.publish(Notice::of_app(NoticeKind::Warning, message));
    }

    /// As `warn`, but only the first time. Beyond the bound (a worker may say ever new nonsense)
    /// nothing is kept, nor said.
    pub(in crate::runtime) fn note(&mut self, message: String) {
        if self.lasting.len() < NOTES && self.lasting.insert(message.clone()) {
            self.warn(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_said_once_and_kept() {
        let mut notes = Notes::default();
        notes.note("one".to_owned());
        notes.warn("two".to_owned());
        notes.note("one".to_owned());
        let news: Vec<String> = notes.take_news().into_iter().map(|news| news.message).collect();
        assert_eq!(news, ["one", "two"]);
        assert!(notes.take_news().is_empty());
        assert!(notes.iter().eq(["one"]));
        for number in 0..2 * NOTES {
            notes.note(format!("nonsense {number}"));
        }
        assert_eq!((notes.lasting().len(), notes.take_news().len()), (NOTES, NOTES - 1));
    }
}
