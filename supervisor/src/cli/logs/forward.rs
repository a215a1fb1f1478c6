//! All lines of several logs that pass a filter, in the order in which they were written.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use super::filter::Filter;
use super::line::Line;
use super::segment::Segment;

/// Bytes that are read at once.
const BLOCK: usize = 64 * 1024;

/// The lines of one log, from the oldest on.
#[derive(Debug)]
pub(crate) struct Forward<'a> {
    filter: &'a Filter,
    /// The oldest first, each with what is still to be read of it.
    segments: VecDeque<(Segment, Range<u64>)>,
    /// Read, but not passed on.
    bytes: Vec<u8>,
    /// How many of these are passed on.
    used: usize,
    /// Lines were left out because their time is not known.
    pub(crate) left_out_untimed: bool,
}

impl<'a> Forward<'a> {
    /// The lines of these segments, the newest of which comes first.
    pub(crate) fn new(segments: Vec<Segment>, filter: &'a Filter) -> Self {
        let mut chosen = VecDeque::new();
        let mut left_out_untimed = false;
        for segment in segments {
            let window = segment.window(filter);
            left_out_untimed |= window.has_untimed;
            chosen.push_front((segment, window.range));
            if !window.older_too {
                break;
            }
        }
        Self { filter, segments: chosen, bytes: Vec::new(), used: 0, left_out_untimed }
    }

    /// The next line.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<Line>> {
        while let Some((segment, range)) = self.segments.front_mut() {
            let unused = &self.bytes[self.used..];
            if let Some(length) = unused.iter().position(|byte| *byte == b'\n') {
                let offset = range.start - unused.len() as u64;
                let line = &unused[..length];
                self.used += length + 1;
                if self.filter.takes(line, segment.form) {
                    let time = segment.time_at(offset);
                    if self.filter.takes_time(time) {
                        return Ok(Some(Line { time, bytes: line.to_vec() }));
                    }
                }
            } else if range.is_empty() {
                // A segment ends with a whole line.
                self.bytes.clear();
                self.used = 0;
                self.segments.pop_front();
            } else {
                self.bytes.drain(..std::mem::take(&mut self.used));
                let size = BLOCK.min(usize::try_from(range.end - range.start).unwrap_or(BLOCK));
                let before = self.bytes.len();
                self.bytes.resize(before + size, 0);
                segment.body.read_exact_at(&mut self.bytes[before..], range.start)?;
                range.start += size as u64;
            }
        }
        Ok(None)
    }
}

/// Several logs, merged by time. A line without a time stays behind the line before it.
#[derive(Debug)]
pub(crate) struct Merged<'a, T> {
    logs: Vec<Head<'a, T>>,
}

#[derive(Debug)]
struct Head<'a, T> {
    /// Whose log it is.
    of: T,
    log: Forward<'a>,
    /// Its next line, with the time by which that is put in order.
    next: Option<(u64, Line)>,
}

impl<'a, T: Clone> Merged<'a, T> {
    /// Merges these logs.
    pub(crate) fn new(logs: impl IntoIterator<Item = (T, Forward<'a>)>) -> io::Result<Self> {
        let heads = logs.into_iter().map(|(of, mut log)| {
            let next = log.next_line()?.map(|line| (line.time.unwrap_or(0), line));
            Ok(Head { of, log, next })
        });
        Ok(Self { logs: heads.collect::<io::Result<_>>()? })
    }

    /// The next line, and whose it is.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<(T, Line)>> {
        let heads = self.logs.iter_mut().filter(|head| head.next.is_some());
        // The first of those that are equal: the order of the logs decides.
        let earliest = heads.min_by_key(|head| head.next.as_ref().map(|(time, _)| *time));
        let Some(head) = earliest else { return Ok(None) };
        let Some((time, line)) = head.next.take() else { return Ok(None) };
        head.next = head.log.next_line()?.map(|line| (line.time.unwrap_or(time), line));
        Ok(Some((head.of.clone(), line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::logs::line::Form;
    use crate::cli::logs::segment::segments;
    use crate::log_index::IndexWriter;
    use std::fs::File;
    use std::io::Write;

    #[test]
    fn logs_are_merged_by_time() {
        let dir = tempfile::tempdir().unwrap();
        let log = |name: &str, times: &[u64]| {
            let path = dir.path().join(name);
            let mut file = File::create(&path).unwrap();
            let mut index = IndexWriter::open(&path, &file).unwrap();
            for time in times {
                index.note(*time, file.metadata().unwrap().len()).unwrap();
                writeln!(file, "0 | {name} {time}\n0 | more").unwrap();
            }
            segments(&path, Form::Prefixed).unwrap()
        };
        let filter = Filter { since: Some(2), until: Some(5), ..Filter::default() };
        let logs = [("a", log("a.log", &[1, 3, 5])), ("b", log("b.log", &[2, 4, 6]))];
        let logs = logs.map(|(of, segments)| (of, Forward::new(segments, &filter)));
        let mut merged = Merged::new(logs).unwrap();
        let mut seen = Vec::new();
        while let Some((of, line)) = merged.next_line().unwrap() {
            seen.push((of, line.time.unwrap()));
        }
        let expected = [("b", 2), ("a", 3), ("b", 4), ("a", 5)];
        assert_eq!(seen, expected.map(|one| [one, one]).concat());
    }

    #[test]
    fn long_logs_are_read_in_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.log");
        let text: String = (0..20_000).map(|number| format!("{number}\n")).collect();
        std::fs::write(&path, &text).unwrap();
        std::fs::write(dir.path().join("out.log.1"), "before\n").unwrap();
        let filter = Filter::default();
        let mut forward = Forward::new(segments(&path, Form::Prefixed).unwrap(), &filter);
        assert_eq!(forward.next_line().unwrap().unwrap().bytes, b"before");
        let mut seen = String::new();
        while let Some(line) = forward.next_line().unwrap() {
            seen += &String::from_utf8(line.bytes).unwrap();
            seen += "\n";
        }
        assert!(seen == text);
    }
}
