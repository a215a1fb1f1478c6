//! Where the primary's state is kept for its successor: two copies in memory that outlive it, each
//! with its own checksum, written in turn. A write that was cut short leaves the other copy.
//!
//! ```text
//! line:    "supervisor" SP format SP version SP number SP length SP checksum LF
//! content: JSON of that length
//! ```
//! The checksum is SipHash-1-3 (key 0, hexadecimal) over the line up to it and the content.
//!
//! Never on disk: the state has the environment in it. A state of a newer format is refused.

use std::fs::File;
use std::hash::Hasher;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};
use siphasher::sip::SipHasher13;

/// The format this program writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 1;
/// The largest state that is written or read.
pub(crate) const LARGEST: usize = 64 << 20;
/// Numbers that a successor leaves out, so that none which its predecessor gave out since it last
/// wrote its state is given out again.
pub(crate) const NUMBERS_LEFT_OUT: u64 = 1 << 40;
const MAGIC: &str = "supervisor";
/// The first line is never longer.
const HEAD: usize = 256;

/// Both copies, and a slip of paper for what cannot wait for the next one.
#[derive(Debug)]
pub(crate) struct Memory {
    copies: [File; 2],
    slip: File,
}

/// A copy that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Later copies have higher numbers.
    pub(crate) number: u64,
    /// The program that wrote it.
    pub(crate) version: String,
    /// JSON.
    pub(crate) content: String,
}

/// Why a copy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// Nothing was written yet.
    #[error("it is empty")]
    Empty,
    /// It was cut short, or is something else.
    #[error("it is not whole")]
    Torn,
    /// Written by a later program.
    #[error(
        "it has format {format}, written by supervisor {version}, and this is supervisor {}, which reads up to format {FORMAT}",
        crate::version()
    )]
    Newer { format: u32, version: String },
}

impl Memory {
    /// Empty ones.
    pub(crate) fn new() -> io::Result<Self> {
        let make = || memfd_create("supervisor-state", MemfdFlags::CLOEXEC).map(File::from);
        Ok(Self { copies: [make()?, make()?], slip: make()? })
    }

    /// Those that a keeper was given by the one before it.
    pub(crate) fn from_fds([one, other, slip]: [OwnedFd; 3]) -> Self {
        Self { copies: [one.into(), other.into()], slip: slip.into() }
    }

    /// For `from_fds`.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 3] {
        [self.copies[0].as_fd(), self.copies[1].as_fd(), self.slip.as_fd()]
    }

    /// Writes the slip. One that was cut short counts as blank.
    pub(crate) fn note(&self, content: &str) -> io::Result<()> {
        // What is left of a longer one is behind the end that this one states.
        self.slip.write_all_at((line(0, content) + content).as_bytes(), 0)
    }

    /// Reads it.
    pub(crate) fn noted(&self) -> io::Result<Option<String>> {
        Ok(decode(&all(&self.slip)?).ok().map(|copy| copy.content))
    }

    /// Writes the copy of that number over the older one.
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

    /// The newest whole copy as it is written, for another build to look at.
    pub(crate) fn newest(&self) -> io::Result<Vec<u8>> {
        let [one, other] = [all(&self.copies[0])?, all(&self.copies[1])?];
        let number = |bytes: &[u8]| decode(bytes).ok().map(|copy| copy.number);
        Ok(if number(&one) > number(&other) { one } else { other })
    }

    /// The newest whole copy; an error only if there is none.
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

/// The one to go on with.
fn newest(read: Vec<Result<Copy, Broken>>) -> Result<Copy, Broken> {
    let (whole, broken): (Vec<_>, Vec<_>) = read.into_iter().partition(Result::is_ok);
    // A newer format in either means that the other is older than the world.
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

/// Of both, one behind the other.
pub(crate) fn checksum(head: &[u8], content: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(head);
    hasher.write(content);
    hasher.finish()
}

/// Reads one copy. What follows the content is left over from a longer one before it.
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
    /// What the checksum covers of the line.
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
    fn a_slip_is_whole_or_blank() {
        let memory = Memory::new().unwrap();
        assert_eq!(memory.noted().unwrap(), None);
        for content in ["[1,2,3]", "[]", "[4]"] {
            memory.note(content).unwrap();
            assert_eq!(memory.noted().unwrap().as_deref(), Some(content));
        }
        memory.slip.write_all_at(b"[5]", 0).unwrap();
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
