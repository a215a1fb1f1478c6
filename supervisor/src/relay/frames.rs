//! Frames that lie one behind the other in one piece of memory. Short frames are copied into it,
//! because that costs less than a piece for each. A long frame is shared by all its readers.

use std::collections::VecDeque;
use std::sync::Arc;

/// An encoded message, shared by all its readers.
pub(crate) type Bytes = Arc<[u8]>;

/// The longest frame that is copied.
const SHORT: usize = 4 * 1024;
/// The most bytes of one run of short frames.
const RUN_BYTES: usize = 32 * 1024;
/// The most frames of one run.
const RUN_FRAMES: usize = 128;

/// See the module.
#[derive(Debug)]
pub(super) struct Run {
    memory: Memory,
    /// Where the first frame begins.
    start: usize,
    lengths: VecDeque<u32>,
}

#[derive(Debug)]
enum Memory {
    Copied(Vec<u8>),
    Shared(Bytes),
}

/// One encoded event: made once for each codec, for any number of readers.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) bytes: Vec<u8>,
    shared: Option<Bytes>,
}

impl Made {
    fn clear(&mut self) {
        self.bytes.clear();
        self.shared = None;
    }

    /// Empties it for the next event. Keeps the memory unless it is unusually large.
    pub(super) fn kept(mut self) -> Self {
        if self.bytes.capacity() > RUN_BYTES {
            self = Self::default();
        }
        self.clear();
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn shared(&mut self) -> Bytes {
        let bytes = &self.bytes;
        Arc::clone(self.shared.get_or_insert_with(|| Bytes::from(bytes.as_slice())))
    }
}

fn length(bytes: &[u8]) -> u32 {
    // No frame is longer than this.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

impl Run {
    /// A run of one frame, which other queues may share.
    pub(super) fn of(frame: Bytes) -> Self {
        let lengths = VecDeque::from([length(&frame)]);
        Self { memory: Memory::Shared(frame), start: 0, lengths }
    }

    /// A run of one frame, which others may follow.
    pub(super) fn made(frame: &mut Made) -> Self {
        if frame.bytes.len() > SHORT {
            return Self::of(frame.shared());
        }
        let mut run =
            Self { memory: Memory::Copied(Vec::new()), start: 0, lengths: VecDeque::new() };
        run.copy(&frame.bytes);
        run
    }

    /// Adds a frame at the end, if it may lie there.
    pub(super) fn add(&mut self, frame: &[u8]) -> bool {
        let fits = frame.len() <= SHORT && self.lengths.len() < RUN_FRAMES;
        match &self.memory {
            Memory::Copied(bytes) if fits && bytes.len() + frame.len() <= RUN_BYTES => {}
            _ => return false,
        }
        self.copy(frame);
        true
    }

    fn copy(&mut self, frame: &[u8]) {
        if let Memory::Copied(bytes) = &mut self.memory {
            bytes.extend_from_slice(frame);
            self.lengths.push_back(length(frame));
        }
    }

    /// The number of frames.
    pub(super) fn len(&self) -> usize {
        self.lengths.len()
    }

    /// The bytes of all frames.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Copied(bytes) => &bytes[self.start..],
            Memory::Shared(bytes) => &bytes[self.start..],
        }
    }

    /// The first frame.
    pub(super) fn first(&self) -> Option<&[u8]> {
        let length = usize::try_from(*self.lengths.front()?).ok()?;
        self.bytes().get(..length)
    }

    /// The first frame, as a run of its own.
    pub(super) fn alone(&self) -> Option<Self> {
        let frame = self.first()?;
        let memory = match &self.memory {
            Memory::Copied(_) => Memory::Copied(frame.to_vec()),
            Memory::Shared(bytes) => Memory::Shared(Arc::clone(bytes)),
        };
        Some(Self { memory, start: 0, lengths: VecDeque::from([length(frame)]) })
    }

    /// Removes the first frame and returns its length.
    pub(super) fn pop(&mut self) -> Option<usize> {
        let length = usize::try_from(self.lengths.pop_front()?).ok()?;
        self.start += length;
        Some(length)
    }
}
