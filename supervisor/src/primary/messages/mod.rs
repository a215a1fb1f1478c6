//! The sentences that people read: notices and reasons, in lower case.

use std::collections::BTreeSet;
use std::time::Duration;

use config::difference::KeyChange;
use config::keys::Change;
use config::spec::AppSpec;
use ipc::control::{FailureKind, Notice, NoticeKind, Reply, Status};

use super::slots::pools::Pools;
use super::slots::role::Role;
use super::sockets::Sockets;
use super::worker::Worker;
use super::worker::drain::Drain;
use super::worker::early::Early;
use super::worker::state::{LAST, State};
use crate::base::exit::Exit;
use crate::base::ids::{ListenerId, Slot, WorkerId};
use crate::base::time::Time;
use crate::primary::plan::Plan;
use crate::primary::text::{count, span};
use crate::primary::worker::end::{Cause, End, EndKind};

pub(super) mod pools;
pub(super) mod probes;
pub(super) mod recycle;
pub(super) mod rollout;

use pools::{name, of_pool};
pub(super) use pools::{
    no_room_for_pool, no_such_pool, pool_is_gone, rolled_back, scale_too_far, turning_back,
    why_so_many, worker_replaced, worker_replacement_started,
};

pub(super) use probes::{returned, withdrawn};
pub(super) use recycle::{budget_spent, is_recycled, recycle_failed, recycling_does_not_help};

pub(super) const STOPPED: &str = "stopped by request";

// Shared parts.

fn signal_name(signal: i32) -> String {
    config::signal::name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

fn addresses(listeners: impl Iterator<Item = ListenerId>, sockets: &Sockets) -> Option<String> {
    let names: Vec<&str> = listeners.map(|listener| sockets.address(listener)).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Where it listens with sockets that the supervisor did not lend.
fn own_addresses(worker: &Worker) -> Option<String> {
    let own: Vec<&str> = worker.own.all().collect();
    (!own.is_empty()).then(|| format!("{} with a socket of its own", own.join(", ")))
}

fn workers(number: u16) -> String {
    count(u32::from(number), "worker")
}

// Notices.

/// A notice about one worker.
pub(super) fn about(worker: &Worker, event: NoticeKind, message: String) -> Notice {
    Notice {
        slot: Some(worker.slot.0),
        worker: Some(worker.id.0),
        generation: Some(worker.plan.generation.0),
        ..Notice::of_app(event, message)
    }
}

pub(super) fn gone(worker: &Worker, end: &End) -> Notice {
    let event = match end.kind {
        EndKind::Told => NoticeKind::WorkerStopped,
        EndKind::Died | EndKind::Failed(_) | EndKind::NotStarted { .. } => NoticeKind::WorkerFailed,
    };
    let last_lines = match end.kind {
        EndKind::Told => Vec::new(),
        EndKind::Died | EndKind::Failed(_) | EndKind::NotStarted { .. } => end.last_lines.clone(),
    };
    let exit_code = match (&end.kind, end.exit) {
        (EndKind::Died, Some(Exit::Code(code))) => Some(code),
        _ => None,
    };
    Notice { last_lines, exit_code, ..about(worker, event, why(worker, end)) }
}

/// Addresses on which the successor of a worker need not listen.
pub(super) fn excused(
    worker: &Worker,
    excused: &BTreeSet<ListenerId>,
    sockets: &Sockets,
) -> Option<Notice> {
    let addresses = addresses(excused.iter().copied(), sockets)?;
    let message = format!(
        "its successor need not listen on {addresses}: this worker alone does, and only since long \
         after its start (\"serve\" says what must be served)"
    );
    Some(about(worker, NoticeKind::Warning, message))
}

pub(super) fn slot_errored(worker: &Worker, reason: &str, last_lines: &[String]) -> Notice {
    let last_lines = last_lines.to_vec();
    Notice { last_lines, ..about(worker, NoticeKind::SlotErrored, reason.to_owned()) }
}

/// `from`: the worker that it replaces, if that is of the same generation.
pub(super) fn slot_replaced(worker: &Worker, from: Option<WorkerId>) -> Notice {
    let message = match from {
        Some(old) => format!("takes over from worker {old}"),
        None => format!("generation {} takes over", worker.plan.generation),
    };
    about(worker, NoticeKind::SlotReplaced, message)
}

pub(super) fn listener_opened(address: &str) -> Notice {
    Notice::of_app(NoticeKind::ListenerOpened, format!("listens on {address}"))
}

pub(super) fn listener_closed(address: &str) -> String {
    format!("no longer listens on {address}")
}

/// A rollback could not bring the old generation back.
pub(super) fn unrestored(worker: &Worker, end: &End) -> Notice {
    let message = format!(
        "generation {} does not come back ({}); the worker of the failed generation serves on",
        worker.plan.generation,
        why(worker, end)
    );
    about(worker, NoticeKind::Warning, message)
}

pub(super) fn files_changed(named: &[String], more: u32) -> String {
    let names = named.join(", ");
    let has = if named.len() == 1 && more == 0 { "has" } else { "have" };
    let and_more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{names}{and_more} {has} changed: every worker is replaced")
}

pub(super) fn schedule_is_due(cron: &str, replaces: bool) -> String {
    let what = match replaces {
        false => "every worker is replaced",
        true => "nothing is done, because all workers are being replaced already",
    };
    format!("cron_restart {cron:?} is due: {what}")
}

pub(super) fn reload_started(serving: &Plan, to: &Plan) -> Notice {
    let message = format!(
        "{}: {}generation {} replaces generation {}",
        name(serving),
        of_pool(to),
        to.generation,
        serving.generation
    );
    Notice::of_app(NoticeKind::ReloadStarted, message)
}

// Reasons for the state of a worker.

fn exit_of(worker: &Worker, exit: Exit) -> String {
    match worker.out_of_memory {
        true => format!("{exit}: the kernel killed it because memory ran out (OOM)"),
        false => exit.to_string(),
    }
}

/// How the last worker of a slot ended.
pub(super) fn last_exit(worker: &Worker, kind: &EndKind, exit: Exit) -> String {
    let recycled = worker.recycled.as_ref().filter(|_| matches!(kind, EndKind::Told));
    match recycled {
        Some(excess) => format!("recycled ({exit}): {}", recycle::excess(excess)),
        None => exit_of(worker, exit),
    }
}

/// Why a worker has ended.
pub(super) fn why(worker: &Worker, end: &End) -> String {
    if end.lives_on {
        let killed = format!("it was killed and has not ended {} later", span(LAST));
        return match &end.kind {
            EndKind::Failed(reason) => format!("{reason}; {killed}"),
            EndKind::Told | EndKind::Died | EndKind::NotStarted { .. } => killed,
        };
    }
    let exit = end.exit.map(|exit| exit_of(worker, exit));
    match (&end.kind, exit) {
        (EndKind::Failed(reason) | EndKind::NotStarted { reason, .. }, _) => reason.clone(),
        (EndKind::Died | EndKind::Told, None) => worker.unseen().to_owned(),
        (EndKind::Told, Some(exit)) => exit,
        (EndKind::Died, Some(exit)) => match &worker.refused {
            Some(refused) if worker.ready_since.is_none() => format!("{exit}; {refused}"),
            Some(_) | None if ends_for_a_sibling(worker, end) => format!("{exit}; {PID_FILE}"),
            Some(_) | None => exit,
        },
    }
}

/// In the reason of a worker that was killed and has not ended yet.
const KILLED: &str = "; killed by SIGKILL, and not ended yet";
/// What makes a server end cleanly at once, if it has siblings.
const PID_FILE: &str = "does it find the pid file of a sibling? With ${SUPERVISOR_SLOT} in an \
                        argument, each worker has a file of its own";

/// Whether a server ended before it was ready as one does that sees that it runs already.
fn ends_for_a_sibling(worker: &Worker, end: &End) -> bool {
    let spec = &worker.plan.spec;
    let tells_apart = spec.command.iter().any(|word| word.contains("${SUPERVISOR_SLOT}"));
    end.exit == Some(Exit::Code(0))
        && worker.ready_since.is_none()
        && !spec.restart.is_done(0)
        && spec.total() > 1
        && !tells_apart
}

/// Why a live worker was not ready in time.
pub(super) fn not_ready(worker: &Worker, sockets: &Sockets) -> String {
    let within = span(worker.plan.spec.times.ready_timeout);
    let missing = addresses(worker.missing(), sockets);
    let awaited_addresses: Vec<String> = worker.awaited.iter().map(ToString::to_string).collect();
    let bound = addresses(worker.bound.iter().copied(), sockets);
    let own = own_addresses(worker);
    let has = match bound.or(own) {
        Some(addresses) => format!("it listens on {addresses}"),
        None => "it listens on nothing".to_owned(),
    };
    if !awaited_addresses.is_empty() {
        let addresses = awaited_addresses.join(", ");
        return format!(
            "not ready within {within}: it does not listen on {addresses}, which \"serve\" names \
             ({has})"
        );
    }
    match missing {
        Some(missing) => format!(
            "not ready within {within}: it does not listen on {missing}, which the previous \
             generation serves ({has}{})",
            if worker.own.is_empty() { "" } else { "; does the program look for a free port?" }
        ),
        None => {
            let why = probes::held_back(worker).unwrap_or_else(|| awaited(worker, &has));
            format!("not ready within {within}: {why}")
        }
    }
}

/// Why the primary takes a ready worker for hung.
pub(super) fn hung(waiting: u32, stood: Duration) -> String {
    let waiting = count(waiting, "connection");
    format!("hung: it has taken no connection for {}; {waiting} in its queue", span(stood))
}

/// Why a live worker cannot take over its slot.
pub(super) fn refused_values(reason: &str) -> String {
    format!("it refused the shared values: {reason}")
}

/// The condition that the worker still has to meet.
fn awaited(worker: &Worker, has: &str) -> String {
    use config::spec::ReadyRule;
    match worker.plan.spec.ready {
        ReadyRule::Notify => format!("it did not send READY=1 ({has})"),
        ReadyRule::Auto | ReadyRule::Listen => has.to_owned(),
        ReadyRule::Uptime => "ready_timeout is shorter than min_uptime".to_owned(),
    }
}

pub(super) fn ready(worker: &Worker, sockets: &Sockets) -> String {
    let serves = worker.bound.union(&worker.lent).copied();
    match addresses(serves, sockets).or_else(|| own_addresses(worker)) {
        Some(addresses) => format!("ready, listens on {addresses}"),
        None => "ready, listens on nothing".to_owned(),
    }
}

/// `idle`: the idle connections that the worker closes when it stops.
pub(super) fn stopping(spec: &AppSpec, idle: u32) -> String {
    let told = format!("told to stop by {}", stop_word(spec));
    match idle {
        0 => told,
        1 => format!("{told}; 1 idle connection is closed"),
        _ => format!("{told}; {idle} idle connections are closed"),
    }
}

/// What tells a worker to stop.
fn stop_word(spec: &AppSpec) -> String {
    match &spec.stop_message {
        Some(message) => format!("the message {message:?}"),
        None => signal_name(spec.stop_signal),
    }
}

/// What the core decided when the connections of a draining worker stayed busy.
pub(super) fn stays_busy(early: Early, drain: &Drain, spec: &AppSpec, now: Time) -> String {
    let busy = count(drain.in_flight(), "connection");
    let stay = if drain.in_flight() == 1 { "stays" } else { "stay" };
    let name = stop_word(spec);
    let (why, left) = (early.why(&name), span(drain.until.since(now)));
    match early {
        Early::Told(_) => {
            format!("told to stop by {name} while {busy} {stay} busy, {left} to finish: {why}")
        }
        Early::Waits(_) => format!("{busy} {stay} busy, {left} to end by themselves: {why}"),
    }
}

/// Why a live worker is in its state, if there is more to say than the state.
pub(super) fn reason(worker: &Worker, sockets: &Sockets) -> Option<String> {
    match &worker.state {
        State::Spawning { .. } => worker.prepares.map(|_| "\"pre_start\" runs".to_owned()),
        State::Starting { .. } => addresses(worker.missing(), sockets)
            .map(|missing| format!("does not listen on {missing} yet"))
            .or_else(|| worker.refused.clone())
            .or_else(|| probes::held_back(worker)),
        State::Ready => {
            let stopping = worker.says_stopping.then(|| "announced that it is stopping".to_owned());
            stopping.or_else(|| probes::of_ready(worker))
        }
        State::Draining(drain) if drain.is_held() => Some("\"pre_stop\" runs".to_owned()),
        State::Draining(drain) => drain.seen.map(|look| {
            let signal = stop_word(&worker.plan.spec);
            let (queued, busy) = (count(look.queued, "connection"), look.busy);
            let decided = match drain.decided {
                None => String::new(),
                Some(early @ Early::Told(_)) => format!("; told to stop: {}", early.why(&signal)),
                Some(early @ Early::Waits(_)) => {
                    format!("; not told to stop yet: {}", early.why(&signal))
                }
            };
            format!("{queued} waiting, {busy} with a request in flight{decided}")
        }),
        State::Killing { cause, killed, .. } => match cause {
            Cause::Told if killed.is_some() => Some(format!("told to stop{KILLED}")),
            Cause::Told => Some("told to stop".to_owned()),
            Cause::Failed(reason) => Some(format!("{reason}{KILLED}")),
        },
    }
}

/// The role of a worker that does not hold its slot's seat.
pub(super) fn role(role: Role) -> Option<String> {
    match role {
        Role::Seated => None,
        Role::Successor => Some("will take over when ready".to_owned()),
        Role::Retiring => Some("was replaced".to_owned()),
        Role::Warm => Some("stays warm for a rollback".to_owned()),
        Role::Rescue => Some("serves the connections that its predecessor left waiting".to_owned()),
    }
}

pub(super) fn restarts_in(delay: Duration, reason: &str) -> String {
    format!("restarts in {}: {reason}", span(delay))
}

pub(super) fn rescue_failed(queued: u32, tries: u32, why: &str) -> String {
    format!(
        "{} that waited for a worker {} lost: {} to serve them failed; the last failure was: {why}",
        count(queued, "connection"),
        if queued == 1 { "is" } else { "are" },
        count(tries, "attempt"),
    )
}

// Answers, and reasons for the state of the app.

pub(super) fn failed(kind: FailureKind, reason: String, last_lines: &[String]) -> Reply {
    Reply::Failed { kind, reason, last_lines: last_lines.to_vec() }
}

pub(super) fn up(plan: &Pools, sockets: &Sockets) -> String {
    let all = sockets.iter().map(|listener| listener.opened.id);
    let ready = format!("{}: {} ready", name(plan), workers(plan.total()));
    match addresses(all, sockets) {
        Some(addresses) => format!("{ready} on {addresses}"),
        None => format!("{ready}, listening on nothing"),
    }
}

/// `done`: how many workers ended by themselves with code 0 or one of `stop_exit_codes`, and
/// served nothing.
pub(super) fn jobs_done(plan: &Pools, done: usize) -> String {
    let (name, total) = (name(plan), plan.total());
    let mut codes: BTreeSet<u8> = plan.spec.restart.stop_exit_codes.iter().collect();
    codes.insert(0);
    let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
    format!(
        "{name}: done: {done} of {} ended with exit code {}",
        workers(total),
        codes.join(" or ")
    )
}

pub(super) fn restarted(plan: &Pools) -> String {
    let workers = workers(plan.total());
    format!("{}: {workers} restarted as generation {}", name(plan), plan.generation)
}

pub(super) fn start_failed(plan: &Pools, ready: usize, slot: Slot, reason: &str) -> String {
    let (name, wanted, place) = (name(plan), plan.total(), plan.place(slot));
    format!("{name}: {ready} of {wanted} workers ready; {place}: {reason}")
}

pub(super) fn cannot_start(plan: &Plan, reason: &str) -> String {
    format!("{} cannot start: {reason}", name(plan))
}

pub(super) fn start_timed_out(plan: &Pools, ready: usize) -> String {
    format!(
        "{}: {ready} of {} workers ready after {}; it keeps trying",
        name(plan),
        plan.total(),
        span(plan.patience())
    )
}

pub(super) fn runs_already(plan: &Pools, ready: usize) -> String {
    let (name, wanted) = (name(plan), plan.total());
    format!("{name} is running already ({ready} of {wanted} workers ready); use reload or restart")
}

pub(super) fn is_stopped(plan: &Plan) -> String {
    format!("{0} is stopped; use start", name(plan))
}

pub(super) fn is_stopping(plan: &Plan) -> String {
    format!("{} is stopping; try again when it has stopped", name(plan))
}

pub(super) fn stopped_meanwhile(plan: &Plan) -> String {
    format!("{} was stopped before this could finish", name(plan))
}

pub(super) fn stopped_already(plan: &Plan) -> String {
    format!("{} is stopped already", name(plan))
}

pub(super) fn stopped(plan: &Plan, deleted: bool) -> String {
    format!("{} is {}", name(plan), if deleted { "stopped and deleted" } else { "stopped" })
}

pub(super) fn ends(plan: &Plan, code: u8) -> String {
    let name = name(plan);
    match code {
        0 => {
            format!("{name}: every worker ended by itself; the supervisor ends too")
        }
        _ => format!("{name}: the supervisor gave up every worker and ends with code {code}"),
    }
}

pub(super) fn scale_to_none(plan: &Plan) -> String {
    format!("{} needs at least 1 worker; use stop to stop all of them", name(plan))
}

pub(super) fn scaling(plan: &Plan, from: u16, wanted: u16) -> String {
    format!("{}{} wanted instead of {from}", of_pool(plan), workers(wanted))
}

pub(super) fn scaled(plan: &Plan) -> String {
    let count = workers(plan.spec.wanted);
    format!("{}: {}{count} now", name(plan), of_pool(plan))
}

/// An answer, and what is wrong all the same.
pub(super) fn with_notes(message: String, notes: &[String]) -> String {
    std::iter::once(message).chain(notes.iter().cloned()).collect::<Vec<_>>().join("; but ")
}

pub(super) fn scaled_already(plan: &Plan) -> String {
    format!("{}: {}{} already", name(plan), of_pool(plan), workers(plan.spec.wanted))
}

pub(super) fn scale_timed_out(plan: &Plan) -> String {
    let after = span(plan.patience());
    format!("{}: not all added workers are ready after {after}; it keeps trying", name(plan))
}

pub(super) fn queue_full(plan: &Plan, limit: usize) -> String {
    format!("{}: {limit} requests wait already; try again later", name(plan))
}

pub(super) fn no_values_without_a_file(plan: &Plan) -> String {
    format!(
        "{} came from no file, so it has no values to share: start it from a configuration file",
        name(plan)
    )
}

pub(super) fn more_has_changed(plan: &Plan, file: &str, keys: &[&str]) -> String {
    let (name, keys) = (name(plan), keys.join(", "));
    format!(
        "{name}: more than the shared values has changed in {file} ({keys}): use \"supervisor \
         reload {name}\""
    )
}

pub(super) fn needs_a_reload(plan: &Plan, changes: &[KeyChange]) -> String {
    let keys: Vec<&str> = changes
        .iter()
        .filter(|change| change.takes > Change::Scale)
        .map(|change| change.key.as_str())
        .collect();
    format!(
        "{}: cannot change {} while its workers run: use \"supervisor reload {}\"",
        name(plan),
        keys.join(", "),
        name(plan)
    )
}

pub(super) fn nothing_to_adopt(plan: &Plan) -> String {
    format!("{} came from no file, so there is nothing to take over", name(plan))
}

pub(super) fn adopted(plan: &Plan) -> String {
    format!("{}: no worker depends on what has changed", name(plan))
}

pub(super) fn no_such_signal(signal: i32) -> String {
    format!("{signal} is not a signal; use 1 to 64")
}

pub(super) fn no_such_slot(plan: &Pools, slot: u16) -> String {
    format!("{} has no slot {slot}; its slots are {}", name(plan), plan.ranges())
}

pub(super) fn signalled(plan: &Plan, signal: i32, sent: u32) -> Reply {
    let name = name(plan);
    if sent == 0 {
        let reason = format!("{name}: there is no worker to send {} to", signal_name(signal));
        return failed(FailureKind::Failed, reason, &[]);
    }
    let message = format!("{name}: {} sent to {}", signal_name(signal), count(sent, "worker"));
    Reply::done(message)
}

pub(super) fn reload_refused(serving: &Plan, reason: &str) -> String {
    let (name, generation, pool) = (name(serving), serving.generation, of_pool(serving));
    format!("{name}: {pool}nothing changed, generation {generation} serves: {reason}")
}

pub(super) fn reload_done(serving: &Plan, replaced: u32, cut: u32, took: &str) -> String {
    let (name, generation) = (name(serving), serving.generation);
    let (replaced, pool) = (count(replaced, "worker"), of_pool(serving));
    let done =
        format!("{name}: {pool}generation {generation} serves; {replaced} replaced in {took}");
    match cut {
        0 => done,
        _ => format!("{done}; {} cut by the drain timeout", count(cut, "connection")),
    }
}

pub(super) fn standing(plan: &Plan, status: Status, reason: Option<&str>) -> String {
    let word = status.word();
    match reason {
        Some(reason) => format!("{} is {word}: {reason}", name(plan)),
        None => format!("{} is {word}", name(plan)),
    }
}
