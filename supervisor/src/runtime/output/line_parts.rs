//! A line with the slot of its worker in front, as it goes through the primary.

/// Adds `0 | ` before a line and a newline behind it; `0 > ` before a piece that continues the line
/// above it.
pub(crate) fn prefix(slot: u16, (line, continues): (&[u8], bool), to: &mut Vec<u8>) {
    to.extend_from_slice(slot.to_string().as_bytes());
    to.extend_from_slice(if continues { b" > " } else { b" | " });
    to.extend_from_slice(line);
    to.push(b'\n');
}

/// What such a line is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineParts<'a> {
    pub(super) slot: Option<u16>,
    /// It continues the line above it, which was too long.
    pub(super) continues: bool,
    /// Without the newline.
    pub(super) text: &'a [u8],
}

impl<'a> LineParts<'a> {
    /// Takes a line apart that [`prefix`] made.
    pub(super) fn of(line: &'a [u8]) -> Self {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let slot = std::str::from_utf8(&line[..digits]).ok().and_then(|text| text.parse().ok());
        match line[digits..].split_at_checked(3) {
            Some((mark, text)) => Self { slot, continues: mark == b" > ", text },
            None => Self { slot, continues: false, text: &line[digits..] },
        }
    }
}

/// How many bytes of this too long line are its next piece: at most `longest`, and whole characters
/// where it is text.
pub(super) fn piece(line: &[u8], longest: usize) -> usize {
    // A character of UTF-8 has at most four bytes; those after its first begin with the bits 10.
    let begins = |at: &usize| line.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    (longest.saturating_sub(3).max(1)..=longest).rev().find(begins).unwrap_or(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_together_is_taken_apart() {
        for (slot, text, continues) in
            [(0, &b"a | b"[..], false), (12, b"", true), (7, b"7", false)]
        {
            let mut line = Vec::new();
            prefix(slot, (text, continues), &mut line);
            assert_eq!(LineParts::of(&line), LineParts { slot: Some(slot), continues, text });
        }
    }
}
