//! JSON lines: an incremental decoder with a size limit, and an encoder. This module opens no
//! sockets.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest line that is read, its newline included: 1 MiB.
pub const MAX_LINE: usize = 1 << 20;

/// Why a line could not be read. The caller must close the channel.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// No newline within [`MAX_LINE`] bytes.
    #[error("the line is longer than {MAX_LINE} bytes")]
    TooLong,
    /// The line is not the expected JSON.
    #[error("malformed message: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Collects bytes until they form whole lines.
#[derive(Debug, Default)]
pub struct LineReader {
    buffer: Vec<u8>,
    /// No newline is in the bytes before this index.
    scanned: usize,
}

impl LineReader {
    /// Adds received bytes; they may be split anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message. `None` means that more bytes are needed. Skips empty lines.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LineError> {
        loop {
            let Some(at) = self.buffer[self.scanned..].iter().position(|b| *b == b'\n') else {
                self.scanned = self.buffer.len();
                return if self.buffer.len() >= MAX_LINE {
                    Err(LineError::TooLong)
                } else {
                    Ok(None)
                };
            };
            let end = self.scanned + at;
            if end >= MAX_LINE {
                return Err(LineError::TooLong);
            }
            let line: Vec<u8> = self.buffer.drain(..=end).take(end).collect();
            self.scanned = 0;
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(serde_json::from_slice(&line)?));
            }
        }
    }

    /// Whether the reader holds bytes of an unfinished line.
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// Encodes one message as a line, newline included.
pub fn to_line<T: Serialize>(message: &T) -> Result<Vec<u8>, LineError> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    if line.len() > MAX_LINE { Err(LineError::TooLong) } else { Ok(line) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_without_end_is_refused() {
        let mut reader = LineReader::default();
        reader.push(&vec![b'1'; MAX_LINE - 1]);
        assert!(matches!(reader.next_message::<u64>(), Ok(None)));
        reader.push(b"1");
        assert!(matches!(reader.next_message::<u64>(), Err(LineError::TooLong)));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_messages(
            values in prop::collection::vec(any::<Vec<u32>>(), 0..8),
            cuts in prop::collection::vec(1usize..40, 0..64),
        ) {
            let mut bytes = Vec::new();
            for value in &values {
                bytes.extend(to_line(value).expect("a vector is JSON"));
            }
            let mut reader = LineReader::default();
            let mut seen: Vec<Vec<u32>> = Vec::new();
            let mut rest = bytes.as_slice();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                reader.push(now);
                rest = later;
                while let Some(value) = reader.next_message().expect("what was written") {
                    seen.push(value);
                }
            }
            prop_assert_eq!(seen, values);
            prop_assert!(!reader.is_partial());
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let mut reader = LineReader::default();
            reader.push(&bytes);
            while let Ok(Some(_)) = reader.next_message::<serde_json::Value>() {}
        }
    }
}
