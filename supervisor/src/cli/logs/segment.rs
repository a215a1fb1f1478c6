//! The files that one log consists of: the one that is written now, and those that were rotated.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use config::spec::log_files::{compressed, rotated};

use super::compressed::Compressed;
use super::filter::Filter;
use super::line::Form;
use crate::log_index::{self, Index};
use crate::runtime::LogIdentity;

/// Bytes that are read at once to find the last newline.
const BLOCK: u64 = 64 * 1024;

/// Numbers without a file after which a log has no more files. During a rotation, one number has
/// none for a moment.
const GAP: u32 = 2;

/// One file of a log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) body: Body,
    /// The end of its last whole line when it was opened.
    pub(crate) length: u64,
    pub(crate) form: Form,
    index: Option<Index>,
}

/// Where the bytes of a segment are.
#[derive(Debug)]
pub(crate) enum Body {
    Plain(File),
    Compressed(Compressed),
}

impl Body {
    /// Fills the buffer with what stands at this offset of the segment.
    pub(crate) fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.read_exact_at(buffer, offset),
            Self::Compressed(file) => file.read_exact_at(buffer, offset),
        }
    }

    /// Which file it is, or which was compressed.
    fn identity(&self) -> io::Result<LogIdentity> {
        match self {
            Self::Plain(file) => Ok(LogIdentity::of(&file.metadata()?)),
            Self::Compressed(file) => Ok(file.of),
        }
    }
}

/// Which part of a segment a filter lets pass by time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Offsets of the segment.
    pub(crate) range: Range<u64>,
    /// Segments before this one may have lines that pass as well.
    pub(crate) older_too: bool,
    /// It has lines whose time is not known.
    pub(crate) has_untimed: bool,
}

/// The segments of the log at this path, the newest first. Files that were rotated while they were
/// being opened are neither missing nor there twice. A fifo or a device has no lines to look at.
pub(crate) fn segments(path: &Path, form: Form) -> io::Result<Vec<Segment>> {
    segments_and_damage(path, form).map(|(segments, _)| segments)
}

/// As [`segments`], with the compressed files that cannot be read, and why.
pub(crate) fn segments_and_damage(
    path: &Path,
    form: Form,
) -> io::Result<(Vec<Segment>, Vec<String>)> {
    let mut found: Vec<Body> = Vec::new();
    let (mut indexes, mut damage) = (Vec::new(), Vec::new());
    let (mut number, mut gap) = (0, 0);
    while gap < GAP {
        let known = damage.len();
        let body = match number {
            0 => open(path)?.map(Body::Plain),
            number => open_rotated(path, number, &mut damage)?,
        };
        let name = if number == 0 { path.to_owned() } else { rotated(path, number) };
        indexes.extend(Index::open(&log_index::path(&name)));
        gap = if body.is_none() && damage.len() == known { gap + 1 } else { 0 };
        if let Some(body) = body {
            let identity = body.identity()?;
            // It has another number or is compressed by now.
            let is_new = |other: &Body| other.identity().is_ok_and(|other| other != identity);
            if found.iter().all(is_new) {
                found.push(body);
            }
        }
        number += 1;
    }
    let segments = found.into_iter().map(|mut body| {
        let identity = body.identity()?;
        let at = indexes.iter().position(|index| index.is_of(identity.inode));
        let length = match &body {
            Body::Plain(file) => file.metadata()?.len(),
            Body::Compressed(file) => file.of.size,
        };
        let length = end_of_last_line(&mut body, length)?;
        Ok(Segment { body, length, form, index: at.map(|at| indexes.remove(at)) })
    });
    Ok((segments.collect::<io::Result<_>>()?, damage))
}

/// Opens the file that a log has become after so many rotations.
fn open_rotated(log: &Path, number: u32, damage: &mut Vec<String>) -> io::Result<Option<Body>> {
    // The compressed file is there before the other one goes.
    if let Some(file) = open(&rotated(log, number))? {
        return Ok(Some(Body::Plain(file)));
    }
    let path = compressed(log, number);
    let Some(file) = open(&path)? else { return Ok(None) };
    match Compressed::open(file) {
        Ok(file) => Ok(Some(Body::Compressed(file))),
        Err(error) => {
            damage.push(format!("cannot read {}: {error}", path.display()));
            Ok(None)
        }
    }
}

/// Opens a regular file. `None`: there is none.
pub(crate) fn open(path: &Path) -> io::Result<Option<File>> {
    // A fifo would wait for a writer.
    match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the last line that has a newline ends, in the first `length` bytes.
fn end_of_last_line(body: &mut Body, length: u64) -> io::Result<u64> {
    let mut bytes = vec![0; BLOCK as usize];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let block = &mut bytes[..usize::try_from(end - start).unwrap_or(0)];
        body.read_exact_at(block, start)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

impl Segment {
    /// When the line at this offset was written.
    pub(crate) fn time_at(&mut self, offset: u64) -> Option<u64> {
        self.index.as_mut().and_then(|index| index.time_at(offset))
    }

    /// Which of its lines can pass a filter, without reading them.
    pub(crate) fn window(&self, filter: &Filter) -> Window {
        if !filter.is_by_time() {
            return Window { range: 0..self.length, older_too: true, has_untimed: false };
        }
        let first = self.index.as_ref().and_then(Index::first);
        let (Some(index), Some((_, begins))) = (self.index.as_ref(), first) else {
            return Window { range: 0..0, older_too: true, has_untimed: self.length > 0 };
        };
        let after = |time| index.offset_since(time).unwrap_or(self.length).min(self.length);
        let from = filter.since.map_or(begins, after);
        let to = filter.until.map_or(self.length, |until| after(until.saturating_add(1)));
        let older_too = from <= begins;
        Window { range: from..to.max(from), older_too, has_untimed: older_too && begins > 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_index::IndexWriter;
    use std::fs;
    use std::io::Write;

    #[test]
    fn segments_of_a_log_and_their_windows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.log");
        assert!(segments(&path, Form::Prefixed).unwrap().is_empty());
        fs::write(rotated(&path, 1), "0 | of an earlier build\n").unwrap();
        let mut file = File::create(&path).unwrap();
        let mut index = IndexWriter::open(&path, &file).unwrap();
        for time in [1000, 2000, 3000] {
            index.note(time, file.metadata().unwrap().len()).unwrap();
            writeln!(file, "0 | at {time}").unwrap();
        }
        write!(file, "0 | half").unwrap();
        let mut all = segments(&path, Form::Prefixed).unwrap();
        assert_eq!(all.iter().map(|one| one.length).collect::<Vec<_>>(), [36, 24]);
        assert_eq!((all[0].time_at(12), all[1].time_at(0)), (Some(2000), None));

        let window =
            |at: usize, since, until| all[at].window(&Filter { since, until, ..Filter::default() });
        let expected = |range, older_too, has_untimed| Window { range, older_too, has_untimed };
        assert_eq!(window(0, None, None), expected(0..36, true, false));
        assert_eq!(window(0, Some(1500), None), expected(12..36, false, false));
        assert_eq!(window(0, Some(500), None), expected(0..36, true, false));
        assert_eq!(window(0, Some(1500), Some(2000)), expected(12..24, false, false));
        assert_eq!(window(0, Some(4000), None), expected(36..36, false, false));
        assert_eq!(window(0, None, Some(999)), expected(0..0, true, false));
        assert_eq!(window(1, Some(500), None), expected(0..0, true, true));
    }

    #[test]
    fn a_fifo_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.log");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(segments(&path, Form::Prefixed).unwrap().is_empty());
    }
}
