//! The newest of something that never ends, numbered, so that each reader can go on where it was.

use std::collections::VecDeque;

/// The newest items. Each has a number; the first of all has 1.
#[derive(Debug, Clone)]
pub(in crate::cli::dash) struct Tail<T> {
    items: VecDeque<T>,
    /// The number of the newest item.
    newest: u64,
    most: usize,
}

impl<T> Tail<T> {
    /// Keeps at most `most` items.
    pub(in crate::cli::dash) fn new(most: usize) -> Self {
        Self { items: VecDeque::new(), newest: 0, most }
    }

    /// Adds an item; the oldest goes when there are too many.
    pub(in crate::cli::dash) fn push(&mut self, item: T) {
        if self.items.len() == self.most {
            self.items.pop_front();
        }
        self.items.push_back(item);
        self.newest += 1;
    }

    /// Where a reader is that has read everything.
    pub(in crate::cli::dash) fn end(&self) -> u64 {
        self.newest
    }

    /// What a reader that has read up to `at` has not read: how many of it are gone, and the rest.
    pub(in crate::cli::dash) fn since(&self, at: u64) -> (u64, impl Iterator<Item = &T>) {
        let first = self.newest - self.items.len() as u64;
        let skip = usize::try_from(at.saturating_sub(first)).unwrap_or(usize::MAX);
        // A reader that begins has missed nothing.
        let gone = if at == 0 { 0 } else { first.saturating_sub(at) };
        (gone, self.items.iter().skip(skip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tail: &Tail<u32>, at: u64) -> (u64, Vec<u32>) {
        let (gone, items) = tail.since(at);
        (gone, items.copied().collect())
    }

    #[test]
    fn a_reader_gets_what_it_has_not_read() {
        let mut tail = Tail::new(3);
        assert_eq!(read(&tail, 0), (0, vec![]));
        (1..=2).for_each(|item| tail.push(item));
        assert_eq!(read(&tail, 0), (0, vec![1, 2]));
        let at = tail.end();
        assert_eq!(read(&tail, at), (0, vec![]));
        (3..=4).for_each(|item| tail.push(item));
        assert_eq!(read(&tail, at), (0, vec![3, 4]));
        (5..=9).for_each(|item| tail.push(item));
        assert_eq!(read(&tail, at), (4, vec![7, 8, 9]), "3 to 6 are gone");
        assert_eq!(read(&tail, 0), (0, vec![7, 8, 9]), "it begins with what there is");
    }
}
