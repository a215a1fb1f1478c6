//! The queue of messages to one worker: bounded, and fair between their senders.
//!
//! Each sender has a lane for its events, and the lanes take turns, so that a flooding worker
//! delays only itself. When there are too many events, the sender with the most bytes loses its
//! oldest. Calls, answers and the like have their own lane: they leave first and are never dropped.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(crate) use super::frames::Bytes;
use super::frames::{Made, Run};
use super::limits::{
    FLIGHT_BYTES, FLIGHT_FRAMES, GIFTS, OWN_BYTES, OWN_MOST, QUEUE_BYTES, QUEUE_FRAMES,
};
use crate::base::ids::WorkerId;

/// A call, an answer or the like, and the descriptor beside it.
#[derive(Debug)]
struct Frame {
    bytes: Bytes,
    fd: Option<OwnedFd>,
}

/// The events of one sender.
#[derive(Debug, Default)]
struct Lane {
    runs: VecDeque<Run>,
    frames: usize,
    bytes: usize,
}

impl Lane {
    fn add(&mut self, frame: &mut Made) {
        self.frames += 1;
        self.bytes += frame.bytes.len();
        if !self.runs.back_mut().is_some_and(|run| run.add(&frame.bytes)) {
            self.runs.push_back(Run::made(frame));
        }
    }

    /// Takes the first run, if it has at most `most` frames.
    fn take_run(&mut self, most: usize) -> Option<Run> {
        let run = self.runs.pop_front_if(|run| run.len() <= most)?;
        self.frames -= run.len();
        self.bytes -= run.bytes().len();
        Some(run)
    }

    /// Drops the oldest frame and returns its length.
    fn drop_oldest(&mut self) -> Option<usize> {
        let run = self.runs.front_mut()?;
        let length = run.pop()?;
        if run.len() == 0 {
            self.runs.pop_front();
        }
        self.frames -= 1;
        self.bytes -= length;
        Some(length)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    own: VecDeque<Frame>,
    own_bytes: usize,
    /// How many descriptors wait.
    gifts: usize,
    lanes: BTreeMap<WorkerId, Lane>,
    /// The senders with waiting events, the next one first.
    turn: VecDeque<WorkerId>,
    frames: usize,
    bytes: usize,
    /// The runs that are being written.
    flight: VecDeque<Run>,
    flight_frames: usize,
    flight_bytes: usize,
    /// A descriptor that goes with the flight's next byte.
    flight_gift: Option<OwnedFd>,
    /// Bytes of the first frame that have been written.
    written: usize,
}

impl Queue {
    /// Adds an event. Returns the senders that lost their oldest event because of it.
    pub(crate) fn event(&mut self, from: WorkerId, frame: &mut Made) -> Vec<WorkerId> {
        let lane = self.lanes.entry(from).or_default();
        if lane.frames == 0 {
            self.turn.push_back(from);
        }
        lane.add(frame);
        self.bytes += frame.bytes.len();
        self.frames += 1;
        let mut losers = Vec::new();
        while self.bytes > QUEUE_BYTES || self.frames > QUEUE_FRAMES {
            let Some(loser) = self.drop_oldest() else { break };
            losers.push(loser);
        }
        losers
    }

    fn drop_oldest(&mut self) -> Option<WorkerId> {
        let (loser, lane) = self
            .lanes
            .iter_mut()
            .max_by_key(|(_, lane)| (lane.bytes.max(lane.frames * 64), lane.frames))?;
        let loser = *loser;
        self.bytes -= lane.drop_oldest()?;
        self.frames -= 1;
        if lane.frames == 0 {
            self.lanes.remove(&loser);
            self.turn.retain(|sender| *sender != loser);
        }
        Some(loser)
    }

    /// Whether a call or an answer of this length may be added.
    pub(crate) fn has_room(&self, length: usize) -> bool {
        self.own_bytes + length <= OWN_BYTES
    }

    /// Adds a message that must not be dropped. `false`: too much waits already, and it is not
    /// added.
    #[must_use]
    pub(crate) fn own(&mut self, frame: Bytes) -> bool {
        if self.own_bytes + frame.len() > OWN_MOST {
            return false;
        }
        self.own_bytes += frame.len();
        self.own.push_back(Frame { bytes: frame, fd: None });
        true
    }

    /// Whether a descriptor may be added, with a message of this length.
    pub(crate) fn takes_gift(&self, length: usize) -> bool {
        self.gifts < GIFTS && self.has_room(length)
    }

    /// Adds a message with a descriptor. Check [`Self::takes_gift`] first.
    pub(crate) fn gift(&mut self, frame: Bytes, fd: OwnedFd) {
        self.own_bytes += frame.len();
        self.gifts += 1;
        self.own.push_back(Frame { bytes: frame, fd: Some(fd) });
    }

    /// Whether it is more than half full of events.
    pub(crate) fn is_crowded(&self) -> bool {
        self.bytes > QUEUE_BYTES / 2 || self.frames > QUEUE_FRAMES / 2
    }

    /// Whether it is less than a quarter full of events.
    pub(crate) fn is_roomy(&self) -> bool {
        self.bytes < QUEUE_BYTES / 4 && self.frames < QUEUE_FRAMES / 4
    }

    /// Whether nothing waits and nothing is being written.
    pub(crate) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.frames == 0 && self.flight.is_empty()
    }

    /// Whether the first frame of the flight was written in part.
    pub(crate) fn is_half_written(&self) -> bool {
        self.written > 0
    }

    /// How many events wait or are being written.
    pub(crate) fn len(&self) -> usize {
        self.frames + self.own.len() + self.flight_frames
    }

    /// How many bytes it holds.
    pub(crate) fn held(&self) -> usize {
        self.own_bytes + self.bytes + self.flight_bytes
    }

    /// The bytes to write now, in order, from where the last write ended; and the descriptor that
    /// goes with the first byte of this write.
    pub(crate) fn flight(&mut self) -> (impl Iterator<Item = &[u8]>, Option<BorrowedFd<'_>>) {
        while self.flight_frames < FLIGHT_FRAMES && self.flight_bytes < FLIGHT_BYTES {
            // Each write carries one descriptor at most.
            if self.flight_gift.is_some() && self.own.front().is_some_and(|own| own.fd.is_some()) {
                break;
            }
            if !self.load_own() && !self.load_event() {
                break;
            }
        }
        let skip = self.written;
        let pieces = self.flight.iter().enumerate().map(move |(at, run)| match at {
            0 => &run.bytes()[skip..],
            _ => run.bytes(),
        });
        (pieces, self.flight_gift.as_ref().map(AsFd::as_fd))
    }

    fn load_own(&mut self) -> bool {
        let Some(Frame { bytes, fd }) = self.own.pop_front() else { return false };
        self.own_bytes -= bytes.len();
        if fd.is_some() {
            self.gifts -= 1;
            self.flight_gift = fd;
        }
        self.load(Run::of(bytes));
        true
    }

    /// Loads the next event, or a whole run of events if no other sender has any.
    fn load_event(&mut self) -> bool {
        let Some(sender) = self.turn.pop_front() else { return false };
        let Some(lane) = self.lanes.get_mut(&sender) else { return false };
        let (frames, bytes) = (lane.frames, lane.bytes);
        let room = FLIGHT_FRAMES - self.flight_frames;
        let run = if self.turn.is_empty() { lane.take_run(room) } else { None };
        match run {
            Some(run) => {
                self.flight_frames += run.len();
                self.flight_bytes += run.bytes().len();
                self.flight.push_back(run);
            }
            None => {
                let Some(first) = lane.runs.front() else { return false };
                let added = self.flight.back_mut().zip(first.first());
                if !added.is_some_and(|(last, frame)| last.add(frame)) {
                    let Some(alone) = first.alone() else { return false };
                    self.flight.push_back(alone);
                }
                self.flight_frames += 1;
                self.flight_bytes += lane.drop_oldest().unwrap_or_default();
            }
        }
        self.frames -= frames - lane.frames;
        self.bytes -= bytes - lane.bytes;
        if lane.frames == 0 {
            self.lanes.remove(&sender);
        } else {
            self.turn.push_back(sender);
        }
        true
    }

    fn load(&mut self, run: Run) {
        self.flight_frames += run.len();
        self.flight_bytes += run.bytes().len();
        self.flight.push_back(run);
    }

    /// Notes that this many bytes of the flight were written, and its descriptor with them.
    pub(crate) fn wrote(&mut self, count: usize) {
        if count > 0 {
            self.flight_gift = None;
        }
        self.written += count;
        while let Some(run) = self.flight.front_mut() {
            let whole = run.first().map(<[u8]>::len).filter(|length| self.written >= *length);
            let Some(length) = whole else { return };
            self.written -= length;
            self.flight_bytes -= length;
            self.flight_frames -= 1;
            run.pop();
            if run.len() == 0 {
                self.flight.pop_front();
            }
        }
        self.written = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: WorkerId = WorkerId(1);
    const B: WorkerId = WorkerId(2);

    fn frame(text: &str) -> Bytes {
        Bytes::from(text.as_bytes())
    }

    fn made(bytes: &[u8]) -> Made {
        let mut made = Made::default();
        made.bytes.extend_from_slice(bytes);
        made
    }

    fn written(queue: &mut Queue, most: usize) -> String {
        let all: Vec<u8> = queue.flight().0.flatten().copied().take(most).collect();
        queue.wrote(all.len());
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn senders_take_turns_and_answers_go_first() {
        let mut queue = Queue::default();
        for text in ["a1", "a2", "a3"] {
            assert!(queue.event(A, &mut made(text.as_bytes())).is_empty());
        }
        assert!(queue.event(B, &mut made("b1".as_bytes())).is_empty());
        assert!(queue.own(frame("!!")));
        assert_eq!(queue.len(), 5);
        assert_eq!(written(&mut queue, 5), "!!a1b");
        assert_eq!(written(&mut queue, 99), "1a2a3");
        assert!(queue.is_empty());
        assert_eq!(queue.held(), 0);
    }

    #[test]
    fn a_flooding_sender_loses_its_own_events() {
        let mut queue = Queue::default();
        assert!(queue.event(B, &mut made("b".as_bytes())).is_empty());
        let mut big = made(&vec![0; 1 << 20]);
        let mut lost = Vec::new();
        for _ in 0..20 {
            lost.extend(queue.event(A, &mut big));
            assert!(queue.held() <= QUEUE_BYTES);
        }
        assert_eq!(lost, [A; 13]);
        for _ in 0..QUEUE_FRAMES {
            lost.extend(queue.event(A, &mut made(b"")));
        }
        assert!(!lost.contains(&B) && queue.len() <= QUEUE_FRAMES);
    }

    #[test]
    fn each_write_has_one_descriptor_and_it_goes_once() {
        let mut queue = Queue::default();
        let fd = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert!(queue.own(frame("a")));
        for text in ["b", "c"] {
            assert!(queue.takes_gift(1));
            queue.gift(frame(text), fd());
        }
        assert!(queue.flight().1.is_some());
        // Nothing was written, so the descriptor is still to be sent.
        queue.wrote(0);
        assert!(queue.flight().1.is_some());
        assert_eq!(written(&mut queue, 1), "a");
        assert!(queue.flight().1.is_some(), "the descriptor of the next message");
        assert_eq!(written(&mut queue, 9), "bc");
        assert!(queue.flight().1.is_none() && queue.is_empty());
        for _ in 0..GIFTS {
            queue.gift(frame("x"), fd());
        }
        assert!(!queue.takes_gift(1));
    }

    #[test]
    fn messages_that_must_not_be_dropped_are_bounded_too() {
        let mut queue = Queue::default();
        let big = Bytes::from(vec![0; 1 << 20]);
        for at in 0..6 {
            assert_eq!(queue.has_room(big.len()), at < 4);
            assert!(queue.own(big.clone()));
        }
        assert!(!queue.own(big));
    }
}
