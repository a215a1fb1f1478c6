//! The core's status, completed with what only the kernel knows.

use std::collections::HashMap;

use ipc::control::{AppStatus, Reply};

use super::placement::balance_note;
use crate::base::ids::{ClientId, WorkerId};
use crate::base::time::millis;
use crate::runtime::Runtime;
use crate::runtime::context::context;
use crate::runtime::probe::drain::Table;
use crate::sys::{clock, target};

impl Runtime {
    /// What `list --json` shows.
    pub(in crate::runtime) fn full_status(&mut self) -> AppStatus {
        let now = clock::now();
        let mut status = self.core.status(now);
        status.primary_pid = std::process::id();
        status.keeper_pid = (!self.keeper.is_lost()).then(|| self.keeper.keeper().0);
        status.primary_deaths = self.succession.deaths;
        status.version = crate::version();
        let hands_over = self.listeners.iter().any(|open| open.hand_over().is_some());
        status.engine = if hands_over { "primary" } else { "kernel" }.to_owned();
        status.uptime_ms = millis(now.since(self.succession.started));
        status.logs = self.logs.paths();
        status.watch = self.file_watch.status();
        // A list has no room for notes, but for a reason where there is no other.
        status.reason = status.reason.or_else(|| status.notes.first().cloned());
        status.notes.extend(self.notes.iter().cloned());
        status.notes.extend(balance_note(&self.listeners, self.core.spec()));
        status.notes.extend(self.listeners.lent.note());
        status.notes.extend(self.bus.shared_notes(&self.children));
        status.notes.extend(self.bus.limits_note());
        status.notes.extend(self.logs.rate_note());
        let growth = self.probes.growing.notes(&self.children);
        status.reason = status.reason.or_else(|| growth.first().cloned());
        status.notes.extend(growth);
        let spec = self.core.spec();
        status.listeners = {
            let listed = self.listeners.iter().filter(|open| !open.is_only_bound());
            listed.map(|open| open.status(spec)).collect()
        };
        self.complete_workers(&mut status);
        status
    }

    /// Gives the status to a client of which the core knows nothing.
    pub(in crate::runtime) fn answer_looker(&mut self, client: ClientId) {
        let reply = Reply::Status(Box::new(self.full_status()));
        self.clients.show(context!(self), client, &reply);
    }

    /// What the kernel and the runtime know of each worker that exists.
    fn complete_workers(&mut self, status: &mut AppStatus) {
        let live = self.children.values().filter(|child| child.ended.is_none());
        let families: HashMap<WorkerId, Vec<u32>> =
            live.map(|child| (child.id, target::descendants(child.pid.0))).collect();
        let pids: Vec<u32> = families.values().flatten().copied().collect();
        let usage = self.probes.growing.usage(&pids);
        let table = Table::read(&self.listeners);
        for entry in &mut status.workers {
            let Some(child) = entry.worker.and_then(|id| self.children.get(&WorkerId(id))) else {
                continue;
            };
            entry.contract = child.contracts.iter().copied().collect();
            let Some(family) = families.get(&child.id) else { continue };
            let pid = child.pid.0;
            entry.pid = Some(pid);
            let used: Vec<_> = family.iter().filter_map(|pid| usage.get(pid)).collect();
            entry.rss_bytes = Some(used.iter().map(|usage| usage.rss_bytes).sum());
            entry.cpu_percent = Some(used.iter().map(|usage| usage.cpu_percent).sum());
            entry.connections = table.held_by(pid);
            let handed = child.node().map_or(0, |node| node.link.pending());
            let handed = u32::try_from(handed).unwrap_or(u32::MAX);
            entry.backlog = Some(self.listeners.queued_in(child.lent.keys()) + handed);
            entry.accepted = child.accepted(&self.listeners);
            entry.leader = child.lease.is_some_and(|lease| self.lease.is_held_by(child.pid, lease));
        }
    }
}
