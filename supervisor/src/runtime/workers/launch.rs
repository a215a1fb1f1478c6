//! A `Spawn` becomes a process: its environment, its inherited descriptors, its pipes. Each
//! contract adds its part.
//!
//! Nothing of the primary's own goes into the environment: NOTIFY_SOCKET, LISTEN_* and the
//! supervisor's own variables are removed before the worker's are set.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use config::spec::{AppSpec, IoUring};

use crate::base::ids::{Generation, ListenerId, Slot, SocketId, WorkerId};
use crate::home::Home;
use crate::runtime::contracts::interface::{Offer, Parts, Refusal, WorkerContract};
use crate::runtime::error_text::plain;
use crate::runtime::lease::Lease;
use crate::runtime::listeners::Listeners;
use crate::runtime::notes::Notes;
use crate::runtime::output::logs::{Logs, Tail};
use crate::runtime::probe::hang::Progress;
use crate::runtime::workers::{Child, Pipe};
use crate::sys::privileges::Privileges;
use crate::sys::spawn::report::Stage;
use crate::sys::spawn::{Launch, spawn};
use crate::sys::strays::{APP_VARIABLE, WORKER_VARIABLE};
use crate::sys::{accounts, socket, users};

/// What `Action::Spawn` says.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) worker: WorkerId,
    pub(crate) slot: Slot,
    pub(crate) generation: Generation,
    pub(crate) spec: Arc<AppSpec>,
    pub(crate) workers: u16,
    pub(crate) lend: Vec<(ListenerId, SocketId)>,
    /// The variables of a hook, if it is one.
    pub(crate) hook: Option<BTreeMap<String, String>>,
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

/// Variables that describe the primary and must not describe its workers, beside those of the
/// contracts and what a service manager says to it.
const NOT_INHERITED: [&str; 12] = [
    APP_VARIABLE,
    WORKER_VARIABLE,
    "SUPERVISOR_POOL",
    "SUPERVISOR_SLOT",
    "SUPERVISOR_WORKERS",
    "SUPERVISOR_GENERATION",
    "NODE_APP_INSTANCE",
    "SUPERVISOR_HOOK",
    "SUPERVISOR_PID",
    "SUPERVISOR_REASON",
    "SUPERVISOR_EXIT_CODE",
    "SUPERVISOR_EXIT_SIGNAL",
];

/// What is the same for every worker.
#[derive(Debug)]
pub(in crate::runtime) struct Surroundings<'a> {
    pub(in crate::runtime) listeners: &'a mut Listeners,
    pub(in crate::runtime) home: &'a Home,
    pub(in crate::runtime) lease: &'a mut Lease,
    pub(in crate::runtime) notes: &'a mut Notes,
    pub(in crate::runtime) logs: &'a Logs,
    /// A worker starts as a child of the keeper, not of ours.
    pub(in crate::runtime) sibling: bool,
}

/// Starts one worker, with what each of these contracts gives it.
pub(in crate::runtime) fn launch(
    order: Order,
    contracts: impl Iterator<Item = &'static dyn WorkerContract> + Clone,
    around: Surroundings<'_>,
) -> Result<Child, Refusal> {
    let Surroundings { listeners, home, lease, notes, logs, sibling } = around;
    let spec = &order.spec;
    let user = identity(spec)?;
    let uid = user.as_ref().map(|user| user.uid);
    let outputs = outputs(logs, &order)?;
    let mut offer = Offer {
        worker: order.worker,
        spec,
        lend: &order.lend,
        listeners,
        home,
        lease,
        notes,
        argv: spec.command.iter().map(|argument| placed(argument, &order).into()).collect(),
        parts: Parts::default(),
    };
    // A hook speaks no contract; what its environment says of those of another app is removed.
    if order.hook.is_none() {
        contracts.clone().try_for_each(|contract| contract.offer(&mut offer))?;
    }
    let Offer { argv, parts, listeners, .. } = offer;
    let [(out_reader, out_writer), (err_reader, err_writer)] = outputs;
    let spawned = spawn(&Launch {
        argv,
        env: environment(&order, contracts, &parts),
        listen_pid: parts.listen_pid,
        cwd: &spec.cwd,
        user,
        privileges: privileges(spec)?,
        stdout: out_writer.as_fd(),
        stderr: err_writer.as_fd(),
        inherit: inherited(&parts, listeners),
        intercept: parts.intercept,
        // A hook gets no rights that its worker could not get.
        as_intercepted: order.hook.is_some() && spec.intercept,
        deny_io_uring: spec.io_uring == IoUring::Deny,
        sibling,
    })
    .map_err(|error| Refusal::temporary("fork", &error))?;
    Ok(Child {
        id: order.worker,
        slot: order.slot,
        generation: order.generation,
        is_hook: order.hook.is_some(),
        pid: spawned.pid,
        uid,
        pidfd: spawned.pidfd,
        report: Some(spawned.report),
        endpoints: parts.endpoints,
        out: out_reader.map(Pipe::new),
        err: err_reader.map(Pipe::new),
        tail: Tail::default(),
        lent: order.lend.iter().map(|lent| (*lent, listeners.given(*lent))).collect(),
        inherited: parts.lent,
        lease: parts.lease,
        accepted: 0,
        held: 0,
        asking: BTreeMap::new(),
        contracts: parts.used,
        shut_down: BTreeMap::new(),
        bound_only: BTreeMap::new(),
        let_through: Some(BTreeSet::new()),
        told_to_stop: false,
        left: None,
        ends_kept: parts.ends_kept,
        ended: None,
        failed: None,
        drain: None,
        progress: Progress::default(),
        spec: order.spec,
    })
}

/// The descriptors that a worker inherits, with their numbers there.
fn inherited<'a>(parts: &'a Parts, listeners: &'a Listeners) -> Vec<(BorrowedFd<'a>, i32)> {
    let lent = parts.lent.iter();
    let lent =
        lent.filter_map(|(fd, (id, socket))| Some((listeners.get(*id)?.existing(*socket)?, *fd)));
    lent.chain(parts.given.iter().map(|(fd, number)| (fd.as_fd(), *number))).collect()
}

/// Where stdout and stderr of the worker go: for each our end of a pipe and the worker's, or a file
/// of its own.
fn outputs(logs: &Logs, order: &Order) -> Result<[(Option<io::PipeReader>, OwnedFd); 2], Refusal> {
    let files = logs.for_worker(&order.spec.logs, order.slot.0);
    match files.map_err(|error| Refusal::temporary("open its log files", &error))? {
        Some(files) => Ok(files.map(|file| (None, file.into()))),
        None => output_pipes().map_err(|e| Refusal::temporary("make its output pipes", &e)),
    }
}

/// For stdout and stderr; our ends do not block.
fn output_pipes() -> io::Result<[(Option<io::PipeReader>, OwnedFd); 2]> {
    let pipes = [io::pipe()?, io::pipe()?];
    for (reader, _) in &pipes {
        socket::set_nonblocking(reader.as_fd(), true)?;
    }
    Ok(pipes.map(|(reader, writer)| (Some(reader), writer.into())))
}

fn identity(spec: &AppSpec) -> Result<Option<users::Identity>, Refusal> {
    let Some(user) = spec.user.as_deref() else {
        return match spec.group.as_deref() {
            None => Ok(None),
            Some(_) => {
                Err(Refusal::permanent("a group is only set together with a user".to_owned()))
            }
        };
    };
    if !users::is_root() {
        return Err(Refusal::permanent(format!(
            "cannot run workers as user {user}: only root may change users (run as root, or leave user out)"
        )));
    }
    accounts::identity(user, spec.group.as_deref()).map(Some).map_err(Refusal::permanent)
}

fn privileges(spec: &AppSpec) -> Result<Privileges, Refusal> {
    Privileges::of(&spec.privileges).map_err(Refusal::permanent)
}

/// An argument in which slot and generation are named: two workers of a program that writes a pid
/// file need two files.
fn placed(argument: &str, order: &Order) -> String {
    let (slot, generation) = (order.slot.to_string(), order.generation.to_string());
    argument.replace("${SUPERVISOR_SLOT}", &slot).replace("${SUPERVISOR_GENERATION}", &generation)
}

/// The worker's environment: ours, or the one that a reload brought, without what describes us;
/// then what every worker gets, then what the contracts add, then the app's own variables, then
/// those that stand behind them.
fn environment<'a>(
    order: &Order,
    contracts: impl Iterator<Item = &'a dyn WorkerContract>,
    parts: &Parts,
) -> Vec<(OsString, OsString)> {
    let of_contracts = contracts.flat_map(WorkerContract::variables);
    let own: BTreeSet<&OsStr> = NOT_INHERITED
        .iter()
        .chain(&systemd::VARIABLES)
        .chain(of_contracts)
        .map(|name| OsStr::new(*name))
        .collect();
    let inherited: Vec<(OsString, OsString)> = match &order.spec.inherited {
        None => std::env::vars_os().collect(),
        Some(pairs) => pairs.iter().map(|(name, value)| (name.into(), value.into())).collect(),
    };
    let inherited = inherited.into_iter().filter(|(name, _)| !own.contains(name.as_os_str()));
    let mut all: BTreeMap<OsString, OsString> = inherited.collect();
    let mut set = |name: &str, value: String| all.insert(name.into(), value.into());
    set(APP_VARIABLE, order.spec.name.clone());
    set(WORKER_VARIABLE, order.worker.to_string());
    set("SUPERVISOR_POOL", order.spec.pool().to_owned());
    set("SUPERVISOR_SLOT", order.slot.to_string());
    set("SUPERVISOR_WORKERS", order.workers.to_string());
    set("SUPERVISOR_GENERATION", order.generation.to_string());
    set("NODE_APP_INSTANCE", order.slot.to_string());
    for (name, value) in parts.variables.iter().chain(&order.spec.env) {
        set(name, value.clone());
    }
    for (name, value) in order.hook.iter().flatten() {
        set(name, value.clone());
    }
    let fixed = parts.fixed_variables.iter();
    all.into_iter().chain(fixed.map(|(name, value)| (name.into(), value.into()))).collect()
}
