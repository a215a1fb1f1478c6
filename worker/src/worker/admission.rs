//! The limits of `[shared.limits]`, for the program.

use std::time::Instant;

use super::handle::Worker;
use crate::state::limits::Limited;

impl Worker {
    /// Whether one more request is within the rate of `[shared.limits]`. Without a limit it always
    /// is. Ask once for each request, and refuse the request if it is not; in HTTP with status 429
    /// and `Retry-After`:
    ///
    /// ```
    /// # let worker = worker::Worker::join().unwrap();
    /// let answer = match worker.admit() {
    ///     Ok(()) => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
    ///     Err(limited) => format!(
    ///         "HTTP/1.1 429 Too Many Requests\r\nRetry-After: {}\r\n\r\n",
    ///         limited.retry_after()
    ///     ),
    /// };
    /// # assert!(answer.contains("200"));
    /// ```
    pub fn admit(&self) -> Result<(), Limited> {
        let (answer, refused) = self.client.state.limits.admit(Instant::now());
        if refused > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a count above 2^53 may be off by one")]
            let more = refused as f64;
            // The reading thread notices the end of the channel.
            let _ = self.counter("requests_limited", more, &[]);
        }
        answer
    }

    /// How many connections are open, of those that this worker's listeners accepted.
    pub fn connections(&self) -> u64 {
        self.client.state.limits.open()
    }
}
