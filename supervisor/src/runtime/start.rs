//! The primary's first moments: lock, sockets, logs; then the loop; then its last ones.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use config::spec::AppSpec;
use ipc::control::FailureKind;
use serde::Serialize;

use super::autoscale::AutoscaleWatch;
use super::bus::Bus;
use super::calendar::Calendar;
use super::context::context;
use super::control::Clients;
use super::event_loop::EventLoop;
use super::file_watch::FileWatch;
use super::handover::HandOver;
use super::health::Health;
use super::intercept::Intercept;
use super::lease::Lease;
use super::listeners::Listeners;
use super::merges::Merges;
use super::node::Node;
use super::notes::Notes;
use super::output::console::{Console, LogFormat};
use super::output::housekeeping::Housekeeping;
use super::output::logs::Logs;
use super::probe::Probes;
use super::service_manager::Manager;
use super::service_manager::activation::Lent;
use super::snapshot;
use super::snapshot::pieces::Children;
use super::snapshot::succession::Succession;
use super::source::Source;
use super::workers::pid_files::PidFiles;
use super::workers::record::Recorder;
use crate::home::Home;
use crate::keeper::{self, Birth, HandoverArgs, Link, Role, SharedFds};
use crate::primary::Primary;
use crate::primary::action::Action;
use crate::primary::event::Event;
use crate::runtime::{LAST_WORDS, Runtime};
use crate::snapshot::{Broken, Copy};
use crate::sys::accounts::{self, Accounts};
use crate::sys::held::{Claims, Held};
use crate::sys::signals::{self, Signals};
use crate::sys::{clock, daemon, fork, random};

/// How the primary runs.
#[derive(Debug)]
pub(crate) enum Mode {
    /// Detached from the process that started it. `report` gets one line of JSON when the control
    /// socket accepts connections, or when the start fails.
    Daemon { report: Option<File> },
    /// In front of a person or a service manager: worker output also goes to stdout and stderr.
    Foreground { format: LogFormat },
}

/// Why the primary did not come up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// Another primary has that name.
    #[error(
        "{0} is running already: use \"supervisor reload {0}\" to replace its code, or --name for another app"
    )]
    Running(String),
    /// Something the primary needs cannot be had.
    #[error("cannot {what}: {error}")]
    Io { what: String, error: io::Error },
}

impl LaunchError {
    /// For the exit code.
    pub(crate) fn failure_kind(&self) -> FailureKind {
        match self {
            Self::Io { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                FailureKind::NotPermitted
            }
            Self::Running(_) | Self::Io { .. } => FailureKind::Failed,
        }
    }
}

/// The line in `Mode::Daemon`'s report.
#[derive(Debug, Serialize)]
struct LaunchReport {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<FailureKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Becomes the app's keeper, and in a child its primary; in both it ends with the primary's exit
/// code.
pub(crate) fn run(spec: AppSpec, home: &Home, mode: Mode) -> Result<u8, LaunchError> {
    let name = format!("keep:{}", spec.name);
    daemon::set_name(&name);
    if matches!(mode, Mode::Daemon { .. }) {
        daemon::detach().map_err(|error| io_error("leave the terminal", error))?;
    }
    let report = match &mode {
        Mode::Daemon { report } => report.as_ref().map(|file| Held::of(file.as_fd())),
        Mode::Foreground { .. } => None,
    };
    match keeper::keep(&spec.name) {
        Err(error) => {
            // As below: the number may be somebody else's.
            std::mem::forget(mode);
            let error = io_error("start the primary", error);
            // The first primary reports for itself. If none could be started, the keeper does.
            if let Some(report) = report.and_then(|held| Claims::new([]).claim(held).ok()) {
                tell(File::from(report), Err(&error));
            }
            Err(error)
        }
        Ok(Role::Over(code)) => {
            // Its descriptors were the primary's as well, who closed what was to be closed.
            std::mem::forget(mode);
            Ok(code)
        }
        Ok(Role::Primary(shared, birth)) => {
            let mode = if birth.is_first { mode } else { again(mode, report, shared) };
            ended(live(spec, home, mode, shared, birth), shared)
        }
    }
}

/// The same in the place of a keeper of another build.
pub(crate) fn run_on(app: &str, home: &Home, handover: &HandoverArgs) -> Result<u8, LaunchError> {
    daemon::set_name(&format!("keep:{app}"));
    let role = keeper::keep_on(app, handover).map_err(|error| {
        keeper::fall_back(app, handover);
        io_error("go on as keeper", error)
    })?;
    match role {
        Role::Over(code) => Ok(code),
        Role::Primary(shared, birth) => {
            let nothing = || io_error("read the state", io::Error::other(Broken::Empty));
            let restored = state(shared)
                .and_then(|copy| copy.ok_or_else(nothing))
                .and_then(|copy| snapshot::restore(copy, home, shared, birth));
            match restored {
                // The build before may do better: this end counts as a death.
                Err(error) if shared.previous().is_some() => Err(error),
                restored => {
                    ended(restored.and_then(|(runtime, first)| go_on(runtime, home, first)), shared)
                }
            }
        }
    }
}

/// What a predecessor wrote. `None`: nothing yet.
fn state(shared: &SharedFds) -> Result<Option<Copy>, LaunchError> {
    match shared.memory.read().map_err(|error| io_error("read the state", error))? {
        Ok(copy) => Ok(Some(copy)),
        Err(Broken::Empty) => Ok(None),
        Err(broken) => Err(io_error("read the state", io::Error::other(broken))),
    }
}

/// The primary's last word: however it ended, there is nothing that a successor could do better,
/// unless another build is to be one. A keeper that is gone need not be told.
fn ended(
    result: Result<Option<u8>, LaunchError>,
    shared: &'static SharedFds,
) -> Result<u8, LaunchError> {
    if let Ok(None) = result {
        return Ok(0);
    }
    let _ = Link::new(shared).and_then(|link| link.over());
    result.map(Option::unwrap_or_default)
}

/// How a later primary runs. The report may have been delivered already, and then its descriptor is
/// gone.
fn again(mode: Mode, report: Option<Held>, shared: &SharedFds) -> Mode {
    let closed = match mode {
        Mode::Daemon { report } => report,
        Mode::Foreground { .. } => return mode,
    };
    // Another file may have its number by now.
    std::mem::forget(closed);
    let mut claims = Claims::new(shared.fds());
    Mode::Daemon { report: report.and_then(|held| claims.claim(held).ok()).map(File::from) }
}

/// Is the primary until it ends; gives the exit code, unless another build goes on.
fn live(
    spec: AppSpec,
    home: &Home,
    mode: Mode,
    shared: &'static SharedFds,
    birth: Birth,
) -> Result<Option<u8>, LaunchError> {
    if let Some(copy) = state(shared)? {
        // Its predecessor has reported long ago; what is left is closed with everything else.
        std::mem::forget(mode);
        let (runtime, first) = snapshot::restore(copy, home, shared, birth)?;
        return go_on(runtime, home, first);
    }
    // It is the first, or the first died before it had written anything.
    let (report, console_format) = match mode {
        Mode::Daemon { report } => (report, None),
        Mode::Foreground { format } => (None, Some(format)),
    };
    let result = close_leftovers(birth, report.as_ref(), shared)
        .and_then(|()| prepare(spec, home, console_format, shared));
    if let Some(report) = report {
        tell(report, result.as_ref().map(|_| ()));
    }
    let mut runtime = result?;
    runtime.events.inbox.push_back(Event::Begin);
    go_on(runtime, home, Vec::new())
}

/// Tells the command that started the app what came of it.
fn tell(mut report: File, result: Result<(), &LaunchError>) {
    let line = LaunchReport {
        ok: result.is_ok(),
        kind: result.err().map(LaunchError::failure_kind),
        reason: result.err().map(LaunchError::to_string),
    };
    let line = serde_json::to_string(&line).unwrap_or_default();
    // The command may be gone; the app runs all the same.
    let _ = writeln!(report, "{line}");
}

/// What a predecessor opened that had not written anything yet: its lock, above all.
fn close_leftovers(
    birth: Birth,
    report: Option<&File>,
    shared: &SharedFds,
) -> Result<(), LaunchError> {
    if birth.is_first {
        return Ok(());
    }
    let mut claims = Claims::new(shared.fds().into_iter().chain(report.map(File::as_fd)));
    claims.leave(Lent::numbers(shared.keeper));
    claims.close_others().map_err(|error| io_error("close what is left", error))
}

/// The loop, and what is to be done after it. `first`: what a predecessor may not have done.
fn go_on(mut runtime: Runtime, home: &Home, first: Vec<Action>) -> Result<Option<u8>, LaunchError> {
    let code =
        runtime.turn_until_exit(first).map_err(|error| io_error("wait for events", error))?;
    if runtime.succession.upgrade.under_way().is_some() {
        // Everything it has is its successor's.
        std::mem::forget(runtime);
        return Ok(None);
    }
    // The name is free before the last answers are given, so that a client can use it again as soon
    // as it has its answer.
    if let Err(error) = home.files(&runtime.core.spec().name).remove(runtime.recorder.lock()) {
        runtime.warn(error.to_string());
    }
    runtime.clients.finish(LAST_WORDS);
    Ok(Some(code))
}

/// The same where a successor, of another build perhaps, may do better: what is dropped on the way
/// out stays open for it.
pub(super) fn undone(what: &str, error: io::Error) -> LaunchError {
    fork::leave_files();
    io_error(what, error)
}

fn undone_for(what: &str, name: &str) -> impl FnOnce(io::Error) -> LaunchError {
    let what = format!("{what} of {name}");
    move |error| undone(&what, error)
}

fn io_error(what: &str, error: io::Error) -> LaunchError {
    LaunchError::Io { what: what.to_owned(), error }
}

/// A runtime of an app that has not begun.
fn prepare(
    spec: AppSpec,
    home: &Home,
    console_format: Option<LogFormat>,
    shared: &'static SharedFds,
) -> Result<Runtime, LaunchError> {
    let name = spec.name.clone();
    let failed = |what: &str| {
        let what = format!("{what} of {name}");
        move |error| LaunchError::Io { what, error }
    };
    home.prepare()
        .map_err(|error| io_error("prepare the folders", io::Error::other(error.to_string())))?;
    let files = home.files(&name);
    let lock = files.take_lock().map_err(failed("take the lock"))?;
    let lock = lock.ok_or_else(|| LaunchError::Running(name.clone()))?;
    let keeper = Link::new(shared).map_err(failed("watch the keeper"))?;
    keeper.settled().map_err(failed("speak to the keeper"))?;
    let socket = files.socket().map_err(|error| {
        io_error("make the control socket", io::Error::other(error.to_string()))
    })?;
    let clients = Clients::listen(socket).map_err(failed("make the control socket"))?;
    let folder_made = home.prepare_logs(&name).map_err(|error| io::Error::other(error.to_string()));
    accounts::remember(Accounts::of(&[&spec]));
    let core = Primary::new(Arc::new(spec), random::number());
    let core = core.knowing_quiet(|command| home.is_quiet(command.0));
    let core = if console_format.is_some() { core.ending_with_workers() } else { core };
    let parts = Parts { core, lock, keeper, clients, console_format };
    let (mut runtime, opened) = Runtime::new(parts, home)?;
    signals::unblock().map_err(failed("watch the signals"))?;
    if runtime.logs.console.format().is_some() {
        runtime.manager.take_sockets(&runtime.keeper, context!(runtime));
        runtime.find_manager(false);
    }
    if let Err(error) = folder_made.and(opened) {
        runtime.note(format!("cannot write the log files: {error}"));
    }
    Ok(runtime)
}

/// What a runtime is made of.
pub(super) struct Parts {
    pub(super) core: Primary,
    pub(super) lock: File,
    pub(super) keeper: Link,
    pub(super) clients: Clients,
    /// In the foreground: worker output also goes to stdout and stderr.
    pub(super) console_format: Option<LogFormat>,
}

impl Runtime {
    /// One without workers or listeners; and whether its log files could be opened. Signals are
    /// still blocked.
    pub(super) fn new(parts: Parts, home: &Home) -> Result<(Self, io::Result<()>), LaunchError> {
        let Parts { core, lock, keeper, clients, console_format } = parts;
        let name = core.spec().name.clone();
        let failed = |what| undone_for(what, &name);
        daemon::set_name(&format!("sup:{name}"));
        let signals = Signals::new().map_err(failed("watch the signals"))?;
        let others = [(keeper.fd(), Source::Keeper), (clients.listener(), Source::Control)];
        let events = EventLoop::new(signals, others).map_err(failed("make the event loop"))?;
        let usual = [home.out_log(&name), home.err_log(&name)];
        let primary = console_format.is_none().then(|| home.primary_log(&name));
        let console = Console::new(name.clone(), console_format);
        let (logs, opened) =
            Logs::open(usual, &core.spec().logs, primary, home.event_log(&name), console);
        let now = clock::now();
        let mut runtime = Self {
            core,
            events,
            keeper,
            children: Children::default(),
            listeners: Listeners::default(),
            lease: Lease::default(),
            closed_sockets: crate::policy::closed_sockets::ClosedSockets::default(),
            own_sockets: crate::policy::own_sockets::OwnSocketsWatch::default(),
            intercept: Intercept::default(),
            node: Node::new(BTreeMap::new()),
            handover: HandOver::default(),
            bus: Bus::new(name.clone()),
            clients,
            logs,
            recorder: Recorder::new(home.clone(), lock),
            pid_files: PidFiles::default(),
            succession: Succession::first(now),
            merges: Merges::default(),
            housekeeping: Housekeeping::default(),
            health: Health::default(),
            calendar: Calendar::default(),
            autoscale: AutoscaleWatch::default(),
            file_watch: FileWatch::new(None),
            probes: Probes::new().map_err(failed("watch the processes"))?,
            manager: Manager::default(),
            notes: Notes::default(),
        };
        runtime.clients.keep_spare();
        runtime.clients.keep_access(context!(runtime), runtime.recorder.home());
        runtime.publish_news();
        Ok((runtime, opened))
    }
}
