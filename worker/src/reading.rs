//! The threads that read the channel: those that wait for something, and the background thread.
//! `channel::reading_role` says whose turn it is.

use std::sync::Arc;
use std::time::Instant;

use crate::answer_slot::AnswerSlot;
use crate::channel::inbox::Block;
use crate::client::Client;
use crate::dispatch::{Claim, Progress, read_once};
use crate::registry::{Request, RequestQueue};
use crate::state::pending_calls::Answer;

/// The background thread: reads what comes while no other thread reads. It runs nothing of the
/// program.
pub(crate) fn read_in_background(client: &Arc<Client>) {
    let Some(channel) = &client.channel else { return };
    loop {
        if channel.inbox.wait().is_err() {
            return client.end();
        }
        let Some(mut turn) = channel.inbox.take_turn(true) else { continue };
        let mut progress = Progress::More;
        while progress == Progress::More {
            progress = read_once(client, &mut turn, Block::Never, &mut Claim::default());
        }
        if progress == Progress::Over {
            return;
        }
    }
}

/// Waits for the answer, and reads the channel meanwhile if no other thread does. `None`: the
/// answer did not come in time.
pub(crate) fn await_answer(
    client: &Arc<Client>,
    slot: &AnswerSlot,
    deadline: Instant,
) -> Option<Option<Answer>> {
    let turn = client.channel.as_ref().and_then(|channel| channel.inbox.take_turn(false));
    if let Some(mut turn) = turn {
        let mut progress = Progress::Some;
        while !slot.is_filled() && progress != Progress::Over && Instant::now() < deadline {
            let block = Block::Until(deadline);
            progress = read_once(client, &mut turn, block, &mut Claim::default());
        }
    }
    slot.wait(deadline)
}

/// Reads the channel, if no other thread does, until a request of this topic comes, or a message
/// for another thread, which can then read by itself, or nothing for a while.
pub(crate) fn await_request(
    client: &Arc<Client>,
    queue: &RequestQueue,
    topic: &str,
) -> Option<Request> {
    let mut turn = client.channel.as_ref()?.inbox.take_turn(false)?;
    let mut claim = Claim { serves: Some((topic, queue)), ..Claim::default() };
    let mut progress = Progress::Some;
    // No other thread fills the queue now: the turn is here.
    while matches!(progress, Progress::Some | Progress::More)
        && claim.request.is_none()
        && !claim.for_others
        && !queue.is_busy()
    {
        progress = read_once(client, &mut turn, Block::Briefly, &mut claim);
    }
    claim.request
}
