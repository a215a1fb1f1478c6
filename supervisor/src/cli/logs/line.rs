//! One line of a log file, and what it is made of.

/// A line with the time at which it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Milliseconds since 1970. `None`: a build that kept no times wrote it.
    pub(crate) time: Option<u64>,
    /// As it is in the file, without the newline.
    pub(crate) bytes: Vec<u8>,
}

/// How the lines of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// With the slot in front.
    Prefixed,
    /// As the workers wrote them.
    Own {
        /// The slot of all its lines, if the file is that of one.
        slot: Option<u16>,
        /// Each line begins with its time.
        has_time: bool,
    },
}

/// What a line of a log file is made of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// The time in front of it, with the space behind that; empty if it has none.
    pub(crate) stamp: &'a [u8],
    /// The slot of the worker that wrote it.
    pub(crate) slot: Option<u16>,
    /// It continues the line above it, which was too long.
    pub(crate) continues: bool,
    /// What the worker wrote.
    pub(crate) text: &'a [u8],
}

/// Bytes of `2026-11-27T19:11:38.273Z `.
const STAMP: usize = 25;

impl<'a> Parts<'a> {
    /// Takes a line apart. A prefixed one that is not of the form `0 | text` is text alone.
    pub(crate) fn of(line: &'a [u8], form: Form) -> Self {
        let may_have_time = matches!(form, Form::Prefixed | Form::Own { has_time: true, .. });
        let length = if may_have_time && has_stamp(line) { STAMP } else { 0 };
        let (stamp, line) = line.split_at(length);
        let all = Self { stamp, slot: None, continues: false, text: line };
        if let Form::Own { slot, .. } = form {
            return Self { slot, ..all };
        }
        let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let slot = std::str::from_utf8(&line[..digits]).ok().and_then(|text| text.parse().ok());
        let (Some(slot), Some((mark, text))) = (slot, line[digits..].split_at_checked(3)) else {
            return all;
        };
        match mark {
            b" | " => Self { slot: Some(slot), text, ..all },
            b" > " => Self { slot: Some(slot), continues: true, text, ..all },
            _ => all,
        }
    }
}

fn has_stamp(line: &[u8]) -> bool {
    line.len() >= STAMP
        && line[..4].iter().all(u8::is_ascii_digit)
        && (line[4], line[10], &line[23..STAMP]) == (b'-', b'T', b"Z ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let parts = |slot, continues, text| Parts { stamp: b"", slot, continues, text };
        for (line, expected) in [
            (&b"0 | hello"[..], parts(Some(0), false, &b"hello"[..])),
            (b"12 > more | of it", parts(Some(12), true, b"more | of it")),
            (b"3 | ", parts(Some(3), false, b"")),
            (b"3 |", parts(None, false, b"3 |")),
            (b"70000 | a", parts(None, false, b"70000 | a")),
            (b"plain \xff", parts(None, false, b"plain \xff")),
            (b"", parts(None, false, b"")),
        ] {
            assert_eq!(Parts::of(line, Form::Prefixed), expected);
        }
        let own = |has_time| Form::Own { slot: Some(4), has_time };
        assert_eq!(Parts::of(b"0 | a", own(true)), parts(Some(4), false, b"0 | a"));
        let line = b"2026-11-27T19:11:38.273Z 1 | a";
        let (stamp, rest) = line.split_at(STAMP);
        let with_stamp = |slot, text| Parts { stamp, ..parts(slot, false, text) };
        assert_eq!(Parts::of(line, Form::Prefixed), with_stamp(Some(1), b"a"));
        assert_eq!(Parts::of(line, own(true)), with_stamp(Some(4), rest));
        assert_eq!(Parts::of(line, own(false)), parts(Some(4), false, line));
    }
}
