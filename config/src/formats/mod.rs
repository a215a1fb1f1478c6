//! A text in one of the formats becomes a tree.
//!
//! The ending of the path says which: `.yaml` and `.yml`; `.json`, `.jsonc` and `.json5`, which are
//! all read leniently; the names `Procfile` and `dump.pm2`; anything else is TOML.

mod json;
mod procfile;
mod toml;
mod yaml;

use std::ops::Range;
use std::path::Path;

pub(crate) use procfile::needs_shell;

use crate::tree::Written;

/// What is wrong with a text, and the bytes that it is about.
pub(crate) type Mistake = (Range<usize>, String);

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// TOML 1.
    Toml,
    /// YAML 1.2, its core schema.
    Yaml,
    /// JSON, with what JSON5 adds.
    Json,
    /// `NAME: COMMAND` lines. It can be read only.
    Procfile,
}

impl Format {
    /// The format of the file at `path`, if its ending is one of a configuration file.
    pub fn of(path: &Path) -> Option<Self> {
        if path.file_name()? == "Procfile" {
            return Some(Self::Procfile);
        }
        // The files that `pm2 save` writes.
        if ["dump.pm2", "dump.pm2.bak"].iter().any(|name| path.ends_with(name)) {
            return Some(Self::Json);
        }
        match path.extension()?.to_str()? {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" | "jsonc" | "json5" => Some(Self::Json),
            _ => None,
        }
    }
}

/// The tree of a text.
///
/// # Errors
///
/// What is wrong with its syntax.
pub(crate) fn parse(text: &str, format: Format) -> Result<Written, Vec<Mistake>> {
    match format {
        Format::Toml => toml::parse(text),
        Format::Yaml => yaml::parse(text).map_err(|mistake| vec![mistake]),
        Format::Json => json::parse(text),
        Format::Procfile => procfile::parse(text),
    }
}

/// That a key is there twice.
fn twice(key: &str) -> String {
    format!("the key {key:?} is there twice: remove one of them")
}

#[cfg(test)]
mod tests;
