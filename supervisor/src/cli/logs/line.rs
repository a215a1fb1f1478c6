//! One line of a log file, and what it is made of.

/// A line with the time at which it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Milliseconds since 1970. `None`: a build that kept no times wrote it.
    pub(crate) time: Option<u64>,
    /// As it is in the file, without the newline.
    pub(crate) bytes: Vec<u8>,
}

/// What a line of a log file is made of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// The slot of the worker that wrote it.
    pub(crate) slot: Option<u16>,
    /// It continues the line above it, which was too long.
    pub(crate) continues: bool,
    /// What the worker wrote.
    pub(crate) text: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Takes a line apart. One that is not of the form `0 | text` is text alone.
    pub(crate) fn of(line: &'a [u8]) -> Self {
        let all = Self { slot: None, continues: false, text: line };
        let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let slot = std::str::from_utf8(&line[..digits]).ok().and_then(|text| text.parse().ok());
        let (Some(slot), Some((mark, text))) = (slot, line[digits..].split_at_checked(3)) else {
            return all;
        };
        match mark {
            b" | " => Self { slot: Some(slot), continues: false, text },
            b" > " => Self { slot: Some(slot), continues: true, text },
            _ => all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let parts = |slot, continues, text| Parts { slot, continues, text };
        for (line, expected) in [
            (&b"0 | hello"[..], parts(Some(0), false, &b"hello"[..])),
            (b"12 > more | of it", parts(Some(12), true, b"more | of it")),
            (b"3 | ", parts(Some(3), false, b"")),
            (b"3 |", parts(None, false, b"3 |")),
            (b"70000 | a", parts(None, false, b"70000 | a")),
            (b"plain \xff", parts(None, false, b"plain \xff")),
            (b"", parts(None, false, b"")),
        ] {
            assert_eq!(Parts::of(line), expected);
        }
    }
}
