//! Which rotated log files of an app are removed, and which one is compressed next.

/// A rotated file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RotatedFile {
    /// Which log it is of.
    pub(crate) log: usize,
    /// How many rotations ago it was written.
    pub(crate) number: u32,
    /// Bytes that it takes.
    pub(crate) size: u64,
    /// When its last line was written, in nanoseconds since 1970.
    pub(crate) modified: i64,
    pub(crate) is_compressed: bool,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Rotated files of each log.
    pub(crate) keep: u32,
    /// Bytes of all files; 0: no limit.
    pub(crate) total_max: u64,
    pub(crate) compress: bool,
}

/// What is to be done with rotated files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// These are removed.
    pub(crate) remove: Vec<RotatedFile>,
    /// This one is compressed: the newest, because it is kept for the longest time.
    pub(crate) compress: Option<RotatedFile>,
    /// After that one there is another to compress.
    pub(crate) more: bool,
}

/// Decides. `written`: bytes of the files that are being written, which are never removed.
pub(crate) fn plan(mut files: Vec<RotatedFile>, written: u64, limits: Limits) -> Plan {
    // The oldest first. Of one log, the order of the numbers is right even if a clock was not.
    files.sort_by_key(|file| (file.modified, std::cmp::Reverse(file.number)));
    let mut left = written + files.iter().map(|file| file.size).sum::<u64>();
    let mut plan = Plan::default();
    let mut kept = Vec::new();
    for file in files {
        let is_too_much = limits.total_max > 0 && left > limits.total_max;
        if file.number > limits.keep || is_too_much {
            left -= file.size;
            plan.remove.push(file);
        } else {
            kept.push(file);
        }
    }
    let mut to_compress =
        kept.into_iter().rev().filter(|file| limits.compress && !file.is_compressed);
    plan.compress = to_compress.next();
    plan.more = to_compress.next().is_some();
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { keep: 3, total_max: 100, compress: true };

    fn file(log: usize, number: u32, size: u64, modified: i64) -> RotatedFile {
        RotatedFile { log, number, size, modified, is_compressed: false }
    }

    #[test]
    fn the_oldest_beyond_the_total_go() {
        let files = vec![file(0, 1, 30, 40), file(0, 2, 30, 20), file(1, 1, 30, 30)];
        let plan = plan(files.clone(), 20, LIMITS);
        assert_eq!(plan, Plan { remove: vec![files[1]], compress: Some(files[0]), more: true });
        let none = Plan { remove: vec![], compress: Some(files[0]), more: true };
        assert_eq!(super::plan(files.clone(), 10, LIMITS), none);
        let unlimited = Limits { total_max: 0, compress: false, ..LIMITS };
        assert_eq!(super::plan(files.clone(), 1 << 40, unlimited), Plan::default());
        // The files that are being written may be too much alone: nothing else is kept then.
        assert_eq!(super::plan(files, 500, LIMITS).remove.len(), 3);
    }

    #[test]
    fn a_log_keeps_a_number_of_files() {
        let files: Vec<_> =
            (1..=5).map(|number| file(0, number, 1, 100 - i64::from(number))).collect();
        let plan = plan(files, 0, LIMITS);
        assert_eq!(plan.remove.iter().map(|file| file.number).collect::<Vec<_>>(), [5, 4]);
    }

    #[test]
    fn compressed_files_are_not_compressed_again() {
        let whole = RotatedFile { is_compressed: true, ..file(0, 1, 1, 9) };
        let plan = plan(vec![whole, file(0, 2, 1, 8)], 0, LIMITS);
        assert_eq!((plan.compress, plan.more), (Some(file(0, 2, 1, 8)), false));
    }

    proptest! {
        #[test]
        fn what_is_kept_fits(
            sizes in prop::collection::vec((0usize..3, 1u32..6, 0u64..60, 0i64..9), 0..12),
            written in 0u64..80,
        ) {
            let files: Vec<_> =
                sizes.into_iter().map(|(log, number, size, at)| file(log, number, size, at)).collect();
            let plan = plan(files.clone(), written, LIMITS);
            let kept: Vec<_> = files.iter().filter(|file| !plan.remove.contains(file)).collect();
            let total = written + kept.iter().map(|file| file.size).sum::<u64>();
            prop_assert!(kept.is_empty() || total <= LIMITS.total_max);
            prop_assert!(kept.iter().all(|file| file.number <= LIMITS.keep));
            let newest = plan.remove.iter().filter(|file| file.number <= LIMITS.keep)
                .map(|file| file.modified).max();
            prop_assert!(kept.iter().all(|file| newest.is_none_or(|at| at <= file.modified)));
        }
    }
}
