//! A `Spawn` becomes a process: its environment, its inherited sockets, its pipes.
//!
//! Nothing of the primary's own goes into the environment: NOTIFY_SOCKET, LISTEN_* and the
//! supervisor's own variables are removed before the worker's are set (DESIGN, "Env for workers").

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use config::spec::AppSpec;
use ipc::control::Contract;

use crate::base::ids::{Generation, ListenerId, Slot, SocketId, WorkerId};
use crate::limits::BACKLOG;
use crate::runtime::bus::BusChannel;
use crate::runtime::listeners::Listeners;
use crate::runtime::node::channel::NodeChannel;
use crate::runtime::node::{is_node_program, preload};
use crate::runtime::output::logs::Tail;
use crate::runtime::probe::hang::Progress;
use crate::runtime::workers::{Child, Pipe};
use crate::sys::notify::NotifySocket;
use crate::sys::privileges::Privileges;
use crate::sys::spawn::{Launch, Stage, spawn};
use crate::sys::strays::{APP_VARIABLE, WORKER_VARIABLE};
use crate::sys::{socket, users};

/// What `Action::Spawn` says.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) worker: WorkerId,
    pub(crate) slot: Slot,
    pub(crate) generation: Generation,
    pub(crate) spec: Arc<AppSpec>,
    pub(crate) workers: u16,
    pub(crate) lend: Vec<(ListenerId, SocketId)>,
}

/// Why there is no process.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    /// Trying again cannot help.
    pub(crate) permanent: bool,
}

/// What a start that failed between fork and exec says.
pub(crate) fn explain(spec: &AppSpec, stage: Stage, error: &io::Error) -> String {
    let command = spec.command.first().map_or("", String::as_str);
    let error = plain(error);
    match stage {
        Stage::Command => format!(
            "cannot run {command:?}: no such command (it was looked for in PATH and in {})",
            spec.cwd.display()
        ),
        Stage::Interpreter => format!(
            "cannot run {command:?}: the interpreter that its first line names, or its loader, is missing"
        ),
        Stage::Exec => format!("cannot run {command:?}: {error}"),
        Stage::WorkingFolder => {
            format!("cannot start in the folder {}: {error}", spec.cwd.display())
        }
        Stage::User => {
            let user = spec.user.as_deref().unwrap_or_default();
            format!("cannot become user {user}: {error}")
        }
        Stage::Resources => {
            let limits = &spec.privileges.limits;
            let limits: Vec<_> = limits.iter().map(|(name, at)| format!("{name} = {at}")).collect();
            format!("{stage} ({}): {error}", limits.join(", "))
        }
        Stage::OomScore | Stage::Nice | Stage::Groups | Stage::NoNewPrivileges => {
            format!("{stage}: {error}")
        }
        Stage::Group | Stage::Files | Stage::Limits => {
            format!("cannot start a worker: {stage}: {error}")
        }
    }
}

/// Whether trying again is useless: what a person wrote is wrong. (Else the machine is short of
/// something.)
pub(crate) fn is_permanent(stage: Stage) -> bool {
    match stage {
        Stage::OomScore | Stage::Nice | Stage::Resources | Stage::Groups => true,
        Stage::NoNewPrivileges => true,
        Stage::User | Stage::WorkingFolder | Stage::Command | Stage::Interpreter | Stage::Exec => {
            true
        }
        Stage::Group | Stage::Files | Stage::Limits => false,
    }
}

/// An error in the kernel's words, as part of a sentence: without the capital and without Rust's
/// `(os error 98)`.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut characters = text.chars();
    let first = characters.next();
    first.map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}

/// The first inherited descriptor (sd_listen_fds(3), SD_LISTEN_FDS_START).
const FIRST_FD: i32 = 3;

/// Variables that describe the primary and must not describe its workers, beside what a service
/// manager says to it.
const NOT_INHERITED: [&str; 11] = [
    APP_VARIABLE,
    WORKER_VARIABLE,
    "SUPERVISOR_POOL",
    "SUPERVISOR_SLOT",
    "SUPERVISOR_WORKERS",
    "SUPERVISOR_GENERATION",
    "SUPERVISOR_CHANNEL_FD",
    "NODE_APP_INSTANCE",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
];

/// Starts one worker.
///
/// `sibling`: as a child of the keeper, not of ours.
pub(crate) fn launch(
    order: Order,
    listeners: &mut Listeners,
    sibling: bool,
    preload: Option<&Path>,
) -> Result<Child, Refusal> {
    let spec = &order.spec;
    let user = identity(spec)?;
    let uid = user.as_ref().map(|user| user.uid);
    let names = listen(&order, listeners).map_err(|error| temporary("lend its sockets", &error))?;
    let notify = NotifySocket::new(&spec.name, order.worker.0)
        .map_err(|error| temporary("make its NOTIFY_SOCKET", &error))?;
    let [(out_reader, out_writer), (err_reader, err_writer)] =
        output_pipes().map_err(|error| temporary("make its output pipes", &error))?;
    let inherited: BTreeMap<i32, (ListenerId, SocketId)> =
        (FIRST_FD..).zip(order.lend.iter().copied()).collect();
    let (node, node_end) = node_channel(spec)?.unzip();
    let node_fd = inherited.last_key_value().map_or(FIRST_FD, |(last, _)| last + 1);
    let mut inherit: Vec<(BorrowedFd<'_>, i32)> = inherited
        .iter()
        .filter_map(|(fd, (id, socket))| Some((listeners.get(*id)?.existing(*socket)?, *fd)))
        .collect();
    inherit.extend(node_end.as_ref().map(|end| (end.as_fd(), node_fd)));
    let (bus, bus_end) =
        BusChannel::pair().map_err(|error| temporary("make its channel", &error))?;
    let bus_fd = inherit.last().map_or(FIRST_FD, |(_, last)| last + 1);
    inherit.push((bus_end.as_fd(), bus_fd));
    let mut env = environment(&order, &names, &notify);
    env.push(("SUPERVISOR_CHANNEL_FD".into(), bus_fd.to_string().into()));
    if node_end.is_some() {
        env.extend(node_environment(order.worker, node_fd));
    }
    let spawned = spawn(&Launch {
        argv: preload::put(arguments(&spec.command, &names)?, preload),
        env,
        listen_pid: !names.is_empty(),
        cwd: &spec.cwd,
        user,
        privileges: privileges(spec)?,
        stdout: out_writer.as_fd(),
        stderr: err_writer.as_fd(),
        inherit,
        intercept: spec.intercept,
        sibling,
    })
    .map_err(|error| temporary("fork", &error))?;
    Ok(Child {
        id: order.worker,
        slot: order.slot,
        generation: order.generation,
        pid: spawned.pid,
        uid,
        pidfd: spawned.pidfd,
        report: Some(spawned.report),
        calls: None,
        notify: Some(notify),
        out: Some(Pipe::new(out_reader)),
        err: Some(Pipe::new(err_reader)),
        tail: Tail::default(),
        lent: order.lend.iter().map(|lent| (*lent, listeners.given(*lent))).collect(),
        inherited,
        node,
        bus: Some(bus),
        accepted: 0,
        held: 0,
        asking: BTreeMap::new(),
        shut_down: BTreeMap::new(),
        contracts: (!names.is_empty()).then_some(Contract::Activation).into_iter().collect(),
        told_to_stop: false,
        ends_kept: preload.is_some() && spec.node_drain,
        ended: None,
        failed: None,
        drain: None,
        progress: Progress::default(),
        spec: order.spec,
    })
}

/// For stdout and stderr; our ends do not block.
fn output_pipes() -> io::Result<[(io::PipeReader, io::PipeWriter); 2]> {
    let pipes = [io::pipe()?, io::pipe()?];
    for (reader, _) in &pipes {
        socket::set_nonblocking(reader.as_fd(), true)?;
    }
    Ok(pipes)
}

/// The channel of a Node program, ours and its end.
fn node_channel(spec: &AppSpec) -> Result<Option<(NodeChannel, OwnedFd)>, Refusal> {
    if !spec.node || !is_node_program(&spec.command) {
        return Ok(None);
    }
    NodeChannel::pair().map(Some).map_err(|error| temporary("make its channel", &error))
}

/// What makes a Node process a worker of a cluster (lib/internal/process/pre_execution.js).
fn node_environment(worker: WorkerId, fd: i32) -> [(OsString, OsString); 3] {
    [
        ("NODE_CHANNEL_FD", fd.to_string()),
        ("NODE_CHANNEL_SERIALIZATION_MODE", "json".to_owned()),
        ("NODE_UNIQUE_ID", worker.to_string()),
    ]
    .map(|(name, value)| (name.into(), value.into()))
}

fn temporary(what: &str, error: &io::Error) -> Refusal {
    Refusal { reason: format!("cannot start a worker: cannot {what}: {error}"), permanent: false }
}

fn identity(spec: &AppSpec) -> Result<Option<users::Identity>, Refusal> {
    let permanent = |reason| Refusal { reason, permanent: true };
    let Some(user) = spec.user.as_deref() else {
        return match spec.group.as_deref() {
            None => Ok(None),
            Some(_) => Err(permanent("a group is only set together with a user".to_owned())),
        };
    };
    if !users::is_root() {
        return Err(permanent(format!(
            "cannot run workers as user {user}: only root may change users (run as root, or leave user out)"
        )));
    }
    users::resolve(user, spec.group.as_deref()).map(Some).map_err(permanent)
}

fn privileges(spec: &AppSpec) -> Result<Privileges, Refusal> {
    Privileges::of(&spec.privileges).map_err(|reason| Refusal { reason, permanent: true })
}

/// Makes every lent socket exist and listen; gives their names in order.
fn listen(order: &Order, listeners: &mut Listeners) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for (id, socket) in &order.lend {
        let Some(listener) = listeners.get_mut(*id) else { continue };
        if !listener.is_shared() {
            listener.listen(*socket, BACKLOG)?;
        }
        // A program that sets O_NONBLOCK does so on the open file description, which stays: the
        // next borrower starts from the state systemd would give it.
        socket::set_nonblocking(listener.socket(*socket)?, false)?;
        names.push(listener.name.clone().unwrap_or_else(|| listener.address()));
    }
    Ok(names)
}

/// The command with `${fd:NAME}` replaced.
fn arguments(command: &[String], names: &[String]) -> Result<Vec<OsString>, Refusal> {
    command.iter().map(|argument| replace_fds(argument, names).map(OsString::from)).collect()
}

fn replace_fds(argument: &str, names: &[String]) -> Result<String, Refusal> {
    let mut done = String::new();
    let mut rest = argument;
    while let Some((before, after)) = rest.split_once("${fd:") {
        let Some((name, behind)) = after.split_once('}') else { break };
        let Some(at) = names.iter().position(|known| known == name) else {
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(Refusal {
                reason: format!(
                    "the argument {argument:?} names a socket {name:?} that is not configured (known: {known}; add it with --listen {name}=ADDRESS)"
                ),
                permanent: true,
            });
        };
        done.push_str(before);
        done.push_str(&(FIRST_FD as usize + at).to_string());
        rest = behind;
    }
    done.push_str(rest);
    Ok(done)
}

fn environment(
    order: &Order,
    names: &[String],
    notify: &NotifySocket,
) -> Vec<(OsString, OsString)> {
    let own = NOT_INHERITED.iter().chain(&systemd::VARIABLES);
    let mut all: BTreeMap<OsString, OsString> = std::env::vars_os()
        .filter(|(name, _)| !own.clone().any(|not| name == OsStr::new(not)))
        .collect();
    let mut set = |name: &str, value: String| all.insert(name.into(), value.into());
    set(APP_VARIABLE, order.spec.name.clone());
    set(WORKER_VARIABLE, order.worker.to_string());
    set("SUPERVISOR_POOL", order.spec.pool().to_owned());
    set("SUPERVISOR_SLOT", order.slot.to_string());
    set("SUPERVISOR_WORKERS", order.workers.to_string());
    set("SUPERVISOR_GENERATION", order.generation.to_string());
    set("NODE_APP_INSTANCE", order.slot.to_string());
    set("NOTIFY_SOCKET", notify.address());
    if !names.is_empty() {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for (name, value) in systemd::listen::environment(&names) {
            set(&name, value);
        }
    }
    for (name, value) in &order.spec.env {
        set(name, value.clone());
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fds_are_named_in_arguments() {
        let names = ["web".to_owned(), "admin".to_owned()];
        let replaced = |argument| replace_fds(argument, &names).map_err(|refusal| refusal.reason);
        assert_eq!(replaced("--fd=${fd:admin}"), Ok("--fd=4".to_owned()));
        assert_eq!(replaced("${fd:web},${fd:admin}"), Ok("3,4".to_owned()));
        assert_eq!(replaced("${HOME} ${fd:"), Ok("${HOME} ${fd:".to_owned()));
        assert_eq!(
            replaced("${fd:nope}").unwrap_err(),
            "the argument \"${fd:nope}\" names a socket \"nope\" that is not configured (known: web, admin; add it with --listen nope=ADDRESS)"
        );
    }
}
