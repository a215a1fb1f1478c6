//! What a look at the clock means for a schedule.
//!
//! Times are readings of the wall clock, which may jump and stand still while the machine sleeps.
//! However many times were missed meanwhile, the schedule is due once.

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) is_due: bool,
    /// When it is due next; milliseconds since 1970. `None`: never again.
    pub(crate) next: Option<u64>,
}

/// A look at the clock. `planned`: when it is due by the last look. `after`: the first time after
/// `now` by the calendar.
pub(crate) fn look(planned: Option<u64>, now: u64, after: Option<u64>) -> Verdict {
    match planned {
        Some(at) if at <= now => Verdict { is_due: true, next: after },
        // The clock was set back: a time that is due before the planned one comes first.
        Some(at) => Verdict { is_due: false, next: Some(after.map_or(at, |after| after.min(at))) },
        None => Verdict { is_due: false, next: after },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Due at each multiple of 100.
    fn at(planned: Option<u64>, now: u64) -> Verdict {
        look(planned, now, Some(now / 100 * 100 + 100))
    }

    #[test]
    fn it_is_due_once_however_many_times_were_missed() {
        let first = at(None, 250);
        assert_eq!(first, Verdict { is_due: false, next: Some(300) });
        assert_eq!(at(first.next, 299), Verdict { is_due: false, next: Some(300) });
        assert_eq!(at(first.next, 300), Verdict { is_due: true, next: Some(400) });
        assert_eq!(at(first.next, 5_050), Verdict { is_due: true, next: Some(5_100) });
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_it() {
        assert_eq!(at(Some(5_100), 250), Verdict { is_due: false, next: Some(300) });
    }
}
