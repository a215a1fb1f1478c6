//! The bounds of the loop. Everything that could grow has one.

/// Bytes that the loop reads from one worker pipe in one turn; the rest waits for the next turn.
pub(crate) const PIPE_READ: usize = 64 * 1024;
/// The last lines of a worker's stderr that stay with the reason of its death.
pub(crate) const TAIL_LINES: usize = 20;
/// Bytes of each of these lines that are kept.
pub(crate) const TAIL_LINE: usize = 500;
/// Control connections of root and the app's own user at one time, and as many of all others.
pub(crate) const CLIENTS: usize = 64;
/// Control connections of one user who is neither.
pub(crate) const CLIENTS_PER_USER: usize = 16;
/// Bytes that may wait for one control client; a slower client is disconnected.
pub(crate) const CLIENT_OUT: usize = 4 * 1024 * 1024;
/// Bytes that the loop reads from one control client in one turn. Most requests are short, and the
/// allocator keeps the pages of a buffer.
pub(crate) const CLIENT_READ: usize = 8 * 1024;
/// Notifications (`bind`, `listen`, NOTIFY_SOCKET) that the loop takes from one worker in one turn.
pub(crate) const CALLS_PER_TURN: usize = 16;
/// Bytes that one read of a worker's channel takes.
pub(crate) const CHANNEL_READ: usize = 64 * 1024;
/// The most reads of a channel whose worker has ended, for the worker's last messages.
pub(crate) const LAST_READS: usize = 32;
/// Connections that the loop accepts from one listener in one turn.
pub(crate) const ACCEPTS_PER_TURN: usize = 64;
/// Connections handed over to one worker that it has not taken yet.
pub(crate) const HAND_OFFS_PER_WORKER: usize = 64;
/// Connections that wait for their PROXY header.
pub(crate) const HEADERS_AWAITED: usize = 256;
/// Bytes of a connection that may be read for the PROXY header. Version 1 needs at most 107; what
/// proxies add to version 2 fits easily.
pub(crate) const HEADER_BYTES: usize = 2048;
/// Clients of a slot that takes no connections now, which wait in the primary while it serves
/// others (`balance = sticky`, primary engine). Beyond this number the primary stops accepting.
pub(crate) const WAITING_FOR_THEIR_SLOT: usize = 64;
/// The most notes: facts that the primary reports once and shows in the status.
pub(crate) const NOTES: usize = 64;
/// Listeners of an app, where the limit of open files allows so many.
pub(crate) const LISTENERS: usize = 512;
/// The open files of the primary are enough for this many for each listener.
pub(crate) const DESCRIPTORS_PER_LISTENER: usize = 16;
/// Connections of a draining worker that the primary remembers between two looks.
pub(crate) const WATCHED_CONNECTIONS: usize = 65_536;
/// The shortest accept queue of a listening socket, whatever the program asks for: while the
/// primary replaces a worker, connections wait there.
pub(crate) const LEAST_BACKLOG: i32 = 511;
/// The accept queue of a configured listener.
pub(crate) const BACKLOG: i32 = 1024;

const _: () = assert!(CLIENT_OUT > ipc::lines::MAX_LINE);
