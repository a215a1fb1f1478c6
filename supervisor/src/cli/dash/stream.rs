//! The stream of one page (server-sent events).
//!
//! The page gets one chunk at a time. While it reads that, changes pile up in the model, where a
//! newer state replaces an older one; the next chunk has what is new then. So what waits for a page
//! is bounded by the state itself, however slowly it reads.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::channel::Sender;
use hyper::body::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::gather::Gathered;
use super::log_followers::LogFollower;
use super::model::Heard;

/// The shortest time between two chunks.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long nothing may be sent. A chunk without content shows whether the page is still there.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a page may take to read a chunk. After that it must connect again, as browsers do.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a stream lasts. After that the page connects again.
const LONGEST: Duration = Duration::from_secs(3600);
/// Milliseconds until a browser connects again.
const RETRY: &str = "retry: 2000\n\n";
/// A comment, which browsers ignore.
const EMPTY: &str = ":\n\n";

/// Sends until the page leaves, is too slow, or has been there for an hour. `hello`: its first
/// event.
pub(super) async fn stream(
    gathered: Arc<Gathered>,
    log: Option<Arc<LogFollower>>,
    hello: String,
    mut sender: Sender<Bytes>,
) {
    let (mut heard, mut read) = (Heard::default(), None);
    let mut changes = gathered.changes();
    let mut lines = log.as_ref().map(|log| log.changes());
    let began = Instant::now();
    let mut text = format!("{RETRY}{hello}");
    while began.elapsed() < LONGEST {
        text.push_str(&gathered.since(&mut heard));
        if let Some(log) = &log {
            text.push_str(&log.since(&mut read));
        }
        if text.is_empty() {
            text.push_str(EMPTY);
        }
        let chunk = Bytes::from(std::mem::take(&mut text));
        if !matches!(timeout(CHUNK_TIMEOUT, sender.send_data(chunk)).await, Ok(Ok(()))) {
            return;
        }
        sleep(INTERVAL).await;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = next(&mut lines) => {}
            () = sleep(SILENCE) => {}
        }
    }
}

/// Completes when there are new lines.
async fn next(lines: &mut Option<watch::Receiver<()>>) {
    if let Some(lines) = lines
        && lines.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use http_body_util::BodyExt;
    use http_body_util::channel::Channel;
    use ipc::control::Status;

    use super::*;
    use crate::cli::targets::fake_primary as fake;
    use crate::cli::watch::Report;

    fn restarted(gathered: &Gathered, restarts: u64) {
        let mut status = fake::status("web", Status::Ready);
        status.restarts = restarts;
        let found = Ok(Box::new(status));
        gathered.take(Report::Status { app: "web".into(), found, at_ms: restarts });
    }

    async fn chunk(body: &mut Channel<Bytes>) -> String {
        let frame = body.frame().await.expect("it goes on").expect("it does not fail");
        String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text")
    }

    /// A page that reads nothing holds two chunks, and the newest state follows them. Another page
    /// has each state at once.
    #[test]
    fn a_slow_page_skips_states_and_delays_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let session = fake::session(folder.path());
        let gathered = Arc::new(Gathered::new(&session.home));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime, async {
            let (sender, mut slow) = Channel::<Bytes>::new(1);
            let stalled = stream(Arc::clone(&gathered), None, String::new(), sender);
            tokio::task::spawn_local(stalled);
            let (sender, mut quick) = Channel::<Bytes>::new(1);
            let hello = "event: hello\ndata: {}\n\n".to_owned();
            tokio::task::spawn_local(stream(Arc::clone(&gathered), None, hello, sender));
            assert!(chunk(&mut quick).await.contains("event: hello"));
            for restarts in 1..=5 {
                restarted(&gathered, restarts);
                let wanted = format!("\"restarts\":{restarts},");
                let mut seen = pin!(async { while !chunk(&mut quick).await.contains(&wanted) {} });
                timeout(Duration::from_secs(20), &mut seen).await.expect("it comes");
            }
            let mut chunks = 0;
            while !chunk(&mut slow).await.contains("\"restarts\":5,") {
                chunks += 1;
                assert!(chunks < 4, "older states are left out");
            }
        });
    }
}
