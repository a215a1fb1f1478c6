//! The readers of each topic. One worker may read ten thousand topics with long names. So each name
//! is kept once; nearly always one or a few workers read it.

use std::collections::HashMap;
use std::sync::Arc;

use ipc::bus::WhenFull;

use crate::base::ids::WorkerId;

/// The readers of one topic, in order.
#[derive(Debug, Default)]
pub(super) struct Readers(Vec<(WorkerId, WhenFull)>);

impl Readers {
    pub(super) fn all(&self) -> &[(WorkerId, WhenFull)] {
        &self.0
    }
}

/// Adds a reader, or changes what it wants. Returns the name of the topic that is kept here.
pub(super) fn add(
    topics: &mut HashMap<Arc<str>, Readers>,
    topic: &str,
    worker: WorkerId,
    when_full: WhenFull,
) -> Arc<str> {
    let entry = topics.entry(Arc::from(topic));
    let name = Arc::clone(entry.key());
    let Readers(readers) = entry.or_default();
    match readers.binary_search_by_key(&worker, |(reader, _)| *reader) {
        Ok(at) => readers[at].1 = when_full,
        Err(at) => {
            readers.reserve_exact(1);
            readers.insert(at, (worker, when_full));
        }
    }
    name
}

/// Removes a reader, and the topic together with its last reader.
pub(super) fn remove(topics: &mut HashMap<Arc<str>, Readers>, topic: &str, worker: WorkerId) {
    let Some(Readers(readers)) = topics.get_mut(topic) else { return };
    readers.retain(|(reader, _)| *reader != worker);
    if readers.is_empty() {
        topics.remove(topic);
    }
}
