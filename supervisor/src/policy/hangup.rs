//! What SIGHUP means: reload, as for other servers, or the end of the terminal that the app was
//! started on.

/// What the primary does about SIGHUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hangup {
    Reload,
    /// The user closed the terminal that shows the app.
    Stop,
    /// The user closed the terminal, and said before that the app is to survive that (nohup(1)).
    Ignore,
}

/// The terminal of an app.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// The app was started on a terminal.
    pub(crate) had: bool,
    /// SIGHUP was ignored when the app was started.
    pub(crate) hangup_ignored: bool,
}

impl Terminal {
    /// What SIGHUP means if the terminal still exists (`lives`), or does not.
    ///
    /// A terminal ends once. So a later SIGHUP means a reload again.
    pub(crate) fn hangup(&mut self, lives: bool) -> Hangup {
        if !self.had || lives {
            return Hangup::Reload;
        }
        self.had = false;
        if self.hangup_ignored { Hangup::Ignore } else { Hangup::Stop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_its_own_terminal_stops_an_app() {
        let mut daemon = Terminal::default();
        assert_eq!(daemon.hangup(false), Hangup::Reload);
        let mut shown = Terminal { had: true, hangup_ignored: false };
        assert_eq!(shown.hangup(true), Hangup::Reload);
        assert_eq!(shown.hangup(false), Hangup::Stop);
        let mut nohup = Terminal { had: true, hangup_ignored: true };
        assert_eq!(nohup.hangup(true), Hangup::Reload);
        assert_eq!([nohup.hangup(false), nohup.hangup(false)], [Hangup::Ignore, Hangup::Reload]);
    }
}
