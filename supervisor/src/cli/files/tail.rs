//! The end of a file that another program writes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Up to `most` of the last lines in what stands after the offset `from` and within the last
/// `bytes`. None, if it cannot be read.
pub(crate) fn tail(file: &mut File, from: u64, bytes: u64, most: usize) -> Vec<String> {
    let end = file.seek(SeekFrom::End(0)).unwrap_or(from);
    let start = from.max(end.saturating_sub(bytes));
    let mut text = Vec::new();
    let read =
        file.seek(SeekFrom::Start(start)).and_then(|_| file.take(bytes).read_to_end(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&text);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.split_off(lines.len().saturating_sub(most)).into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_last_lines_after_an_offset() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"old\none\n\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&mut file, 4, 100, 10), ["one", "", "two", "three"]);
        assert_eq!(tail(&mut file, 4, 100, 2), ["two", "three"]);
        assert_eq!(tail(&mut file, 0, 6, 10), ["three"]);
        assert_eq!(tail(&mut file, 100, 6, 10), [""; 0]);
    }
}
