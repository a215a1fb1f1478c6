//! What the dashboard knows, and how events change it. Pure: events carry the times, and effects
//! are carried out elsewhere.

mod columns;
mod event;
mod keys;
mod layout;
mod log;
mod mouse;
mod sort;
mod state;
mod update;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub(crate) use crate::cli::output::tone::Tone;
pub(crate) use columns::{Column, Placed};
pub(crate) use event::{Effect, Event};
pub(crate) use layout::{Pane, first_row};
pub(crate) use log::Streams;
pub(crate) use sort::Key;
pub(crate) use state::{Mode, Model};
