//! The status of an app whose primary does not answer, from the record that the primary left on
//! disk.

use ipc::control::{AppStatus, ListenerStatus, Status, WorkerState, WorkerStatus};

use crate::home::Record;

/// The status of the app `name` as its record shows it.
pub(crate) fn status(name: &str, record: &Record, status: Status, reason: &str) -> AppStatus {
    let spec = &record.spec;
    let listeners = spec.listen.iter().map(|listen| ListenerStatus {
        address: listen.address.to_string(),
        name: Some(listen.name.clone()),
        configured: true,
        sockets: 0,
        slots: Vec::new(),
        backlog: 0,
        ..ListenerStatus::default()
    });
    let workers = record.workers.iter().map(|worker| WorkerStatus {
        worker: None,
        slot: worker.slot,
        pool: None,
        pid: Some(worker.pid),
        generation: worker.generation,
        state: WorkerState::Unknown,
        reason: None,
        contract: Vec::new(),
        status_text: None,
        restarts: 0,
        readiness: None,
        liveness: None,
        recycles: 0,
        uptime_ms: None,
        rss_bytes: None,
        cpu_percent: None,
        connections: None,
        accepted: None,
        backlog: None,
        own_listeners: Vec::new(),
        last_exit: None,
        leader: false,
        next_try_ms: None,
    });
    AppStatus {
        name: name.to_owned(),
        namespace: spec.namespace.clone(),
        status,
        reason: Some(reason.to_owned()),
        primary_pid: record.primary_pid,
        keeper_pid: None,
        primary_deaths: 0,
        version: "unknown".to_owned(),
        generation: record.workers.iter().map(|worker| worker.generation).max().unwrap_or(0),
        balance: spec.balance.into(),
        engine: "unknown".to_owned(),
        done: false,
        notes: Vec::new(),
        command: spec.command.clone(),
        cwd: spec.cwd.display().to_string(),
        source: spec.source.as_ref().map(|path| path.display().to_string()),
        logs: Vec::new(),
        listeners: listeners.collect(),
        wanted: spec.total(),
        wanted_because: spec.wanted_because.clone(),
        ready: 0,
        restarts: 0,
        recycles: 0,
        uptime_ms: 0,
        last_reload: None,
        rollout: None,
        next_restart_unix_ms: None,
        watch: None,
        workers: workers.collect(),
        pools: Vec::new(),
    }
}
