//! A file or a command line becomes an [`spec::AppSpec`], or a list of everything wrong with it.
//!
//! Small words are read by [`name`], [`instances`], [`address`], [`units`], [`signal`],
//! [`environment`], [`privileges`] and [`command`], the same for a file and for arguments. [`check`]
//! reads a file with them and cites what it refuses by line and column ([`cite`]). [`sense`] refuses what is
//! well written but cannot work, wherever it came from.

pub mod address;
pub mod check;
pub mod cite;
pub mod command;
mod cpus;
pub mod environment;
pub mod instances;
pub mod name;
pub mod pool;
pub mod privileges;
mod raw;
pub mod said;
pub mod sense;
pub mod signal;
pub mod spec;
pub mod units;

pub use check::{load, load_for_others, parse};
pub use cite::Report;
