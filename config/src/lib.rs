//! A file or a command line becomes an [`spec::AppSpec`], or a list of everything wrong with it.

pub mod signal;
pub mod spec;
