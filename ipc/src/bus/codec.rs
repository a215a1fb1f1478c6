//! The two encodings of a channel, and why bytes are refused in both.

use super::MAX_FRAME;
use super::check::Unfit;

/// The encodings of messages on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Binary frames, see [`super::frame`].
    Frames,
    /// JSON lines, see [`super::line`].
    Lines,
}

/// Why bytes are not a message. The caller must close the channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`MAX_FRAME`].
    #[error("a message is longer than {MAX_FRAME} bytes")]
    TooLong,
    /// Neither the header of a frame nor a line.
    #[error("the message is neither a frame of a known layout nor a line of JSON")]
    Header,
    /// Not a message.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// A frame holds more than one message.
    #[error("malformed message: its frame has bytes after the message")]
    Trailing,
    /// A part of the message exceeds a limit.
    #[error("refused message: {0}")]
    Unfit(#[from] Unfit),
}

/// How many characters of a reason are kept, because serde quotes its input.
const REASON: usize = 300;

impl DecodeError {
    pub(super) fn malformed(error: &dyn std::fmt::Display) -> Self {
        let text = error.to_string();
        let plain = text.chars().map(|c| if c.is_control() { '?' } else { c });
        Self::Malformed(plain.take(REASON).collect())
    }
}
