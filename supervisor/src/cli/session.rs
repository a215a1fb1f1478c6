//! What every verb that works with apps gets: the folders of the apps, and stdout.

use super::output::Stdout;
use crate::home::Home;

/// The context of one command.
#[derive(Debug)]
pub(crate) struct Session {
    /// Where sockets, locks, records and logs of the apps are.
    pub(crate) home: Home,
    /// Where results go.
    pub(crate) out: Stdout,
}
