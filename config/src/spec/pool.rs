//! Groups of workers: how many, and the pools beside an app's own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::life::ReadyRule;

/// How many workers a person asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum Instances {
    /// Exactly this many; at least 1.
    Count(u16),
    /// One per CPU that this process may really use.
    Max,
    /// This many fewer than `Max`, but at least 1.
    MaxMinus(u16),
    /// This share of `Max` in percent, rounded to the nearest, but at least 1.
    Percent(u16),
    /// As many as the load asks for, between these two.
    Between { min: u16, max: u16 },
}

/// A group of workers besides the app's own, with a program of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct PoolSpec {
    /// Its name on the bus; like an app's, and not `default`.
    pub name: String,
    /// The program and its arguments. Never empty.
    pub command: Vec<String>,
    /// The folder its workers start in. Default: the app's.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// Added to the app's environment; goes before it.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// How many workers, as asked for.
    pub instances: Instances,
    /// How many workers, as resolved on this machine. At least 1.
    pub wanted: u16,
    /// Which limit decided `wanted`, for people.
    pub wanted_because: String,
    /// Run its workers as this user. Default: the app's user and group.
    #[serde(default)]
    pub user: Option<String>,
    /// Run its workers with this group. Default: the user's own, if there is a `user` here.
    #[serde(default)]
    pub group: Option<String>,
    /// When one of its workers counts as ready.
    pub ready: ReadyRule,
}
