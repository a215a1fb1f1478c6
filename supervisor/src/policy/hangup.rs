//! What SIGHUP means: reload, as for other servers, or the end of the terminal that the app was
//! started on.

use std::time::Duration;

use crate::base::time::Time;

/// What the primary does about SIGHUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hangup {
    Reload,
    /// The user closed the terminal that shows the app.
    Stop,
    /// The user closed the terminal, and said before that the app is to survive that (nohup(1)).
    Ignore,
}

/// How long after SIGHUP the terminal may take to be gone. A shell or a terminal program sends the
/// signal before it closes the terminal.
const GRACE: Duration = Duration::from_millis(300);

/// The terminal of an app.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// The app was started on a terminal.
    had: bool,
    /// SIGHUP was ignored when the app was started.
    ignored: bool,
    /// SIGHUP came. At this time the terminal shows why.
    due: Option<Time>,
}

impl Terminal {
    /// The terminal on which an app was started, if it `had` one; `ignored`: SIGHUP was ignored
    /// then.
    pub(crate) fn new(had: bool, ignored: bool) -> Self {
        Self { had, ignored, due: None }
    }

    /// SIGHUP came. `None`: what it means is seen later, see [`Terminal::look`].
    pub(crate) fn heard(&mut self, now: Time) -> Option<Hangup> {
        if !self.had {
            return Some(Hangup::Reload);
        }
        self.due = self.due.or(Some(now + GRACE));
        None
    }

    /// When [`Terminal::look`] is due.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due
    }

    /// What the SIGHUP means that came a while ago; `lives` tells whether the terminal exists.
    ///
    /// A terminal ends once. So a later SIGHUP means a reload again.
    pub(crate) fn look(&mut self, now: Time, lives: impl FnOnce() -> bool) -> Option<Hangup> {
        self.due.take_if(|due| *due <= now)?;
        if lives() {
            return Some(Hangup::Reload);
        }
        self.had = false;
        Some(if self.ignored { Hangup::Ignore } else { Hangup::Stop })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What SIGHUP means if the terminal then lives, or does not.
    fn hangup(terminal: &mut Terminal, lives: bool) -> Option<Hangup> {
        let now = Time(0);
        terminal.heard(now).or_else(|| {
            assert_eq!(terminal.look(now, || lives), None, "not yet");
            assert_eq!(terminal.deadline(), Some(now + GRACE));
            terminal.look(now + GRACE, || lives)
        })
    }

    #[test]
    fn only_the_end_of_its_own_terminal_stops_an_app() {
        let mut daemon = Terminal::default();
        assert_eq!(hangup(&mut daemon, false), Some(Hangup::Reload));
        let mut shown = Terminal::new(true, false);
        assert_eq!(hangup(&mut shown, true), Some(Hangup::Reload));
        assert_eq!(hangup(&mut shown, false), Some(Hangup::Stop));
        let mut nohup = Terminal::new(true, true);
        assert_eq!(hangup(&mut nohup, true), Some(Hangup::Reload));
        assert_eq!(hangup(&mut nohup, false), Some(Hangup::Ignore));
        assert_eq!(hangup(&mut nohup, false), Some(Hangup::Reload));
    }

    #[test]
    fn several_signals_of_one_end_count_once() {
        let mut shown = Terminal::new(true, false);
        let later = Time(0) + GRACE / 2;
        assert_eq!((shown.heard(Time(0)), shown.heard(later)), (None, None));
        assert_eq!(shown.look(Time(0) + GRACE, || false), Some(Hangup::Stop));
        assert_eq!(shown.look(later + GRACE, || false), None);
    }
}
