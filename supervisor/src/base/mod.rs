//! What several rooms use and which itself uses none of them: ids, time, how a process ended, and
//! what differs by generation.

pub(crate) mod exit;
pub(crate) mod ids;
pub(crate) mod on_stop;
pub(crate) mod own_sockets;
pub(crate) mod per_generation;
pub(crate) mod probe_kind;
pub(crate) mod stream;
pub(crate) mod time;
