//! Which warnings are written when the same one comes again and again, as it does when somebody
//! wants to fill the disk with them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::time::Time;

/// Warnings of one shape that are written in one [`SPAN`]; one more follows with their number.
const BURST: u64 = 10;
/// The time that is counted over.
const SPAN: Duration = Duration::from_secs(60);
/// Shapes that are told apart; all others are one.
const SHAPES: usize = 256;

/// The warnings of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Repetition {
    shapes: BTreeMap<String, Count>,
}

#[derive(Debug)]
struct Count {
    since: Time,
    came: u64,
}

impl Repetition {
    /// The message as it is written now; `None`: it came too often. A message that is written after
    /// others were not says how many those are.
    pub(crate) fn hear(&mut self, now: Time, message: String) -> Option<String> {
        // Two messages that differ only in their numbers have the same shape.
        let mut shape: String = message.chars().filter(|c| !c.is_ascii_digit()).collect();
        if self.shapes.len() >= SHAPES && !self.shapes.contains_key(&shape) {
            self.shapes.retain(|_, count| now.since(count.since) < SPAN);
            if self.shapes.len() >= SHAPES {
                shape = String::new();
            }
        }
        let count = self.shapes.entry(shape).or_insert(Count { since: now, came: 0 });
        let is_over = now.since(count.since) >= SPAN;
        let left_out = count.came.saturating_sub(BURST);
        if is_over {
            *count = Count { since: now, came: 0 };
        }
        count.came += 1;
        match (is_over, left_out) {
            (true, 1..) => Some(format!("{message} ({left_out} more like it were not written)")),
            _ => (count.came <= BURST).then_some(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Time {
        Time(0) + Duration::from_secs(second)
    }

    #[test]
    fn a_flood_is_a_few_lines_and_their_number() {
        let mut heard = Repetition::default();
        let written = |heard: &mut Repetition, second| {
            let all = (0..1000).filter_map(|n| heard.hear(at(second), format!("user {n} sent")));
            all.collect::<Vec<_>>()
        };
        let first = written(&mut heard, 0);
        assert_eq!((first.len(), first[0].as_str()), (10, "user 0 sent"));
        assert!(written(&mut heard, 59).is_empty());
        let next = written(&mut heard, 60);
        assert_eq!(next[0], "user 0 sent (1990 more like it were not written)");
        assert_eq!(next.len(), 10);
    }

    #[test]
    fn other_messages_are_not_held_back() {
        let mut heard = Repetition::default();
        (0..1000).for_each(|_| drop(heard.hear(at(0), "a".to_owned())));
        assert_eq!(heard.hear(at(0), "b".to_owned()).as_deref(), Some("b"));
        assert_eq!(heard.hear(at(200), "b".to_owned()).as_deref(), Some("b"));
    }

    #[test]
    fn ever_new_shapes_are_bounded() {
        let mut heard = Repetition::default();
        let shape = |n: u32| char::from_u32(0x4e00 + n).map(String::from).unwrap_or_default();
        let written = (0..2000).filter(|n| heard.hear(at(0), shape(*n)).is_some()).count();
        assert!(written <= SHAPES + 10, "{written}");
        assert!(heard.shapes.len() <= SHAPES + 1);
        assert_eq!(heard.hear(at(60), shape(1999)), Some(shape(1999)));
    }
}
