//! The events of an app that its primaries kept on disk.

use std::fs::File;
use std::io::{self, Read};

use config::spec::log_files::rotated;
use ipc::control::{Notice, NoticeKind};

use super::segment;
use crate::home::Home;

/// Bytes of a file that are read; a primary writes no longer ones.
const LONGEST: u64 = 16 * 1024 * 1024;

/// The events of an app, the oldest first. Lines that make no sense, such as one that was torn by a
/// death, are passed over.
pub(crate) fn kept(home: &Home, app: &str) -> io::Result<Vec<Notice>> {
    let path = home.event_log(app);
    let mut events = Vec::new();
    for path in [rotated(&path, 1), path] {
        let Some(file) = segment::open(&path)? else { continue };
        let text = read(file)?;
        events.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
    }
    Ok(events)
}

/// Whether such an event says why an app is in its state. The steps of a reload do not.
pub(crate) fn matters(kind: NoticeKind) -> bool {
    match kind {
        NoticeKind::WorkerFailed
        | NoticeKind::SlotErrored
        | NoticeKind::BindRefused
        | NoticeKind::ReloadStarted
        | NoticeKind::ReloadPaused
        | NoticeKind::ReloadResumed
        | NoticeKind::ReloadDone
        | NoticeKind::ReloadRolledBack
        | NoticeKind::Scaled
        | NoticeKind::WorkerRecycled
        | NoticeKind::WorkerWithdrawn
        | NoticeKind::WorkerReturned
        | NoticeKind::ScheduleDue
        | NoticeKind::FilesChanged
        | NoticeKind::Upgraded
        | NoticeKind::AppStatus
        | NoticeKind::Warning => true,
        NoticeKind::WorkerStarted
        | NoticeKind::WorkerReady
        | NoticeKind::WorkerDraining
        | NoticeKind::WorkerStopping
        | NoticeKind::WorkerStopped
        | NoticeKind::ListenerOpened
        | NoticeKind::ListenerClosed
        | NoticeKind::SlotReplaced
        | NoticeKind::WorkerMessage => false,
    }
}

fn read(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
