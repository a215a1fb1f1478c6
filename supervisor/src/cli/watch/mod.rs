//! What `monit` and `dash` share: the threads that ask primaries, read logs and run commands, what
//! they report, and what is known of an app.

mod action;
mod app;
pub(crate) mod commands;
pub(crate) mod feeds;
mod line;
pub(crate) mod logs;
mod report;
mod rollout;
mod series;
mod text;

pub(crate) use action::{Action, Kind};
pub(crate) use app::{App, worker_tone};
pub(crate) use line::{Line, Origin};
pub(crate) use report::{Ended, Outcome, Report, is_bad};
pub(crate) use rollout::{Progress, SlotProgress};
pub(crate) use series::Series;
pub(crate) use text::{clean, count, plural, rate, uptime};
