//! The house rules, checked by reading the sources, the documents and the manifests.
//!
//! - `sources`: finds and reads the files;
//! - `style`: rules for single files, such as their length and where `unsafe` may stand;
//! - `layers`: which room of the supervisor crate may use which, and circles of files in a room;
//! - `prose`: phrases that documents and comments must not contain;
//! - `dependencies`: licences, sources, duplicate versions and unused dependencies.

mod dependencies;
mod layers;
mod prose;
mod sources;
mod style;
