//! What this worker has said that lasts: said again when another primary goes on, which may not
//! have heard the last of it. And what becomes of calls that were under way: they are lost.

use std::collections::BTreeMap;

use ipc::bus::{ErrorKind, FromWorker};

use crate::bus::{Inner, locked};
use crate::calls::Calls;

/// What became of a call when the primary died.
const LOST: &str = "the supervisor's primary died while the call was under way: whether it was \
     carried out is not known";

/// By kind and name. What ends it takes it out.
type Key = (u8, String);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Standing(BTreeMap<Key, FromWorker>);

/// Only of what lasts.
fn key(message: &FromWorker) -> Option<(Key, bool)> {
    let (kind, name, begins) = match message {
        FromWorker::Hello { .. } => (0, "", true),
        FromWorker::Subscribe { topic, .. } => (1, topic.as_str(), true),
        FromWorker::Unsubscribe { topic } => (1, topic.as_str(), false),
        FromWorker::Serve { topic, .. } => (2, topic.as_str(), true),
        FromWorker::Unserve { topic } => (2, topic.as_str(), false),
        FromWorker::Action { name } => (3, name.as_str(), true),
        FromWorker::Ready {} => (4, "", true),
        FromWorker::Draining {} => (5, "", true),
        FromWorker::Applied { .. } => (6, "", true),
        // Those that do not last.
        _ => return None,
    };
    Some(((kind, name.to_owned()), begins))
}

impl Standing {
    /// Remembers what lasts.
    pub(crate) fn keep(&mut self, message: &FromWorker) {
        match key(message) {
            Some((key, true)) => drop(self.0.insert(key, message.clone())),
            Some((key, false)) => drop(self.0.remove(&key)),
            None => {}
        }
    }

    /// All of it, in the order in which a worker says it. `joined`: without hello.
    pub(crate) fn all(&self, joined: bool) -> impl Iterator<Item = &FromWorker> {
        let is_hello = |message: &FromWorker| matches!(message, FromWorker::Hello { .. });
        self.0.values().filter(move |message| !joined || !is_hello(message))
    }
}

impl Inner {
    /// Another primary goes on: it has not heard the last of what lasts, and no calls.
    pub(crate) fn resume(&self) {
        self.calls.lose();
        let Some(outbox) = &self.outbox else { return };
        let joined = locked(&self.state).welcome.is_some();
        let standing = locked(&self.standing);
        for message in standing.all(joined) {
            let said = self.frame(message).and_then(|frame| outbox.push(&frame, true));
            if said.is_err() {
                // The channel's end is noticed elsewhere.
                return;
            }
        }
    }

    /// A topic has lost its last handler; unless it has got another meanwhile, from one that ran or
    /// from another thread.
    pub(crate) fn unsubscribe(&self, topic: &str) {
        let Some(outbox) = &self.outbox else { return };
        let message = FromWorker::Unsubscribe { topic: topic.to_owned() };
        let Ok(frame) = self.frame(&message) else { return };
        // Whoever subscribes holds this while it says so.
        let mut standing = locked(&self.standing);
        if self.handlers.count(topic) == 0 {
            standing.keep(&message);
            // The channel's end is noticed elsewhere.
            let _ = outbox.push(&frame, true);
        }
    }
}

impl Calls {
    /// The primary died: those that are under way get no answer.
    pub(crate) fn lose(&self) {
        let all = std::mem::take(&mut *locked(&self.waiting));
        for waiter in all.into_values() {
            waiter(Some(Err((ErrorKind::Lost, LOST.to_owned()))));
        }
    }
}

#[cfg(test)]
mod tests {
    use ipc::bus::WhenFull;

    use super::*;

    #[test]
    fn what_ended_is_not_said_again() {
        let topic = || "t".to_owned();
        let subscribe = |when_full| FromWorker::Subscribe { topic: topic(), when_full };
        let (serve, ready) =
            (FromWorker::Serve { topic: topic(), at_once: 2 }, FromWorker::Ready {});
        let client = String::new();
        let hello =
            FromWorker::Hello { oldest: 1, newest: 1, client: client.clone(), pool: client };
        let mut standing = Standing::default();
        for message in [
            &hello,
            &ready,
            &subscribe(WhenFull::DropOldest),
            &serve,
            &FromWorker::Unserve { topic: topic() },
            &FromWorker::Ping { id: 1 },
            &subscribe(WhenFull::Wait),
        ] {
            standing.keep(message);
        }
        let all: Vec<_> = standing.all(false).cloned().collect();
        assert_eq!(all, [hello, subscribe(WhenFull::Wait), ready]);
        assert_eq!(standing.all(true).count(), 2);
    }
}
