//! What several rooms use and which itself uses none of them: ids, time, how a process ended, what
//! differs by generation, and metrics of the same series.

pub(crate) mod exit;
pub(crate) mod ids;
pub(crate) mod on_stop;
pub(crate) mod own_sockets;
pub(crate) mod per_generation;
pub(crate) mod probe_kind;
pub(crate) mod series;
pub(crate) mod stream;
pub(crate) mod time;
