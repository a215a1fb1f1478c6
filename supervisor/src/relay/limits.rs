//! The bounds of the relay. One worker can make it hold [`PER_WORKER`] bytes and a few names. All
//! workers together can make it hold [`CALL_BYTES`] on top of that.

use std::time::Duration;

/// Bytes of events that wait for one worker.
pub(crate) const QUEUE_BYTES: usize = 8 << 20;
/// Events that wait for one worker.
pub(crate) const QUEUE_FRAMES: usize = 16 * 1024;
/// Bytes of calls and answers that wait for one worker.
pub(crate) const OWN_BYTES: usize = 4 << 20;
/// The most bytes of calls, answers, errors and the like: the relay cuts off a worker with more.
pub(crate) const OWN_MOST: usize = 6 << 20;
/// Bytes that one write takes out of the queues, plus at most one frame.
pub(crate) const FLIGHT_BYTES: usize = 256 * 1024;
/// Frames that one write takes out of the queues (IOV_MAX is 1024).
pub(crate) const FLIGHT_FRAMES: usize = 512;
/// The most bytes of frames that can wait for one worker.
#[cfg(test)]
pub(crate) const PER_WORKER: usize =
    QUEUE_BYTES + OWN_MOST + FLIGHT_BYTES + 2 * ipc::bus::MAX_FRAME;

/// Topics that one worker subscribes to.
pub(crate) const SUBSCRIPTIONS: usize = 10_000;
/// Topics that one worker serves.
pub(crate) const SERVED: usize = 256;
/// Actions that one worker registers.
pub(crate) const ACTIONS: usize = 64;
/// Calls of one topic that one worker works on.
pub(crate) const AT_ONCE: u16 = 64;
/// Calls of one worker that have no answer yet.
pub(crate) const CALLS_PER_WORKER: usize = 1024;
/// Calls of all workers that have no answer yet.
pub(crate) const CALLS: usize = 16 * 1024;
/// Bytes of all calls that wait for a worker or may be tried again.
pub(crate) const CALL_BYTES: usize = 32 << 20;
/// How often a call is given to a worker, if the caller allows retries.
pub(crate) const TRIES: u8 = 3;
/// Descriptors that wait for one worker.
pub(crate) const GIFTS: usize = 16;
/// Pools that the relay remembers although they have no worker.
pub(crate) const POOLS: usize = 64;
/// The timeout of a call that names none.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest timeout of a call.
pub(crate) const CALL_LONGEST: Duration = Duration::from_secs(3600);
/// A worker that makes others wait, and reads nothing for this long, makes them wait no more.
pub(crate) const STALL: Duration = Duration::from_secs(5);

/// The relay does not read a worker whose messages are dropped for this long after each [`WASTE`]
/// bytes of them.
pub(crate) const REST: Duration = Duration::from_millis(10);
/// See [`REST`]. Each message counts as 64 bytes more than it has.
pub(crate) const WASTE: usize = 64 * 1024;

/// Metrics of one slot. Each combination of labels counts as one.
pub(crate) const SERIES: usize = 512;
/// Series of all slots that a snapshot may contain; with more, it contains none.
pub(crate) const SERIES_KEPT: usize = 1024;
/// The upper bounds of a histogram's buckets.
pub(crate) const BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

const _: () = assert!(OWN_BYTES > 2 * ipc::bus::MAX_FRAME && OWN_MOST > OWN_BYTES);
const _: () = assert!(QUEUE_BYTES >= 4 * ipc::bus::MAX_FRAME && FLIGHT_FRAMES <= 1024);
