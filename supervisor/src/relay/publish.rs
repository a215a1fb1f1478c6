//! Delivering events to their readers, and what happens when a reader does not read.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use ipc::bus::codec::Codec;
use ipc::bus::event::{self, Origin};
use ipc::bus::{Json, Peer, ToWorker, WhenFull};

use super::frames::Made;
use super::limits::{REST, STALL, WASTE};
use super::member::Member;
use super::subscribers::Readers;
use super::{Action, MemberStatus, PERSON, Relay};
use crate::base::ids::WorkerId;
use crate::base::time::Time;

/// The memory that is reused for each event.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    readers: Vec<(WorkerId, WhenFull)>,
    frames: Made,
    lines: Made,
}

/// One event in both codecs; each is encoded when the first reader needs it.
struct Encoded<'a> {
    topic: &'a str,
    data: &'a str,
    origin: &'a Origin,
    frames: Made,
    lines: Made,
}

impl Encoded<'_> {
    fn get(&mut self, codec: Option<Codec>) -> Option<&mut Made> {
        let codec = codec?;
        let made = match codec {
            Codec::Frames => &mut self.frames,
            Codec::Lines => &mut self.lines,
        };
        if made.is_empty() {
            event::event(codec, self.topic, self.data, self.origin, &mut made.bytes).ok()?;
        }
        Some(made)
    }
}

impl Relay {
    /// Takes an event of a worker in the form in which the worker wrote it, like
    /// [`Event::Spoke`](super::Event).
    pub(crate) fn emitted(
        &mut self,
        now: Time,
        worker: WorkerId,
        said: event::Event<'_>,
        actions: &mut Vec<Action>,
    ) {
        let Some(member) = self.members.get_mut(&worker).filter(|m| !m.cut) else { return };
        member.said += 1;
        if member.codec.is_none() {
            return self.cut(worker, "its first message was not a hello".to_owned(), actions);
        }
        let origin = Arc::clone(&member.origin);
        self.emit_as(now, worker, &origin, None, (said.topic, said.data), actions);
    }

    /// Emits a worker's event to all readers of the topic, or to one slot.
    pub(super) fn emit(
        &mut self,
        now: Time,
        from: WorkerId,
        slot: Option<u16>,
        topic: &str,
        data: &str,
        actions: &mut Vec<Action>,
    ) {
        let Some(origin) = self.members.get(&from).map(|member| Arc::clone(&member.origin)) else {
            return;
        };
        self.emit_as(now, from, &origin, slot, (topic, data), actions);
    }

    fn emit_as(
        &mut self,
        now: Time,
        from: WorkerId,
        origin: &Origin,
        slot: Option<u16>,
        (topic, data): (&str, &str),
        actions: &mut Vec<Action>,
    ) {
        if self.followed {
            let (topic, data) = (topic.to_owned(), data.to_owned());
            actions.push(Action::Heard { from, topic, data });
        }
        self.spread(now, from, origin, slot, (topic, data), actions);
    }

    /// Emits a person's event. Returns for how many workers it was queued.
    pub(crate) fn say(
        &mut self,
        now: Time,
        slot: Option<u16>,
        topic: &str,
        data: &Json,
        actions: &mut Vec<Action>,
    ) -> usize {
        let origin = Origin::of(&Peer::default());
        self.spread(now, PERSON, &origin, slot, (topic, data.text()), actions)
    }

    /// Emits the event of a worker on another channel than the bus (Node's own) to all readers.
    pub(crate) fn emit_for(
        &mut self,
        now: Time,
        peer: &Peer,
        topic: &str,
        data: &Json,
        actions: &mut Vec<Action>,
    ) {
        let (from, origin) = (WorkerId(peer.worker), Origin::of(peer));
        self.spread(now, from, &origin, None, (topic, data.text()), actions);
    }

    fn spread(
        &mut self,
        now: Time,
        from: WorkerId,
        origin: &Origin,
        slot: Option<u16>,
        (topic, data): (&str, &str),
        actions: &mut Vec<Action>,
    ) -> usize {
        self.counts.emitted += 1;
        let Scratch { mut readers, frames, lines } = std::mem::take(&mut self.scratch);
        readers.clear();
        match slot {
            None => readers.extend(self.topics.get(topic).map_or(&[][..], Readers::all)),
            Some(slot) => readers.extend(self.of_slot(slot).map(|id| (id, WhenFull::DropOldest))),
        }
        let mut encoded = Encoded { topic, data, origin, frames, lines };
        let mut reached = 0;
        for (reader, when_full) in readers.iter().copied().filter(|(reader, _)| *reader != from) {
            let Some(member) = self.members.get_mut(&reader).filter(|m| !m.cut) else { continue };
            let Some(frame) = encoded.get(member.codec) else { continue };
            reached += 1;
            member.heard += 1;
            let size = frame.bytes.len() + 64;
            let losers = member.queue.event(from, frame);
            if !std::mem::replace(&mut member.dirty, true) {
                self.dirty.insert(reader);
            }
            if when_full == WhenFull::Wait && member.queue.is_crowded() {
                self.press(now, from, reader, actions);
            }
            if !losers.is_empty() {
                self.count_lost(reader, &losers, actions);
                self.let_rest(now, &losers, size, actions);
            }
        }
        let Encoded { frames, lines, .. } = encoded;
        self.scratch = Scratch { readers, frames: frames.kept(), lines: lines.kept() };
        self.counts.delivered += u64::try_from(reached).unwrap_or(u64::MAX);
        self.counts.unheard += u64::from(reached == 0);
        reached
    }

    /// The workers on the bus in this slot: during a reload there may be two.
    pub(super) fn of_slot(&self, slot: u16) -> impl Iterator<Item = WorkerId> + '_ {
        let members = self.members.iter();
        members.filter(move |(_, m)| m.peer.slot == slot && !m.draining).map(|(id, _)| *id)
    }

    /// Makes the sender wait if the reader asked for that and is behind.
    fn press(&mut self, now: Time, from: WorkerId, reader: WorkerId, actions: &mut Vec<Action>) {
        if !self.members.contains_key(&from) {
            return;
        }
        let Some(member) = self.members.get_mut(&reader).filter(|m| !m.distrusted) else { return };
        if member.holds.is_empty() {
            member.progress = now;
        }
        if member.holds.insert(from)
            && let Some(sender) = self.members.get_mut(&from)
        {
            sender.held_by += 1;
            if sender.held_by == 1 {
                actions.push(Action::Pause(from));
            }
        }
    }

    /// These senders no longer wait for the reader.
    pub(super) fn let_go(&mut self, held: BTreeSet<WorkerId>, actions: &mut Vec<Action>) {
        for sender in held {
            let Some(member) = self.members.get_mut(&sender) else { continue };
            member.held_by = member.held_by.saturating_sub(1);
            if member.held_by == 0 {
                actions.push(Action::Resume(sender));
            }
        }
    }

    /// Lets the senders whose messages are dropped rest for a moment: the relay would drop what
    /// they write now as well, and reading it would take time from others.
    fn let_rest(&mut self, now: Time, losers: &[WorkerId], size: usize, actions: &mut Vec<Action>) {
        for loser in losers {
            let Some(member) = self.members.get_mut(loser) else { continue };
            member.wasted += size;
            let pauses = u32::try_from(member.wasted / WASTE).unwrap_or(u32::MAX);
            if pauses == 0 || member.rests.is_some() {
                continue;
            }
            member.wasted = 0;
            let until = now + REST * pauses;
            member.rests = Some(until);
            self.resting.insert((until, *loser));
            member.held_by += 1;
            if member.held_by == 1 {
                actions.push(Action::Pause(*loser));
            }
        }
    }

    /// Lets the workers that have rested go on.
    pub(super) fn wake(&mut self, now: Time, actions: &mut Vec<Action>) {
        while let Some((until, worker)) = self.resting.first().copied() {
            if until > now {
                break;
            }
            self.resting.pop_first();
            let rested = self.members.get_mut(&worker).and_then(|member| member.rests.take());
            if rested.is_some() {
                self.let_go(BTreeSet::from([worker]), actions);
            }
        }
    }

    fn count_lost(&mut self, reader: WorkerId, losers: &[WorkerId], actions: &mut Vec<Action>) {
        let lost = u64::try_from(losers.len()).unwrap_or(u64::MAX);
        self.counts.dropped_full += lost;
        for loser in losers {
            if let Some(member) = self.members.get_mut(loser) {
                member.caused += 1;
            }
        }
        let Some(member) = self.members.get_mut(&reader) else { return };
        member.lost += lost;
        if member.lost < member.warn_at {
            return;
        }
        member.warn_at = member.lost.saturating_mul(10);
        let count = member.lost;
        let most = losers.last().map(|loser| self.name(*loser)).unwrap_or_default();
        actions.push(Action::Warn(format!(
            "{} reads more slowly than others write: {count} of its messages were dropped, oldest first, the last ones from {most}",
            self.name(reader)
        )));
    }

    /// Notes whether a client follows the events.
    pub(crate) fn follow(&mut self, followed: bool) {
        self.followed = followed;
    }

    /// Takes the set of workers with something to write.
    pub(crate) fn take_dirty(&mut self) -> BTreeSet<WorkerId> {
        let dirty = std::mem::take(&mut self.dirty);
        for worker in &dirty {
            if let Some(member) = self.members.get_mut(worker) {
                member.dirty = false;
            }
        }
        dirty
    }

    /// Whether there are any.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// What to write to a worker now.
    pub(crate) fn flight(&mut self, worker: WorkerId) -> (Vec<&[u8]>, Option<BorrowedFd<'_>>) {
        let Some(member) = self.members.get_mut(&worker) else { return (Vec::new(), None) };
        let (pieces, fd) = member.queue.flight();
        (pieces.collect(), fd)
    }

    /// Whether anything waits to be written to a worker.
    pub(crate) fn has_more(&self, worker: WorkerId) -> bool {
        self.members.get(&worker).is_some_and(|member| !member.queue.is_empty())
    }

    /// Notes that this many bytes were written to a worker.
    pub(crate) fn wrote(
        &mut self,
        now: Time,
        worker: WorkerId,
        count: usize,
        actions: &mut Vec<Action>,
    ) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        member.queue.wrote(count);
        member.progress = now;
        if !member.holds.is_empty() && member.queue.is_roomy() {
            let held = std::mem::take(&mut member.holds);
            self.let_go(held, actions);
        }
        let Some(member) = self.members.get_mut(&worker) else { return };
        if member.queue.is_empty() {
            member.distrusted = false;
            if member.lost > member.told_lost {
                member.told_lost = member.lost;
                let count = member.lost;
                self.tell(worker, &ToWorker::Dropped { count }, actions);
            }
        }
        self.room_again(now, worker, actions);
    }

    /// Finds workers that make others wait and read nothing, and lets the others go on.
    pub(super) fn look_for_stalls(&mut self, now: Time, actions: &mut Vec<Action>) {
        let stalled = |m: &Member| !m.holds.is_empty() && now.since(m.progress) >= STALL;
        let found: Vec<WorkerId> =
            self.members.iter().filter(|(_, m)| stalled(m)).map(|(id, _)| *id).collect();
        for worker in found {
            let Some(member) = self.members.get_mut(&worker) else { continue };
            member.distrusted = true;
            let held = std::mem::take(&mut member.holds);
            self.let_go(held, actions);
            actions.push(Action::Warn(format!(
                "{} made others wait and read nothing for {} seconds: until it has caught up, its messages are dropped instead",
                self.name(worker),
                STALL.as_secs()
            )));
        }
    }

    /// When the next such worker is found.
    pub(super) fn next_stall(&self) -> Option<Time> {
        let held = self.members.values().filter(|member| !member.holds.is_empty());
        held.map(|member| member.progress + STALL).min()
    }

    /// The members, for people.
    pub(crate) fn members(&self) -> impl Iterator<Item = MemberStatus> + '_ {
        let greeted = self.members.iter().filter(|(_, member)| member.codec.is_some());
        greeted.map(|(worker, member)| MemberStatus {
            worker: *worker,
            slot: member.peer.slot,
            client: member.client.clone(),
            pool: member.peer.pool.clone(),
            said: member.said,
            heard: member.heard,
            lost: member.lost,
            waiting: member.queue.len(),
            waiting_bytes: member.queue.held(),
            working: member.works_on.len(),
            subscriptions: member.subscribed.len(),
        })
    }
}
