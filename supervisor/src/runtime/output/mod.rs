//! What workers and the primary write: log files, and the console in the foreground.

pub(crate) mod console;
mod event_log;
pub(crate) mod housekeeping;
mod journal;
pub(crate) mod json_line;
pub(crate) mod line_parts;
mod log_file;
pub(crate) mod logs;

use self::logs::Logs;
use super::context::Context;
use crate::base::ids::WorkerId;
use crate::base::stream::Stream;
use crate::base::time::Time;
use crate::limits::LAST_READS;

/// Reads what one of a worker's pipes holds.
pub(super) fn read(at: &mut Context<'_>, logs: &mut Logs, worker: WorkerId, stream: Stream) {
    let Some(child) = at.children.get_mut(&worker) else { return };
    match child.read_output(stream) {
        Some(lines) => {
            logs.write(stream, child.slot.0, &lines);
            logs.awaits_end(child.unended_due());
        }
        None => finish(at, logs, worker, stream),
    }
}

/// Writes the beginnings of lines whose end does not come: a question, a progress, what a program
/// said before it hung.
pub(super) fn write_unended(at: &mut Context<'_>, logs: &mut Logs, now: Time) {
    if !logs.take_unended_due(now) {
        return;
    }
    let waiting: Vec<WorkerId> =
        at.children.values().filter(|child| child.unended_due().is_some()).map(|c| c.id).collect();
    for worker in waiting {
        let Some(child) = at.children.get_mut(&worker) else { continue };
        for (stream, lines) in child.take_unended(now) {
            logs.write(stream, child.slot.0, &lines);
        }
        logs.awaits_end(child.unended_due());
    }
}

/// Reads what is left in one of its pipes when the worker has ended, and closes it.
pub(super) fn read_rest(at: &mut Context<'_>, logs: &mut Logs, worker: WorkerId, stream: Stream) {
    for _ in 0..LAST_READS {
        let Some(child) = at.children.get_mut(&worker) else { return };
        match child.read_output(stream) {
            Some(lines) if lines.is_empty() => break,
            Some(lines) => logs.write(stream, child.slot.0, &lines),
            None => break,
        }
    }
    finish(at, logs, worker, stream);
}

fn finish(at: &mut Context<'_>, logs: &mut Logs, worker: WorkerId, stream: Stream) {
    *at.stale = true;
    let Some(child) = at.children.get_mut(&worker) else { return };
    let pipe = match stream {
        Stream::Out => child.out.as_ref(),
        Stream::Err => child.err.as_ref(),
    };
    if let Some(pipe) = pipe {
        at.poller.remove(pipe.fd());
    }
    let lines = child.finish_output(stream);
    logs.write(stream, child.slot.0, &lines);
}
