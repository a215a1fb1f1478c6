//! How to ask: for how long, and who hears of what happens meanwhile.

use std::fmt;
use std::time::Duration;

use ipc::control::Notice;

/// How to ask. Without anything set there is no time limit but the primary's own, which limits each
/// request, and notices are passed over.
///
/// ```
/// use std::time::Duration;
/// use supervisor_client::Ask;
///
/// let mut seen = Vec::new();
/// let mut keep = |notice: &supervisor_client::Notice| seen.push(notice.event);
/// let ask = Ask::new().within(Duration::from_secs(120)).on_notice(&mut keep);
/// ```
#[derive(Default)]
pub struct Ask<'a> {
    pub(crate) limit: Option<Duration>,
    pub(crate) on_notice: Option<&'a mut dyn FnMut(&Notice)>,
}

impl<'a> Ask<'a> {
    /// Nothing is set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The final reply must come within this time. If it does not, the call fails with `timed-out`,
    /// and the request may still be carried out.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Calls this with each notice until the final reply. Notices of a kind that this build does
    /// not know are passed over.
    #[must_use]
    pub fn on_notice(self, on_notice: &'a mut dyn FnMut(&Notice)) -> Self {
        Self { on_notice: Some(on_notice), ..self }
    }
}

impl fmt::Debug for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("limit", &self.limit).finish_non_exhaustive()
    }
}
