//! What the dashboard knows, and how events change it. Pure: events carry the times, and effects
//! are carried out elsewhere.

mod action;
mod app;
mod columns;
mod event;
mod keys;
mod layout;
mod log;
mod mouse;
mod rollout;
mod series;
mod sort;
mod state;
mod text;
mod update;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub(crate) use crate::cli::output::tone::Tone;
pub(crate) use action::Action;
pub(crate) use app::{App, worker_tone};
pub(crate) use columns::{Column, Placed};
pub(crate) use event::{Effect, Event, Outcome};
pub(crate) use layout::{Pane, first_row};
pub(crate) use log::{Line, Origin, Streams};
pub(crate) use rollout::{Progress, SlotProgress};
pub(crate) use series::Series;
pub(crate) use sort::Key;
pub(crate) use state::{Mode, Model};
pub(crate) use text::{clean_bytes, count, plural, rate, uptime};
