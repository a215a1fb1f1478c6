//! The last lines of a log that pass a filter, read from the end.

use std::io;

use super::filter::Filter;
use super::line::Line;
use super::segment::Segment;

/// Bytes that are read at once.
const BLOCK: u64 = 256 * 1024;
/// Bytes of a line. A longer one, which no primary writes, is shown in pieces.
const MAX_LINE: usize = 2 * 1024 * 1024;

/// The last lines, oldest first, and whether lines were left out because their time is not known.
#[derive(Debug, Default)]
pub(crate) struct Last {
    pub(crate) lines: Vec<Line>,
    pub(crate) left_out_untimed: bool,
}

impl Last {
    /// Each line with the time by which it is put in order: one without a time stays behind the
    /// line before it.
    pub(crate) fn timed(self) -> impl Iterator<Item = (u64, Line)> {
        let mut time = 0;
        self.lines.into_iter().map(move |line| {
            time = line.time.unwrap_or(time);
            (time, line)
        })
    }
}

/// The last `count` lines of a log's segments, the newest of which comes first.
pub(crate) fn last(segments: &mut [Segment], filter: &Filter, count: usize) -> io::Result<Last> {
    let mut found = Last::default();
    for segment in segments {
        if found.lines.len() >= count {
            break;
        }
        let window = segment.window(filter);
        let mut take = |segment: &mut Segment, line: &[u8], offset: u64| {
            if filter.takes(line, segment.form) {
                let time = segment.time_at(offset);
                if filter.takes_time(time) {
                    found.lines.push(Line { time, bytes: line.to_vec() });
                }
            }
            found.lines.len() < count
        };
        backwards(segment, window.range, &mut take)?;
        found.left_out_untimed |= window.has_untimed;
        if !window.older_too {
            break;
        }
    }
    found.lines.reverse();
    Ok(found)
}

/// Gives each line of a range of a segment with its offset, the last one first, until `take` wants
/// no more.
fn backwards(
    segment: &mut Segment,
    range: std::ops::Range<u64>,
    take: &mut impl FnMut(&mut Segment, &[u8], u64) -> bool,
) -> io::Result<()> {
    let mut end = range.end;
    // The beginning of the block that was read before: the end of a line.
    let mut rest: Vec<u8> = Vec::new();
    while end > range.start {
        let start = end.saturating_sub(BLOCK).max(range.start);
        let mut block = vec![0; usize::try_from(end - start).unwrap_or(0)];
        segment.body.read_exact_at(&mut block, start)?;
        block.append(&mut rest);
        let mut stop = block.len();
        // The newline at the very end ends the last line.
        if block.ends_with(b"\n") {
            stop -= 1;
        }
        while let Some(at) = block[..stop].iter().rposition(|byte| *byte == b'\n') {
            if !take(segment, &block[at + 1..stop], start + at as u64 + 1) {
                return Ok(());
            }
            stop = at;
        }
        if start == range.start || stop >= MAX_LINE {
            if !take(segment, &block[..stop], start) {
                return Ok(());
            }
        } else {
            block.truncate(stop + 1);
            rest = block;
        }
        end = start;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::logs::line::Form;
    use crate::cli::logs::segment::segments;
    use std::fs;

    fn texts(text: &str, filter: &Filter, count: usize) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.log");
        fs::write(&path, text).unwrap();
        let last = last(&mut segments(&path, Form::Prefixed).unwrap(), filter, count).unwrap();
        last.lines.into_iter().map(|line| String::from_utf8(line.bytes).unwrap()).collect()
    }

    #[test]
    fn the_last_lines() {
        let all = Filter::default();
        assert_eq!(texts("a\nb\nc\nhalf", &all, 2), ["b", "c"]);
        assert_eq!(texts("a\n\nc\n", &all, 9), ["a", "", "c"]);
        assert_eq!(texts("a\nb\n", &all, 0), [""; 0]);
        assert_eq!(texts("", &all, 3), [""; 0]);
        assert_eq!(texts("\n", &all, 3), [""]);
        let grep = Filter { grep: regex::bytes::Regex::new("[13]").ok(), ..Filter::default() };
        assert_eq!(texts("1\n2\n3\n4\n", &grep, 1), ["3"]);
        assert_eq!(texts("1\n2\n3\n4\n", &grep, 5), ["1", "3"]);
    }

    #[test]
    fn blocks_do_not_matter() {
        let lines: Vec<String> =
            (0..30_000).map(|n| format!("{n} | {}", "x".repeat(n % 90))).collect();
        let text = lines.join("\n") + "\n";
        assert!(text.len() as u64 > 3 * BLOCK);
        assert_eq!(texts(&text, &Filter::default(), usize::MAX), lines);
        let long = format!("{}\nend\n", "y".repeat(3 * BLOCK as usize));
        assert_eq!(texts(&long, &Filter::default(), 2)[0].len(), 3 * BLOCK as usize);
    }

    #[test]
    fn rotated_files_come_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.log");
        fs::write(&path, "5\n6\n").unwrap();
        fs::write(dir.path().join("out.log.1"), "3\n4\n").unwrap();
        fs::write(dir.path().join("out.log.2"), "1\n2\n").unwrap();
        let last =
            last(&mut segments(&path, Form::Prefixed).unwrap(), &Filter::default(), 5).unwrap();
        let bytes: Vec<u8> = last.lines.into_iter().flat_map(|line| line.bytes).collect();
        assert_eq!(bytes, b"23456");
        assert!(!last.left_out_untimed);
    }
}
