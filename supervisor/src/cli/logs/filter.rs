//! Which lines are shown.

use regex::bytes::Regex;

use super::line::{Form, Parts};

/// What a line must be like. The default lets every line pass.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// Written at this time or later, in milliseconds since 1970.
    pub(crate) since: Option<u64>,
    /// Written at this time or before.
    pub(crate) until: Option<u64>,
    /// What the worker wrote must match.
    pub(crate) grep: Option<Regex>,
    /// Written by the worker of this slot.
    pub(crate) slot: Option<u16>,
}

impl Filter {
    /// Whether lines pass only at certain times.
    pub(crate) fn is_by_time(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// Whether a line passes, whenever it was written.
    pub(crate) fn takes(&self, line: &[u8], form: Form) -> bool {
        if self.slot.is_none() && self.grep.is_none() {
            return true;
        }
        let parts = Parts::of(line, form);
        self.slot.is_none_or(|slot| parts.slot == Some(slot))
            && self.grep.as_ref().is_none_or(|grep| grep.is_match(parts.text))
    }

    /// Whether a line passes that was written at this time. One of an unknown time passes only if
    /// the time does not matter.
    pub(crate) fn takes_time(&self, time: Option<u64>) -> bool {
        let Some(time) = time else { return !self.is_by_time() };
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes() {
        let filter = Filter { slot: Some(1), grep: Regex::new("^err").ok(), ..Filter::default() };
        let takes = |filter: &Filter, line| filter.takes(line, Form::Prefixed);
        assert!(takes(&filter, b"1 | error"));
        assert!(!takes(&filter, b"0 | error") && !takes(&filter, b"1 | no error"));
        assert!(takes(&Filter::default(), b"") && Filter::default().takes_time(None));
        let filter = Filter { since: Some(5), until: Some(7), ..Filter::default() };
        let passed: Vec<u64> = (0..10).filter(|time| filter.takes_time(Some(*time))).collect();
        assert_eq!(passed, [5, 6, 7]);
        assert!(!filter.takes_time(None));
    }
}
