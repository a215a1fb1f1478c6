//! What the keeper of one build passes to the keeper of the next build, in the same process: the
//! arguments of the exec. They are an interface between builds: a later build may add some, but may
//! not change one.

use std::ffi::OsString;
use std::os::fd::RawFd;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HandoverArgs {
    /// The descriptors of the snapshot.
    pub(crate) memory: [RawFd; 3],
    /// The limit of open files for workers, if it differs from our own.
    pub(crate) nofile: Option<u64>,
    /// The same for the value of oom_score_adj.
    pub(crate) oom: Option<i32>,
    /// The descriptor of the previous build's program, in case this build cannot go on.
    pub(crate) previous: Option<RawFd>,
    /// The newer build could not go on, and the previous one is back.
    pub(crate) fell_back: bool,
}

impl HandoverArgs {
    pub(super) fn arguments(&self, app: &str) -> Vec<OsString> {
        let memory = self.memory.map(|number| number.to_string()).join(",");
        let mut all = vec!["primary".to_owned(), app.to_owned(), format!("--memory={memory}")];
        all.extend(self.nofile.map(|soft| format!("--nofile={soft}")));
        all.extend(self.oom.map(|before| format!("--oom={before}")));
        all.extend(self.previous.map(|number| format!("--previous={number}")));
        all.extend(self.fell_back.then(|| "--fell-back".to_owned()));
        all.into_iter().map(OsString::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_build_parses_the_arguments() {
        let (nofile, oom, previous) = (Some(1024), Some(-3), Some(9));
        let handover = HandoverArgs { memory: [7, 8, 12], nofile, oom, previous, fell_back: true };
        let said = "primary web --memory=7,8,12 --nofile=1024 --oom=-3 --previous=9 --fell-back";
        let said: Vec<OsString> = said.split(' ').map(OsString::from).collect();
        assert_eq!(handover.arguments("web"), said);
    }
}
