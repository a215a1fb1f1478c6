//! Decides. Events in, actions out; no clock, no fd, no file, no log call inside.

pub(crate) mod action;
pub(crate) mod event;
pub(crate) mod ids;
pub(crate) mod time;
