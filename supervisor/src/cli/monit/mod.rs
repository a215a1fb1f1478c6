//! The dashboard of `monit`: what it knows and does, what it draws, and what joins both to the
//! terminal and the primaries.
//!
//! - `model` is pure: `update(event)` changes the model and returns effects. It reads no clock and
//!   owns no descriptor; events carry the times.
//! - `view` draws a model into a buffer. It changes nothing.
//! - `shell` has the terminal and the threads. It turns what happens into events, carries out the
//!   effects and draws.

mod model;
mod shell;
mod view;

pub(crate) use shell::run;
