//! The lines of the log pane, and which of them are shown.

use std::collections::VecDeque;

use crate::cli::watch::{Line, Origin};

/// Lines that are kept. Older ones are in the log files.
const MAX_LINES: usize = 5000;

/// Which lines are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Streams {
    #[default]
    Both,
    Out,
    Err,
}

/// The lines, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines {
    lines: VecDeque<Line>,
    /// The number of the first line that is kept, counted from the first line of all.
    first: u64,
    /// The number of the last line that is shown. `None`: the newest, whatever comes.
    anchor: Option<u64>,
    /// What a line must contain, in lower case.
    filter: String,
    streams: Streams,
}

impl Lines {
    /// Adds a line; the oldest goes when there are 5000.
    pub(crate) fn push(&mut self, line: Line) {
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
            self.first += 1;
        }
        self.lines.push_back(line);
    }

    /// Forgets all lines. The filter stays.
    pub(crate) fn clear(&mut self) {
        self.first += self.lines.len() as u64;
        self.lines.clear();
        self.anchor = None;
    }

    pub(crate) fn is_following(&self) -> bool {
        self.anchor.is_none()
    }

    /// Shows the newest lines from now on.
    pub(crate) fn follow(&mut self) {
        self.anchor = None;
    }

    /// Stays where it is, or follows again.
    pub(crate) fn toggle_follow(&mut self) {
        self.anchor = match self.anchor {
            Some(_) => None,
            None => self.upwards(None).next().map(|(number, _)| number),
        };
    }

    pub(crate) fn filter(&self) -> &str {
        &self.filter
    }

    pub(crate) fn set_filter(&mut self, filter: &str) {
        self.filter = filter.to_lowercase();
    }

    pub(crate) fn streams(&self) -> Streams {
        self.streams
    }

    /// Both, stdout alone, stderr alone, and both again.
    pub(crate) fn next_streams(&mut self) {
        self.streams = match self.streams {
            Streams::Both => Streams::Out,
            Streams::Out => Streams::Err,
            Streams::Err => Streams::Both,
        };
    }

    /// Scrolls back by `count` shown lines. The oldest stays in sight.
    pub(crate) fn up(&mut self, count: usize) {
        let numbers = self.upwards(self.anchor).map(|(number, _)| number).take(count + 1);
        if let Some(number) = numbers.last() {
            self.anchor = Some(number);
        }
    }

    /// Scrolls forward by `count` shown lines. At the newest it follows.
    pub(crate) fn down(&mut self, count: usize) {
        let Some(anchor) = self.anchor else { return };
        let newer = self.numbered().filter(|(number, line)| *number > anchor && self.shows(line));
        let to = newer.map(|(number, _)| number).nth(count.saturating_sub(1));
        let newest = self.upwards(None).next().map(|(number, _)| number);
        // Fewer lines than `count` are newer: the newest is meant.
        self.anchor = to.filter(|_| to != newest);
    }

    /// The oldest line.
    pub(crate) fn top(&mut self) {
        self.up(MAX_LINES);
    }

    /// The shown lines from the last one upwards.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Line> {
        self.upwards(self.anchor).map(|(_, line)| line)
    }

    /// How many shown lines are newer than the last one in sight.
    pub(crate) fn below(&self) -> usize {
        let Some(anchor) = self.anchor else { return 0 };
        self.numbered().filter(|(number, line)| *number > anchor && self.shows(line)).count()
    }

    fn numbered(&self) -> impl Iterator<Item = (u64, &Line)> {
        (self.first..).zip(&self.lines)
    }

    fn upwards(&self, from: Option<u64>) -> impl Iterator<Item = (u64, &Line)> {
        let last = from.unwrap_or(u64::MAX);
        let count = self.lines.len() as u64;
        let numbered = (0..count).rev().zip(self.lines.iter().rev());
        numbered
            .map(|(at, line)| (self.first + at, line))
            .skip_while(move |(number, _)| *number > last)
            .filter(|(_, line)| self.shows(line))
    }

    fn shows(&self, line: &Line) -> bool {
        let of_stream = match (self.streams, line.origin) {
            (Streams::Both, _) | (_, Origin::Event { .. }) => true,
            (Streams::Out, origin) => origin == Origin::Out,
            (Streams::Err, origin) => origin == Origin::Err,
        };
        of_stream && (self.filter.is_empty() || line.text.to_lowercase().contains(&self.filter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Lines {
        let mut lines = Lines::default();
        for number in 0..count {
            let origin = if number % 2 == 0 { Origin::Out } else { Origin::Err };
            lines.push(Line { origin, text: format!("Line {number}") });
        }
        lines
    }

    fn last(lines: &Lines) -> &str {
        lines.newest_first().next().map_or("", |line| &line.text)
    }

    #[test]
    fn scrolling_stays_where_it_is_while_lines_come() {
        let mut lines = lines(10);
        assert!(lines.is_following());
        lines.up(3);
        assert_eq!((last(&lines), lines.below()), ("Line 6", 3));
        lines.push(Line { origin: Origin::Out, text: "new".into() });
        assert_eq!((last(&lines), lines.below()), ("Line 6", 4));
        lines.down(2);
        assert_eq!(last(&lines), "Line 8");
        lines.down(9);
        assert!(lines.is_following() && last(&lines) == "new");
        lines.top();
        assert_eq!(last(&lines), "Line 0");
        lines.toggle_follow();
        assert!(lines.is_following());
        lines.toggle_follow();
        assert_eq!((lines.is_following(), last(&lines)), (false, "new"));
    }

    #[test]
    fn filters_and_streams() {
        let mut lines = lines(10);
        lines.set_filter("LINE 3");
        assert_eq!(lines.newest_first().count(), 1);
        lines.set_filter("");
        lines.next_streams();
        assert!(lines.newest_first().all(|line| line.origin == Origin::Out));
        lines.up(1);
        assert_eq!(last(&lines), "Line 6");
        lines.next_streams();
        assert!(lines.newest_first().all(|line| line.origin == Origin::Err));
        lines.next_streams();
        assert_eq!(lines.streams(), Streams::Both);
    }

    #[test]
    fn it_is_bounded() {
        let mut lines = lines(MAX_LINES + 10);
        assert_eq!(lines.newest_first().count(), MAX_LINES);
        assert_eq!(lines.newest_first().last().unwrap().text, "Line 10");
        lines.top();
        assert_eq!(last(&lines), "Line 10");
        lines.clear();
        assert_eq!((lines.newest_first().count(), lines.below()), (0, 0));
    }
}
