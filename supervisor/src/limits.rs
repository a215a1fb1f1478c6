//! Every bound of the primary, in one place. Everything that could grow has one.

/// Bytes read from one worker pipe in one turn; the rest waits for the next turn.
pub(crate) const PIPE_READ: usize = 64 * 1024;
/// The longest log line that is kept whole; a longer one is cut into pieces of this size.
pub(crate) const LOG_LINE: usize = 16 * 1024;
/// A log file that has grown past this is put aside as `.1`.
pub(crate) const LOG_FILE: u64 = 50 * 1024 * 1024;
/// Log files put aside: `.1` to `.3`.
pub(crate) const LOG_FILES_KEPT: u32 = 3;
/// The last lines of a worker's stderr that are kept for the reason of its death.
pub(crate) const TAIL_LINES: usize = 20;
/// Bytes kept of each of these lines.
pub(crate) const TAIL_LINE: usize = 500;
/// Control connections at a time; further ones wait in the socket's queue.
pub(crate) const CLIENTS: usize = 64;
/// Bytes waiting for one control client; one that reads more slowly is cut off.
pub(crate) const CLIENT_OUT: usize = 4 * 1024 * 1024;
/// Bytes read from one control client in one turn.
pub(crate) const CLIENT_READ: usize = 64 * 1024;
/// Notifications (`bind`, `listen`, NOTIFY_SOCKET) taken from one worker in one turn.
pub(crate) const CALLS_PER_TURN: usize = 16;
/// Bytes read from one worker's channel at a time.
pub(crate) const CHANNEL_READ: usize = 64 * 1024;
/// Reads of a channel whose worker has ended: what it said last is in there.
pub(crate) const LAST_READS: usize = 32;
/// Connections accepted from one listener in one turn.
pub(crate) const ACCEPTS_PER_TURN: usize = 64;
/// Connections on their way to one worker, which it has not taken yet.
pub(crate) const HAND_OFFS_PER_WORKER: usize = 64;
/// Connections that wait for their PROXY header.
pub(crate) const HEADERS_AWAITED: usize = 256;
/// Bytes of a connection that are looked at for it. Those of version 1 are at most 107; what
/// proxies add to version 2 fits easily.
pub(crate) const HEADER_BYTES: usize = 2048;
/// Clients of a slot that takes nothing now, who wait in the primary while others are served
/// (`balance = sticky`, primary engine). With more of them it stops accepting.
pub(crate) const WAITING_FOR_THEIR_SLOT: usize = 64;
/// Notes that are kept: things said once and shown in the status.
pub(crate) const NOTES: usize = 64;
/// Connections of a draining worker that are remembered between two looks.
pub(crate) const WATCHED_CONNECTIONS: usize = 65_536;
/// The least accept queue a listening socket gets, whatever the program asked for: while a worker
/// is replaced, connections wait there.
pub(crate) const LEAST_BACKLOG: i32 = 511;
/// The accept queue of a configured listener.
pub(crate) const BACKLOG: i32 = 1024;

const _: () = assert!(TAIL_LINE < LOG_LINE && LOG_LINE < PIPE_READ);
const _: () = assert!(CLIENT_OUT > ipc::lines::MAX_LINE);
