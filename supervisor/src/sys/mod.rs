//! The kernel interface: one wrapper per facility. All functions are safe to call; unsafe code is
//! allowed only in this module.
//!
//! Arguments are owned descriptors and small types, results are `io::Result`. Every descriptor made
//! here is close-on-exec from the start. This module has no policy: it does not know what a worker
//! or a rollout is.

#![expect(unsafe_code, reason = "this is the room for it; each block argues its safety")]

pub(crate) mod accounts;
pub(crate) mod argv_environ;
pub(crate) mod bpf;
pub(crate) mod channel;
pub(crate) mod clock;
pub(crate) mod daemon;
pub(crate) mod diag;
pub(crate) mod ebpf;
mod ebpf_code;
pub(crate) mod exec;
pub(crate) mod file_id;
pub(crate) mod fork;
pub(crate) mod held;
pub(crate) mod holders;
pub(crate) mod inherited;
pub(crate) mod name_sources;
pub(crate) mod notify;
pub(crate) mod oom;
pub(crate) mod packets;
pub(crate) mod peer;
pub(crate) mod pidfd;
pub(crate) mod poll;
pub(crate) mod poller;
pub(crate) mod privileges;
pub(crate) mod probe_rules;
pub(crate) mod procfs;
pub(crate) mod random;
pub(crate) mod reuseport;
pub(crate) mod seccomp;
pub(crate) mod signals;
pub(crate) mod socket;
pub(crate) mod socket_options;
pub(crate) mod spawn;
pub(crate) mod steering_code;
pub(crate) mod strays;
pub(crate) mod target;
pub(crate) mod terminal;
pub(crate) mod trap;
pub(crate) mod unseen;
pub(crate) mod usage;
pub(crate) mod users;

#[cfg(test)]
pub(crate) mod tests;
