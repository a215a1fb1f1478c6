//! Whether a worker whose connections stay busy gets its stop signal before `drain_timeout`.
//!
//! A connection that its client keeps and never leaves quiet is busy at every look. A program
//! that stops gracefully ends such a connection after a response; every other program cuts it. So
//! the signal is sent early only where it is known to be handled, and the worker then has the rest
//! of `drain_timeout` to finish.

use std::time::Duration;

use config::spec::Graceful;
use serde::{Deserialize, Serialize};

use crate::base::exit::Exit;
use crate::base::on_stop::OnStop;

/// A program that needs longer than this for its end does something before it.
const AT_ONCE: Duration = Duration::from_millis(250);

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Early {
    /// It gets the signal now.
    Told(Reason),
    /// The primary waits for it to finish.
    Waits(Reason),
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Reason {
    Configured,
    /// As the last worker of its pool did that was told to stop while it was busy.
    Seen,
    Handler,
    NoHandler,
    Runtime,
    EndsKept,
}

impl Early {
    /// `seen`: whether the last worker of its pool that was told to stop while it was busy
    /// finished before it ended.
    pub(super) fn decide(graceful: Graceful, on_stop: OnStop, seen: Option<bool>) -> Self {
        match (graceful, on_stop, seen) {
            (Graceful::Always, _, _) => Self::Told(Reason::Configured),
            (Graceful::Never, _, _) => Self::Waits(Reason::Configured),
            (Graceful::Auto, OnStop::EndsKept, _) => Self::Waits(Reason::EndsKept),
            (Graceful::Auto, OnStop::Dies, _) => Self::Waits(Reason::NoHandler),
            (Graceful::Auto, OnStop::Handles | OnStop::RuntimeHandles, Some(false)) => {
                Self::Waits(Reason::Seen)
            }
            (Graceful::Auto, OnStop::Handles, _) => Self::Told(Reason::Handler),
            (Graceful::Auto, OnStop::RuntimeHandles, Some(true)) => Self::Told(Reason::Seen),
            (Graceful::Auto, OnStop::RuntimeHandles, None) => Self::Waits(Reason::Runtime),
        }
    }

    /// Why, for people. `signal`: the name of the stop signal.
    pub(in crate::primary) fn why(self, signal: &str) -> String {
        match self {
            Self::Told(Reason::Configured) => "\"graceful\" is true".to_owned(),
            Self::Waits(Reason::Configured) => "\"graceful\" is false".to_owned(),
            Self::Told(Reason::Seen) => {
                format!("it finished its requests after {signal} the last time")
            }
            Self::Waits(Reason::Seen) => {
                format!("it cut its requests after {signal} the last time")
            }
            Self::Told(_) => format!("it handles {signal}"),
            Self::Waits(Reason::Runtime) => format!(
                "its runtime handles {signal} in every program: set \"graceful\" to true if this \
                 program finishes its requests"
            ),
            Self::Waits(Reason::EndsKept) => {
                "it closes each connection with its next response".to_owned()
            }
            Self::Waits(_) => format!("it does not handle {signal}"),
        }
    }
}

/// How long the connections must stay busy before [`Early::decide`]. A program that is proven to
/// finish its requests loses nothing by a signal that comes sooner, and slots drain one after the
/// other, so each but the first waits for a quarter of the time only.
pub(super) fn patience(configured: Duration, proven: bool) -> Duration {
    if proven { configured / 4 } else { configured }
}

/// Whether a worker that [`finished`] cannot have cut a request. Exit code 0 alone is no proof: a
/// handler may end the program at once with it.
pub(super) fn proves(took: Duration, quiet: bool) -> bool {
    quiet || took >= AT_ONCE
}

/// Whether a worker that was told to stop while it was busy finished first. `took`: from the
/// signal to its end; `quiet`: no connection was busy any more. `None`: that cannot be told.
pub(super) fn finished(exit: Exit, took: Duration, quiet: bool) -> Option<bool> {
    match exit {
        Exit::Code(0) => Some(true),
        Exit::Code(_) | Exit::Signal(_) if quiet => Some(true),
        Exit::Code(_) | Exit::Signal(_) if took < AT_ONCE => Some(false),
        Exit::Code(_) | Exit::Signal(_) | Exit::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signal_comes_early_only_where_it_is_known_to_be_handled() {
        let auto = |on_stop, seen| Early::decide(Graceful::Auto, on_stop, seen);
        assert_eq!(auto(OnStop::Handles, None), Early::Told(Reason::Handler));
        assert_eq!(auto(OnStop::Handles, Some(false)), Early::Waits(Reason::Seen));
        assert_eq!(auto(OnStop::RuntimeHandles, None), Early::Waits(Reason::Runtime));
        assert_eq!(auto(OnStop::RuntimeHandles, Some(true)), Early::Told(Reason::Seen));
        for seen in [None, Some(true), Some(false)] {
            assert_eq!(auto(OnStop::Dies, seen), Early::Waits(Reason::NoHandler));
            assert_eq!(auto(OnStop::EndsKept, seen), Early::Waits(Reason::EndsKept));
        }
    }

    #[test]
    fn a_program_that_is_proven_to_finish_is_told_sooner() {
        let (two, ms) = (Duration::from_secs(2), Duration::from_millis);
        assert_eq!((patience(two, false), patience(two, true)), (two, ms(500)));
        assert!(proves(ms(1), true) && proves(ms(300), false));
        assert!(!proves(ms(1), false), "it may have ended at once");
    }

    #[test]
    fn the_configuration_has_the_last_word() {
        for on_stop in [OnStop::Dies, OnStop::Handles, OnStop::RuntimeHandles, OnStop::EndsKept] {
            for seen in [None, Some(true), Some(false)] {
                let decide = |graceful| Early::decide(graceful, on_stop, seen);
                assert_eq!(decide(Graceful::Always), Early::Told(Reason::Configured));
                assert_eq!(decide(Graceful::Never), Early::Waits(Reason::Configured));
            }
        }
    }

    #[test]
    fn how_an_end_shows_whether_it_finished() {
        let ms = Duration::from_millis;
        assert_eq!(finished(Exit::Code(0), ms(1), false), Some(true));
        assert_eq!(finished(Exit::Signal(15), ms(1), false), Some(false));
        assert_eq!(finished(Exit::Signal(15), ms(1), true), Some(true));
        assert_eq!(finished(Exit::Code(143), ms(1), false), Some(false));
        assert_eq!(finished(Exit::Signal(9), ms(9000), false), None);
        assert_eq!(finished(Exit::Unknown, ms(9000), true), None);
    }
}
