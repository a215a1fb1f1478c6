//! The memory that keeps the primary's state for its successor: two copies that outlive the
//! primary, each with its own checksum, written in turn. A write that was cut short leaves the
//! other copy whole.
//!
//! ```text
//! line:    "supervisor" SP format SP version SP number SP length SP checksum LF
//! content: JSON of that length
//! ```
//! The checksum is SipHash-1-3 (key 0, hexadecimal) over the line up to it and the content.
//!
//! Never on disk: the state contains the environment. A successor refuses a state of a newer
//! format.

use std::fs::File;
use std::hash::Hasher;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::sys::memfd::{MFdFlags, memfd_create};
use siphasher::sip::SipHasher13;

/// The format that this program writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;
/// The most bytes of a state that this program writes or reads.
pub(crate) const LARGEST: usize = 64 << 20;
/// How many numbers a successor skips, so that it never reuses a number that its predecessor gave
/// out after its last write.
pub(crate) const NUMBERS_LEFT_OUT: u64 = 1 << 40;
const MAGIC: &str = "supervisor";
/// The longest first line.
const HEAD: usize = 256;

/// Both copies, and the journal for what cannot wait for the next copy.
#[derive(Debug)]
pub(crate) struct Memory {
    copies: [File; 2],
    journal: File,
}

/// A copy that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Later copies have higher numbers.
    pub(crate) number: u64,
    /// The version of the program that wrote it.
    pub(crate) version: String,
    /// JSON.
    pub(crate) content: String,
}

/// Why a copy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// No primary has written it yet.
    #[error("it is empty")]
    Empty,
    /// A primary died while it wrote this copy, or the content is something else.
    #[error("it is not whole")]
    Torn,
    /// A later program wrote it.
    #[error(
        "it has format {format}, written by supervisor {version}, and this is supervisor {}, which reads up to format {FORMAT}",
        crate::version()
    )]
    Newer { format: u32, version: String },
}

impl Memory {
    /// Creates empty copies.
    pub(crate) fn new() -> io::Result<Self> {
        let make = || memfd_create("supervisor-state", MFdFlags::MFD_CLOEXEC).map(File::from);
        Ok(Self { copies: [make()?, make()?], journal: make()? })
    }

    /// Takes the copies that the previous build's keeper passed on.
    pub(crate) fn from_fds([one, other, journal]: [OwnedFd; 3]) -> Self {
        Self { copies: [one.into(), other.into()], journal: journal.into() }
    }

    /// The descriptors for `from_fds`.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 3] {
        [self.copies[0].as_fd(), self.copies[1].as_fd(), self.journal.as_fd()]
    }

    /// Writes the journal. A half-written entry counts as none.
    pub(crate) fn note(&self, content: &str) -> io::Result<()> {
        // The rest of a longer earlier entry lies behind the end that this one states.
        self.journal.write_all_at((line(0, content) + content).as_bytes(), 0)
    }

    /// Reads the journal.
    pub(crate) fn noted(&self) -> io::Result<Option<String>> {
        Ok(decode(&all(&self.journal)?).ok().map(|copy| copy.content))
    }

    /// Writes the copy with that number over the older one.
    pub(crate) fn write(&self, number: u64, content: &str) -> io::Result<()> {
        if content.len() > LARGEST {
            let what = format!("the state has {} bytes", content.len());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        let line = line(number, content);
        let copy = &self.copies[usize::from(number % 2 == 1)];
        copy.write_all_at(line.as_bytes(), 0)?;
        copy.write_all_at(content.as_bytes(), line.len() as u64)?;
        copy.set_len((line.len() + content.len()) as u64)
    }

    /// The newest whole copy as it is stored, so that another build can check it.
    pub(crate) fn newest(&self) -> io::Result<Vec<u8>> {
        let [one, other] = [all(&self.copies[0])?, all(&self.copies[1])?];
        let number = |bytes: &[u8]| decode(bytes).ok().map(|copy| copy.number);
        Ok(if number(&one) > number(&other) { one } else { other })
    }

    /// The newest whole copy. The result is [`Broken`] only if no copy is whole.
    pub(crate) fn read(&self) -> io::Result<Result<Copy, Broken>> {
        let mut read = Vec::new();
        for copy in &self.copies {
            read.push(decode(&all(copy)?));
        }
        Ok(newest(read))
    }
}

fn all(copy: &File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(copy.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(LARGEST + HEAD)];
    copy.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// The copy to go on with.
fn newest(read: Vec<Result<Copy, Broken>>) -> Result<Copy, Broken> {
    let (whole, broken): (Vec<_>, Vec<_>) = read.into_iter().partition(Result::is_ok);
    // A newer format in either copy means that the other copy is out of date.
    if let Some(newer @ Err(Broken::Newer { .. })) =
        broken.iter().find(|copy| matches!(copy, Err(Broken::Newer { .. })))
    {
        return newer.clone();
    }
    let newest = whole.into_iter().flatten().max_by_key(|copy| copy.number);
    newest.ok_or_else(|| {
        let torn = broken.contains(&Err(Broken::Torn));
        if torn { Broken::Torn } else { Broken::Empty }
    })
}

/// The first line.
fn line(number: u64, content: &str) -> String {
    let version = crate::version();
    let head = format!("{MAGIC} {FORMAT} {version} {number} {} ", content.len());
    let sum = checksum(head.as_bytes(), content.as_bytes());
    format!("{head}{sum:016x}\n")
}

/// The checksum over both, one behind the other.
pub(crate) fn checksum(head: &[u8], content: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(head);
    hasher.write(content);
    hasher.finish()
}

/// Reads one copy. Bytes behind the content are the rest of a longer, earlier copy.
pub(crate) fn decode(bytes: &[u8]) -> Result<Copy, Broken> {
    if bytes.is_empty() {
        return Err(Broken::Empty);
    }
    let parts = head(bytes).ok_or(Broken::Torn)?;
    if parts.format > FORMAT {
        return Err(Broken::Newer { format: parts.format, version: parts.version.to_owned() });
    }
    let content = parts.rest.get(..parts.length).ok_or(Broken::Torn)?;
    if checksum(parts.summed, content) != parts.sum {
        return Err(Broken::Torn);
    }
    let content = std::str::from_utf8(content).map_err(|_| Broken::Torn)?;
    Ok(Copy {
        number: parts.number,
        version: parts.version.to_owned(),
        content: content.to_owned(),
    })
}

struct Head<'a> {
    format: u32,
    version: &'a str,
    number: u64,
    length: usize,
    sum: u64,
    /// The part of the line that the checksum covers.
    summed: &'a [u8],
    rest: &'a [u8],
}

fn head(bytes: &[u8]) -> Option<Head<'_>> {
    let end = bytes.iter().take(HEAD).position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut words = line.split(' ');
    if words.next() != Some(MAGIC) {
        return None;
    }
    let head = Head {
        format: words.next()?.parse().ok()?,
        version: words.next()?,
        number: words.next()?.parse().ok()?,
        length: words.next()?.parse().ok()?,
        sum: u64::from_str_radix(words.next()?, 16).ok()?,
        summed: &bytes[..line.rfind(' ')? + 1],
        rest: &bytes[end + 1..],
    };
    words.next().is_none().then_some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(number: u64, content: &str) -> Vec<u8> {
        (line(number, content) + content).into_bytes()
    }

    fn memory(older: &str, newer: &str) -> Memory {
        let memory = Memory::new().unwrap();
        memory.write(6, older).unwrap();
        memory.write(7, newer).unwrap();
        memory
    }

    #[test]
    fn the_newest_is_read() {
        let memory = Memory::new().unwrap();
        assert_eq!(memory.read().unwrap(), Err(Broken::Empty));
        for number in 1..9 {
            let content = format!("{{\"n\":{number}}}").repeat(9 - number as usize);
            memory.write(number, &content).unwrap();
            let copy = memory.read().unwrap().unwrap();
            assert_eq!((copy.number, copy.content), (number, content));
            assert_eq!(copy.version, env!("CARGO_PKG_VERSION"));
        }
    }

    #[test]
    fn a_write_that_was_cut_at_any_byte_leaves_the_other_copy() {
        let (older, newer) = (r#"{"state":"older and longer"}"#, r#"{"state":"newer"}"#);
        let bytes = encode(8, newer);
        let under = encode(6, older);
        for cut in 0..bytes.len() {
            let memory = memory(older, "{}");
            let torn = [&bytes[..cut], under.get(cut..).unwrap_or_default()].concat();
            memory.copies[0].set_len(0).unwrap();
            memory.copies[0].write_all_at(&torn, 0).unwrap();
            let copy = memory.read().unwrap().unwrap();
            assert_eq!((copy.number, copy.content.as_str()), (7, "{}"), "cut at {cut}");
        }
        let memory = memory(older, "{}");
        memory.copies[0].write_all_at(&bytes, 0).unwrap();
        assert_eq!(memory.read().unwrap().unwrap().content, newer, "whole, before the old end");
    }

    #[test]
    fn a_journal_entry_is_whole_or_missing() {
        let memory = Memory::new().unwrap();
        assert_eq!(memory.noted().unwrap(), None);
        for content in ["[1,2,3]", "[]", "[4]"] {
            memory.note(content).unwrap();
            assert_eq!(memory.noted().unwrap().as_deref(), Some(content));
        }
        memory.journal.write_all_at(b"[5]", 0).unwrap();
        assert_eq!(memory.noted().unwrap(), None);
    }

    #[test]
    fn every_changed_byte_is_seen() {
        let bytes = encode(3, r#"{"a":1}"#);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(decode(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_whatever_the_other_copy_is() {
        let memory = memory("{}", "{}");
        let newer = b"supervisor 2 9.9.9 8 2 0000000000000000\n{}";
        memory.copies[0].write_all_at(newer, 0).unwrap();
        let broken = memory.read().unwrap().unwrap_err();
        assert!(broken.to_string().starts_with("it has format 2, written by supervisor 9.9.9"));
    }
}
