//! A file or a command line becomes an [`spec::AppSpec`], or a list of everything wrong with it.
//!
//! [`keys`] has one row for each key of a configuration; a file, the flags, the documentation and
//! the JSON Schema are read from it. The values of keys are read by [`name`], [`instances`],
//! [`address`], [`units`], [`schedule`], [`signal`], [`environment`], [`privileges`], [`words`] and
//! [`command`], the same for a file and for arguments. [`file`] reads a file with them and shows
//! what it refuses by line and column ([`diagnostic`]). [`validate`] refuses what is well written
//! but cannot work, wherever it came from. [`change`] merges a change with the spec of a running
//! app, and [`difference`] says key by key in what two specs differ; [`export`] writes the file of
//! a spec, and [`settings`] has what holds for it, key by key.

pub mod address;
pub mod change;
pub mod command;
pub mod cpus;
pub mod diagnostic;
pub mod difference;
mod env_file;
pub mod environment;
pub mod export;
pub mod file;
mod formats;
pub mod instances;
pub mod keys;
pub mod name;
pub mod overrides;
mod pm2;
pub mod pool;
pub mod privileges;
mod probe;
mod raw;
pub mod schedule;
pub mod settings;
pub mod signal;
pub mod spec;
mod tree;
pub mod units;
pub mod validate;
mod variables;
pub mod words;

pub use diagnostic::{Problem, Report};
pub use file::{Definition, Loaded, Reader, parse};
pub use formats::Format;
