//! The kernel's errors in sentences.

use std::io;

/// An error in the kernel's words, as part of a sentence: without the capital and without Rust's
/// `(os error 98)`.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut characters = text.chars();
    let first = characters.next();
    first.map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}
