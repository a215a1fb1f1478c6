//! Descriptors from worker to worker: an open file, a pipe, a connection.
//!
//! Refuses what the other side could not take, at once; whoever gives keeps its own copy.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ipc::bus::{FromWorker, Json, Peer};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Worker;
use crate::answer::Slot;
use crate::bus::{fits, locked};
use crate::calls::{CallError, read};
use crate::handlers::{Outcome, contained};

/// How long the supervisor may take to say whether it passes a descriptor on.
const PATIENCE: Duration = Duration::from_secs(10);
/// Descriptors that wait for their handler.
const WAITING: usize = 16;
/// Descriptors that one read may bring; the supervisor sends one at a time.
const AT_ONCE: usize = 4;

/// Something that another worker gave.
#[derive(Debug)]
pub struct Given {
    /// The topic.
    pub topic: String,
    /// Who gave it.
    pub from: Peer,
    /// The descriptor, close-on-exec.
    pub fd: OwnedFd,
    data: Json,
}

impl Given {
    /// The data as a value.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.data.read()
    }
}

/// The handlers, each with its thread, and the descriptors whose messages have not come yet.
#[derive(Debug, Default)]
pub(crate) struct Gifts {
    handlers: Mutex<BTreeMap<String, SyncSender<Given>>>,
    /// `None`: one that did not arrive, for want of a free number.
    unclaimed: Mutex<VecDeque<Option<OwnedFd>>>,
}

impl Worker {
    /// Gives a copy of a descriptor to one slot's worker, beside data on a topic. Returns when it
    /// is on its way there; an error says why it is not. At most once, like everything on the bus.
    pub fn give<T: Serialize + ?Sized>(
        &self,
        slot: u16,
        topic: &str,
        data: &T,
        fd: impl AsFd,
    ) -> Result<(), CallError> {
        let Some(outbox) = self.inner.outbox.as_ref().filter(|_| !self.is_alone()) else {
            return Err(CallError::Alone);
        };
        let data = Json::of(data)?;
        let message = |id, data| FromWorker::Give { id, slot, topic: topic.to_owned(), data };
        fits(&message(0, data.clone()))?;
        let slot = Arc::new(Slot::default());
        let to = Arc::clone(&slot);
        let id = self.inner.calls.wait(Box::new(move |answer| to.put(answer)));
        let frame = self.inner.frame(&message(id, data));
        if let Err(error) = frame.and_then(|frame| outbox.push_with(&frame, fd.as_fd())) {
            self.forget(id);
            return Err(error.into());
        }
        match self.inner.await_answer(&slot, Instant::now() + PATIENCE) {
            Some(answer) => read(answer),
            None => {
                self.forget(id);
                Err(CallError::TimedOut("the supervisor did not answer".to_owned()))
            }
        }
    }

    /// Runs the handler, in a thread of its own, for each descriptor that is given to this worker
    /// on the topic. Those for which there is no handler, or which wait too long for it, are
    /// closed.
    pub fn on_given<R: Outcome>(
        &self,
        topic: &str,
        handler: impl Fn(Given) -> R + Send + 'static,
    ) -> io::Result<()> {
        fits(&FromWorker::Unsubscribe { topic: topic.to_owned() })?;
        let (sender, receiver) = sync_channel::<Given>(WAITING);
        thread::Builder::new().name("bus-given".to_owned()).spawn(move || {
            while let Ok(given) = receiver.recv() {
                let topic = given.topic.clone();
                if let Some(why) = contained(|| handler(given).failure()) {
                    eprintln!(
                        "supervisor: the handler of what is given on {topic:?} failed: {why}"
                    );
                }
            }
        })?;
        let mut handlers = locked(&self.inner.gifts.handlers);
        handlers.insert(topic.to_owned(), sender);
        Ok(())
    }
}

impl Gifts {
    /// Descriptors came; their messages come no earlier.
    pub(crate) fn keep(&self, fds: Vec<Option<OwnedFd>>) {
        if fds.is_empty() {
            return;
        }
        locked(&self.unclaimed).extend(fds);
    }

    /// A message came to which one belongs.
    pub(crate) fn take(&self, topic: String, data: Json, from: Peer) {
        let fd = locked(&self.unclaimed).pop_front();
        let Some(fd) = fd.flatten() else {
            return eprintln!("supervisor: the descriptor of a message on {topic:?} did not come");
        };
        let handlers = locked(&self.handlers);
        let Some(handler) = handlers.get(&topic) else { return };
        if handler.try_send(Given { topic, from, fd, data }).is_err() {
            eprintln!("supervisor: {WAITING} descriptors wait for their handler: one was closed");
        }
    }
}

/// Reads once: how many bytes, and the descriptors that came with them.
pub(crate) fn receive(
    stream: &UnixStream,
    bytes: &mut [u8],
    flags: RecvFlags,
) -> io::Result<(usize, Vec<Option<OwnedFd>>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(bytes)];
    let message = recvmsg(stream, &mut buffers, &mut control, flags | RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received.map(Some));
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        // Its message must not get the descriptor of the next.
        fds.push(None);
    }
    Ok((message.bytes, fds))
}

/// Writes once, the descriptor with the first byte. How many bytes.
pub(crate) fn send(stream: &UnixStream, bytes: &[u8], fd: BorrowedFd<'_>) -> io::Result<usize> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("the descriptor does not fit its message"));
    }
    loop {
        match sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Err(ErrorKind::TimedOut.into()),
            sent => return Ok(sent?),
        }
    }
}
