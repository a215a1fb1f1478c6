//! When the lines of a log file were written. The file itself has the plain lines; its times are in
//! a hidden file beside it, `.out.log.times` for `out.log`, so that `tail -f`, `grep` and log
//! shippers see nothing new.
//!
//! The index is a list of pairs: from this offset on, the log was written at this time or later. A
//! pair is added when a line is written at least [`STEP`] after the pair before it. So a busy log
//! has few pairs for each megabyte, and a quiet one has a pair for each line. The first pair names
//! the inode of the log instead, so that an index is never taken for that of another file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Milliseconds between two pairs, at least. A reported time is exact to this.
const STEP: u64 = 10;
/// Bytes of a pair: two numbers of 64 bits, least significant byte first.
const PAIR: u64 = 16;
/// What the first pair begins with.
const MAGIC: u64 = u64::from_le_bytes(*b"logtime1");

/// The index of the log at this path.
pub(crate) fn path(log: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(log.file_name().unwrap_or_default());
    name.push(".times");
    log.with_file_name(name)
}

fn encode(first: u64, second: u64) -> [u8; PAIR as usize] {
    let mut bytes = [0; PAIR as usize];
    bytes[..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..].copy_from_slice(&second.to_le_bytes());
    bytes
}

/// The writing end. If the index cannot be written, the log goes on without times.
#[derive(Debug)]
pub(crate) struct IndexWriter {
    file: Option<File>,
    /// The time and the offset of the last pair. Times never go back, even if the clock is set
    /// back: the reader searches by time.
    last: Option<(u64, u64)>,
    /// The time of the first pair.
    first_ms: Option<u64>,
}

impl IndexWriter {
    /// Continues the index of the log at `path`, which is open as `log`, or begins a new one if the
    /// one there is not of this file.
    pub(crate) fn open(path: &Path, log: &File) -> io::Result<Self> {
        let data = log.metadata()?;
        let path = self::path(path);
        let times = Index::open(&path).ok().filter(|index| index.is_of(data.ino()));
        let last = times.as_ref().and_then(Index::last);
        let first_ms = times.as_ref().and_then(Index::first).map(|(time, _)| time);
        let continues = times.is_some() && last.is_none_or(|(_, offset)| offset <= data.len());
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o640).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(&path)?;
        if continues {
            // A primary that died may have left half a pair.
            let whole = file.metadata()?.len() / PAIR * PAIR;
            file.set_len(whole)?;
            return Ok(Self { file: Some(file), last, first_ms });
        }
        file.set_len(0)?;
        file.write_all(&encode(MAGIC, data.ino()))?;
        Ok(Self { file: Some(file), last: None, first_ms: None })
    }

    /// An index that remembers nothing, for a log that is no regular file.
    pub(crate) fn none() -> Self {
        Self { file: None, last: None, first_ms: None }
    }

    /// When the first line was written, in milliseconds since 1970.
    pub(crate) fn first_ms(&self) -> Option<u64> {
        self.first_ms
    }

    /// Whether a line that is written at `unix_ms` needs a pair.
    pub(crate) fn is_due(&self, unix_ms: u64) -> bool {
        self.file.is_some()
            && self.last.is_none_or(|(last, _)| unix_ms >= last.saturating_add(STEP))
    }

    /// The next line is written at `unix_ms`, at this offset of the log.
    pub(crate) fn note(&mut self, unix_ms: u64, offset: u64) -> io::Result<()> {
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        if self.last.is_some_and(|(_, before)| before > offset) {
            // Another program truncated the log: its earlier offsets mean nothing any more.
            file.set_len(PAIR)?;
            self.first_ms = None;
        }
        self.first_ms.get_or_insert(unix_ms);
        self.last = Some((unix_ms, offset));
        file.write_all(&encode(unix_ms, offset))
    }
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Index {
    file: File,
    /// How many pairs it has, without the first.
    pairs: u64,
    inode: u64,
    /// What the last question was answered with.
    near: Near,
}

/// A pair: its number, its time, its offset, and the offset of the next.
#[derive(Debug, Default)]
struct Near {
    number: u64,
    time: u64,
    from: u64,
    next: u64,
}

impl Index {
    /// Opens the index at this path (see [`path`]).
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        let pairs = (file.metadata()?.len() / PAIR).saturating_sub(1);
        let (magic, inode) = pair(&file, 0)?;
        match magic == MAGIC {
            true => Ok(Self { file, pairs, inode, near: Near::default() }),
            false => Err(io::Error::other("it is no index of a log")),
        }
    }

    /// Whether it is the index of the log with this inode.
    pub(crate) fn is_of(&self, inode: u64) -> bool {
        self.inode == inode
    }

    fn get(&self, number: u64) -> Option<(u64, u64)> {
        (number < self.pairs).then(|| pair(&self.file, number + 1).ok()).flatten()
    }

    /// The time and the offset of the first pair.
    pub(crate) fn first(&self) -> Option<(u64, u64)> {
        self.get(0)
    }

    /// The time and the offset of the last pair.
    pub(crate) fn last(&self) -> Option<(u64, u64)> {
        self.get(self.pairs.checked_sub(1)?)
    }

    /// When the line at this offset was written, in milliseconds since 1970. `None`: before the
    /// index began.
    pub(crate) fn time_at(&mut self, offset: u64) -> Option<u64> {
        // Lines are asked for in order, so the answer is mostly that of the line before, or beside.
        if (self.near.from..self.near.next).contains(&offset) {
            return Some(self.near.time);
        }
        let beside = [self.near.number + 1, self.near.number.saturating_sub(1)];
        if let Some(near) = beside.into_iter().find_map(|number| self.covering(number, offset)) {
            self.near = near;
        } else {
            let after = self.count_while(|(_, from)| from <= offset);
            self.near = self.covering(after.checked_sub(1)?, offset)?;
        }
        Some(self.near.time)
    }

    /// The pair with this number, if the line at this offset is one of its lines.
    fn covering(&self, number: u64, offset: u64) -> Option<Near> {
        let (time, from) = self.get(number)?;
        let next = self.get(number + 1).map_or(u64::MAX, |(_, next)| next);
        (from..next).contains(&offset).then_some(Near { number, time, from, next })
    }

    /// The offset of the first line that was written at this time or later. `None`: there is none.
    pub(crate) fn offset_since(&self, unix_ms: u64) -> Option<u64> {
        let before = self.count_while(|(time, _)| time < unix_ms);
        self.get(before).map(|(_, offset)| offset)
    }

    /// How many pairs from the first have what only the first have.
    fn count_while(&self, has: impl Fn((u64, u64)) -> bool) -> u64 {
        let (mut low, mut high) = (0, self.pairs);
        while low < high {
            let middle = low.midpoint(high);
            match self.get(middle) {
                Some(pair) if has(pair) => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }
}

fn pair(file: &File, number: u64) -> io::Result<(u64, u64)> {
    let mut both = [0; PAIR as usize];
    file.read_exact_at(&mut both, number * PAIR)?;
    let both = u128::from_le_bytes(both);
    // The lower and the upper half.
    Ok((both as u64, (both >> 64) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(log: &Path, text: &str) -> File {
        let mut file = OpenOptions::new().append(true).create(true).open(log).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn times_and_offsets() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("out.log");
        let file = append(&log, "old\n");
        let mut writer = IndexWriter::open(&log, &file).unwrap();
        for at in 0..100 {
            assert!(writer.is_due(1000 + at * 10));
            writer.note(1000 + at * 10, 4 + at * 7).unwrap();
        }
        assert!(!writer.is_due(1999) && !writer.is_due(5), "too soon, and set back");
        let mut index = Index::open(&path(&log)).unwrap();
        assert!(index.is_of(file.metadata().unwrap().ino()));
        assert_eq!((index.first(), index.last()), (Some((1000, 4)), Some((1990, 697))));
        assert_eq!(index.time_at(3), None, "it was there before the index");
        for offset in [4, 5, 10, 11, 697, 400, 9000, 18] {
            let expected = 1000 + ((offset - 4) / 7).min(99) * 10;
            assert_eq!(index.time_at(offset), Some(expected), "offset {offset}");
        }
        assert_eq!(index.offset_since(0), Some(4));
        assert_eq!(index.offset_since(1001), Some(11));
        assert_eq!(index.offset_since(1990), Some(697));
        assert_eq!(index.offset_since(1991), None);
    }

    #[test]
    fn a_successor_continues_it_and_another_file_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("out.log");
        let file = append(&log, "one\ntwo\n");
        IndexWriter::open(&log, &file).unwrap().note(1000, 0).unwrap();
        // Half a pair, as a death in the middle of a write leaves it.
        append(&path(&log), "half");
        let mut writer = IndexWriter::open(&log, &file).unwrap();
        assert!(!writer.is_due(1009));
        writer.note(1010, 4).unwrap();
        assert_eq!(Index::open(&path(&log)).unwrap().time_at(4), Some(1010));
        // The log is truncated, by hand.
        writer.note(1020, 0).unwrap();
        let index = Index::open(&path(&log)).unwrap();
        assert_eq!((index.first(), index.last()), (Some((1020, 0)), Some((1020, 0))));
        std::fs::rename(&log, dir.path().join("elsewhere")).unwrap();
        let file = append(&log, "three\n");
        IndexWriter::open(&log, &file).unwrap();
        assert_eq!(Index::open(&path(&log)).unwrap().first(), None);
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("out.log");
        append(&path(&log), "0 | a line of a log\n");
        assert!(Index::open(&path(&log)).is_err());
        let file = append(&log, "0 | a\n");
        IndexWriter::open(&log, &file).unwrap().note(7, 0).unwrap();
        assert_eq!(Index::open(&path(&log)).unwrap().time_at(0), Some(7));
    }
}
