//! The files that one log consists of: the one that is written now, and those that were rotated.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use config::spec::log_files::rotated;

use super::filter::Filter;
use super::line::Form;
use crate::log_index::{self, Index};

/// Bytes that are read at once to find the last newline.
const BLOCK: u64 = 64 * 1024;

/// One file of a log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) file: File,
    /// The end of its last whole line when it was opened.
    pub(crate) length: u64,
    pub(crate) form: Form,
    index: Option<Index>,
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
    let mut found: Vec<(u64, File)> = Vec::new();
    let mut indexes = Vec::new();
    for number in 0.. {
        let path = match number {
            0 => path.to_owned(),
            number => rotated(path, number),
        };
        indexes.extend(Index::open(&log_index::path(&path)));
        match open(&path) {
            Ok(Some(file)) => {
                let inode = file.metadata()?.ino();
                if found.iter().all(|(other, _)| *other != inode) {
                    found.push((inode, file));
                }
            }
            // Between a rename and the next creation there is no current file.
            Ok(None) if number == 0 => {}
            Ok(None) => break,
            Err(error) => return Err(error),
        }
    }
    let segments = found.into_iter().map(|(inode, file)| {
        let at = indexes.iter().position(|index| index.is_of(inode));
        let length = file.metadata()?.len();
        let length = end_of_last_line(&file, length)?;
        Ok(Segment { file, length, form, index: at.map(|at| indexes.swap_remove(at)) })
    });
    segments.collect()
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
fn end_of_last_line(file: &File, length: u64) -> io::Result<u64> {
    let mut bytes = vec![0; BLOCK as usize];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let block = &mut bytes[..usize::try_from(end - start).unwrap_or(0)];
        file.read_exact_at(block, start)?;
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
