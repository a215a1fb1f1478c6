//! The registrations of this worker: the messages that hold from then on, such as
//! subscriptions. The client repeats them to a new primary, which may not know the last ones.

use std::collections::BTreeMap;

use ipc::bus::FromWorker;

/// The kind and the name of a registration. The message that ends one has the same key.
type Key = (u8, String);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Registrations(BTreeMap<Key, FromWorker>);

/// The key, and whether the message begins the registration. `None`: the message is none.
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
        // All others hold for the moment only.
        _ => return None,
    };
    Some(((kind, name.to_owned()), begins))
}

impl Registrations {
    /// Adds the registration of this message, or removes the one that it ends.
    pub(crate) fn record(&mut self, message: &FromWorker) {
        match key(message) {
            Some((key, true)) => drop(self.0.insert(key, message.clone())),
            Some((key, false)) => drop(self.0.remove(&key)),
            None => {}
        }
    }

    /// All registrations, in the order in which a worker makes them. `joined`: without the hello.
    pub(crate) fn all(&self, joined: bool) -> impl Iterator<Item = &FromWorker> {
        let is_hello = |message: &FromWorker| matches!(message, FromWorker::Hello { .. });
        self.0.values().filter(move |message| !joined || !is_hello(message))
    }
}

#[cfg(test)]
mod tests {
    use ipc::bus::WhenFull;

    use super::*;

    #[test]
    fn a_registration_that_ended_is_not_repeated() {
        let topic = || "t".to_owned();
        let subscribe = |when_full| FromWorker::Subscribe { topic: topic(), when_full };
        let (serve, ready) =
            (FromWorker::Serve { topic: topic(), at_once: 2 }, FromWorker::Ready {});
        let client = String::new();
        let hello =
            FromWorker::Hello { oldest: 1, newest: 1, client: client.clone(), pool: client };
        let mut registrations = Registrations::default();
        for message in [
            &hello,
            &ready,
            &subscribe(WhenFull::DropOldest),
            &serve,
            &FromWorker::Unserve { topic: topic() },
            &FromWorker::Ping { id: 1 },
            &subscribe(WhenFull::Wait),
        ] {
            registrations.record(message);
        }
        let all: Vec<_> = registrations.all(false).cloned().collect();
        assert_eq!(all, [hello, subscribe(WhenFull::Wait), ready]);
        assert_eq!(registrations.all(true).count(), 2);
    }
}
