//! Rotated log files that are compressed. `gzip -d` and `zcat` read them.
//!
//! Such a file is a sequence of gzip members, each of which holds [`MEMBER`] bytes of the log, so
//! that `logs` reads a part without what stands before it. The extra field of each header (RFC
//! 1952) says how long the member is, and which file was compressed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};

use crate::runtime::LogIdentity;

/// Bytes of the log in one member.
const MEMBER: usize = 1 << 20;
/// What our extra field begins with.
const MARK: [u8; 2] = *b"SL";
/// Bytes of our extra field: the mark, the length of the rest, and six numbers.
const EXTRA: usize = 4 + 32;
/// Where it is in a member.
const EXTRA_AT: usize = 12;

/// Writes the whole file `from` compressed to `to`. Fails if `from` changes meanwhile.
pub(crate) fn compress(from: &File, to: &mut impl Write) -> io::Result<()> {
    let identity = LogIdentity::of(&from.metadata()?);
    let mut block = vec![0; MEMBER];
    let mut at = 0;
    while at < identity.size {
        let length = usize::try_from(identity.size - at).unwrap_or(MEMBER).min(MEMBER);
        from.read_exact_at(&mut block[..length], at)?;
        to.write_all(&member(&identity, &block[..length])?)?;
        at += length as u64;
    }
    match LogIdentity::of(&from.metadata()?) == identity {
        true => Ok(()),
        false => Err(io::Error::other("it was written while it was being compressed")),
    }
}

fn member(identity: &LogIdentity, block: &[u8]) -> io::Result<Vec<u8>> {
    // Higher levels take several times as long for a few percent.
    let builder = GzBuilder::new().extra(extra(identity, 0, block.len()));
    let mut encoder = builder.write(Vec::with_capacity(MEMBER / 4), Compression::new(3));
    encoder.write_all(block)?;
    let mut bytes = encoder.finish()?;
    let whole = extra(identity, bytes.len(), block.len());
    bytes[EXTRA_AT..EXTRA_AT + EXTRA].copy_from_slice(&whole);
    Ok(bytes)
}

fn extra(identity: &LogIdentity, compressed: usize, plain: usize) -> [u8; EXTRA] {
    let mut bytes = [0; EXTRA];
    bytes[..2].copy_from_slice(&MARK);
    bytes[2..4].copy_from_slice(&((EXTRA - 4) as u16).to_le_bytes());
    bytes[4..8].copy_from_slice(&(compressed as u32).to_le_bytes());
    bytes[8..12].copy_from_slice(&(plain as u32).to_le_bytes());
    bytes[12..20].copy_from_slice(&identity.inode.to_le_bytes());
    bytes[20..28].copy_from_slice(&identity.size.to_le_bytes());
    bytes[28..].copy_from_slice(&identity.modified.to_le_bytes());
    bytes
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Compressed {
    file: File,
    /// The file that was compressed.
    pub(crate) of: LogIdentity,
    members: Vec<Member>,
    /// The member that was read last, decompressed.
    block: Option<(usize, Vec<u8>)>,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    /// Where it begins in the log that was compressed, and how many bytes of that it holds.
    from: u64,
    plain: usize,
    /// Where it begins in the file.
    at: u64,
    length: usize,
}

impl Compressed {
    /// Reads where the members are. An error: it is no such file, or not a whole one.
    pub(crate) fn open(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut of = None;
        let (mut members, mut at, mut from) = (Vec::new(), 0, 0);
        while at < length {
            let (identity, member) = header(&file, at, from)?;
            if *of.get_or_insert(identity) != identity {
                return Err(damaged());
            }
            at += member.length as u64;
            from += member.plain as u64;
            members.push(member);
        }
        let of = of.filter(|of| at == length && of.size == from).ok_or_else(damaged)?;
        Ok(Self { file, of, members, block: None })
    }

    /// Reads what stands at this offset of the log that was compressed.
    pub(crate) fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (mut filled, mut offset) = (0, offset);
        while filled < buffer.len() {
            let number = self.members.partition_point(|member| member.from <= offset);
            let number = number.checked_sub(1).ok_or(io::ErrorKind::UnexpectedEof)?;
            let from = self.members[number].from;
            let block = self.block(number)?;
            let rest = usize::try_from(offset - from).ok().and_then(|at| block.get(at..));
            let rest = rest.filter(|rest| !rest.is_empty()).ok_or(io::ErrorKind::UnexpectedEof)?;
            let count = rest.len().min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&rest[..count]);
            filled += count;
            offset += count as u64;
        }
        Ok(())
    }

    fn block(&mut self, number: usize) -> io::Result<&[u8]> {
        let block = match self.block.take() {
            Some((held, block)) if held == number => block,
            _ => self.decompressed(self.members[number])?,
        };
        Ok(&self.block.insert((number, block)).1)
    }

    fn decompressed(&self, member: Member) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; member.length];
        self.file.read_exact_at(&mut bytes, member.at)?;
        let mut block = Vec::with_capacity(member.plain);
        // One byte more, so that the checksum behind the last byte is read and compared.
        GzDecoder::new(&bytes[..]).take(member.plain as u64 + 1).read_to_end(&mut block)?;
        if block.len() == member.plain { Ok(block) } else { Err(damaged()) }
    }
}

/// What the header of the member at this offset of the file says.
fn header(file: &File, at: u64, from: u64) -> io::Result<(LogIdentity, Member)> {
    let mut bytes = [0; EXTRA_AT + EXTRA];
    file.read_exact_at(&mut bytes, at).map_err(|_| damaged())?;
    let extra = &bytes[EXTRA_AT..];
    let is_ours = bytes[..3] == [0x1f, 0x8b, 8] && bytes[3] == 4 && extra[..2] == MARK;
    let number = |from: usize, length: usize| {
        let mut all = [0; 16];
        all[..length].copy_from_slice(&extra[from..from + length]);
        u128::from_le_bytes(all)
    };
    let (length, plain) = (number(4, 4) as usize, number(8, 4) as usize);
    if !is_ours || plain == 0 || plain > MEMBER || !(bytes.len()..=2 * MEMBER).contains(&length) {
        return Err(damaged());
    }
    let identity = LogIdentity {
        inode: number(12, 8) as u64,
        size: number(20, 8) as u64,
        modified: number(28, 8) as i64,
    };
    Ok((identity, Member { from, plain, at, length }))
}

fn damaged() -> io::Error {
    io::Error::other("it is damaged, or another program compressed it; zcat may read it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn compressed(text: &[u8]) -> (tempfile::TempDir, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("log"), text).unwrap();
        let mut bytes = Vec::new();
        compress(&File::open(dir.path().join("log")).unwrap(), &mut bytes).unwrap();
        (dir, bytes)
    }

    fn open(dir: &tempfile::TempDir, bytes: &[u8]) -> io::Result<Compressed> {
        let path = dir.path().join("log.gz");
        fs::write(&path, bytes).unwrap();
        Compressed::open(File::open(path).unwrap())
    }

    fn text() -> Vec<u8> {
        (0..300_000).flat_map(|number| format!("line {number}\n").into_bytes()).collect()
    }

    #[test]
    fn every_part_is_read_as_it_was() {
        let text = text();
        assert!(text.len() > 3 * MEMBER);
        let (dir, bytes) = compressed(&text);
        assert!(bytes.len() < text.len() / 3);
        let mut log = open(&dir, &bytes).unwrap();
        let plain = fs::metadata(dir.path().join("log")).unwrap();
        assert_eq!(log.of, LogIdentity::of(&plain));
        let ends = [0, 1, MEMBER - 1, MEMBER, MEMBER + 1, 2 * MEMBER + 7, text.len()];
        for (from, to) in ends.iter().flat_map(|from| ends.iter().map(move |to| (*from, *to))) {
            if from < to {
                let mut part = vec![0; to - from];
                log.read_exact_at(&mut part, from as u64).unwrap();
                assert!(part == text[from..to], "{from}..{to}");
            }
        }
        assert!(log.read_exact_at(&mut [0; 2], text.len() as u64 - 1).is_err());
    }

    #[test]
    fn usual_tools_read_it() {
        let text = text();
        let (_dir, bytes) = compressed(&text);
        let mut all = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut all).unwrap();
        assert!(all == text);
    }

    #[test]
    fn half_a_file_is_never_taken_as_whole() {
        let (dir, bytes) = compressed(&text());
        for length in [0, 1, 30, 60, bytes.len() / 2, bytes.len() - 1] {
            assert!(open(&dir, &bytes[..length]).is_err(), "{length}");
        }
        // The end of a member is missing, and another follows.
        let second = open(&dir, &bytes).unwrap().members[1];
        let at = usize::try_from(second.at).unwrap();
        assert!(open(&dir, &bytes[at..]).is_err(), "the first member is missing");
        let mut changed = bytes.clone();
        changed[at - 6] ^= 1;
        let mut log = open(&dir, &changed).unwrap();
        assert!(log.read_exact_at(&mut [0; 8], 0).is_err(), "the checksum is wrong");
    }

    #[test]
    fn what_others_compressed_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"text\n").unwrap();
        let why = open(&dir, &encoder.finish().unwrap()).unwrap_err().to_string();
        assert!(why.contains("zcat"), "{why}");
    }
}
