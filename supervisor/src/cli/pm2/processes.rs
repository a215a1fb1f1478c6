//! The workers as PM2 lists them: each is a process with a number.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::spec::{AppSpec, RestartOn, log_files};
use ipc::control::{AppStatus, WorkerState, WorkerStatus};
use serde_json::{Map, Value, json};

use super::ids::Ids;
use crate::base::time::millis;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, table};
use crate::cli::session::Session;
use crate::cli::targets::{probe, running_spec};
use crate::home::Home;
use crate::sys::clock;

/// The namespace of apps that name none.
const NAMESPACE: &str = "default";
/// What stands for the value of a variable.
const REDACTED: &str = "<redacted>";

/// All workers, with their numbers.
#[derive(Debug)]
pub(super) struct Processes {
    pub(super) apps: Vec<AppStatus>,
    pub(super) ids: Ids,
    /// The specs of the apps whose primaries answer.
    specs: BTreeMap<String, AppSpec>,
}

impl Processes {
    /// Asks all primaries. An app that does not answer is reported and left out.
    pub(super) fn read(session: &Session) -> Result<Self, Failure> {
        let home = &session.home;
        let mut apps = Vec::new();
        for status in probe::statuses(home, &home.apps()?) {
            match status {
                Ok(status) => apps.extend(status),
                Err(failure) if failure.exit == Exit::NotPermitted => {}
                Err(failure) => output::report(&failure),
            }
        }
        let ids = Ids::of(home, &apps)?;
        let known = |app: &AppStatus| {
            let spec = running_spec(home, &app.name).ok();
            let spec = spec.or_else(|| Some(home.read_record(&app.name)?.spec));
            Some((app.name.clone(), spec?))
        };
        let specs = apps.iter().filter_map(known).collect();
        Ok(Self { apps, ids, specs })
    }

    /// The app of this name.
    pub(super) fn app(&self, name: &str) -> Option<&AppStatus> {
        self.apps.iter().find(|app| app.name == name)
    }

    /// The spec of the app of this name, if its primary answers.
    pub(super) fn spec(&self, name: &str) -> Option<&AppSpec> {
        self.specs.get(name)
    }

    /// The namespace of an app.
    pub(super) fn namespace(app: &AppStatus) -> &str {
        app.namespace.as_deref().unwrap_or(NAMESPACE)
    }

    /// The worker of each slot by its number: of a worker and its successor, the one that is ready,
    /// or the successor.
    fn sorted(&self) -> Vec<(u32, &AppStatus, &WorkerStatus)> {
        let mut all = Vec::new();
        for app in &self.apps {
            let mut slots: BTreeMap<u16, &WorkerStatus> = BTreeMap::new();
            let rank = |worker: &WorkerStatus| (worker.state == WorkerState::Ready, worker.worker);
            for worker in &app.workers {
                let shown = slots.entry(worker.slot).or_insert(worker);
                if rank(worker) > rank(shown) {
                    *shown = worker;
                }
            }
            let workers = slots.into_values();
            all.extend(workers.map(|worker| (self.ids.id(&app.name, worker.slot), app, worker)));
        }
        all.sort_by_key(|(id, ..)| *id);
        all
    }

    /// The numbers of an app's workers.
    pub(super) fn ids_of(&self, app: &str) -> Vec<u32> {
        let of_it = self.sorted().into_iter();
        let of_it = of_it.filter(|(_, status, _)| self.ids.name(&status.name) == app);
        of_it.map(|(id, ..)| id).collect()
    }

    /// The process ids of the workers of one app, or of all.
    pub(super) fn pids(&self, app: Option<&str>) -> Vec<u32> {
        let wanted = self.sorted().into_iter();
        let is_meant =
            |status: &AppStatus| app.is_none_or(|app| self.ids.name(&status.name) == app);
        let wanted = wanted.filter(|(_, status, _)| is_meant(status));
        wanted.filter_map(|(_, _, worker)| worker.pid).collect()
    }

    /// Restarts of a worker as PM2 counts them: those of a reload count, those before a reset do
    /// not.
    fn restarts(&self, app: &AppStatus, worker: &WorkerStatus) -> u64 {
        let forgotten = self.ids.forgotten(&app.name, worker.slot);
        counted(app, worker.slot).saturating_sub(forgotten)
    }

    /// Forgets the restarts of an app so far.
    pub(super) fn reset(&mut self, app: &str, home: &Home) -> Result<(), Failure> {
        let of_it = self.apps.iter().filter(|status| status.name == app);
        for status in of_it {
            for worker in &status.workers {
                self.ids.forget(app, worker.slot, counted(status, worker.slot));
            }
        }
        self.ids.write(home)
    }

    /// The table of `pm2 list`.
    /// `sort`: `FIELD` or `FIELD:desc`.
    pub(super) fn table(&self, sort: Option<&str>, width: Option<u16>) -> Result<String, Failure> {
        let header = [
            "id",
            "name",
            "namespace",
            "mode",
            "pid",
            "uptime",
            "restarts",
            "status",
            "cpu",
            "mem",
        ];
        let row = |(id, app, worker): (u32, &AppStatus, &WorkerStatus)| {
            vec![
                id.to_string(),
                self.ids.name(&app.name).to_owned(),
                Self::namespace(app).to_owned(),
                mode(app).to_owned(),
                worker.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                worker.uptime_ms.map_or_else(|| "-".to_owned(), table::uptime),
                self.restarts(app, worker).to_string(),
                status(worker.state).to_owned(),
                table::percent(worker.cpu_percent.map(f64::from)),
                table::bytes(worker.rss_bytes.map(|rss| rss as f64)),
            ]
        };
        let mut all = self.sorted();
        if let Some(sort) = sort {
            self.sort(&mut all, sort)?;
        }
        Ok(table::table(&header, all.into_iter().map(row).collect(), width))
    }

    fn sort(
        &self,
        all: &mut [(u32, &AppStatus, &WorkerStatus)],
        sort: &str,
    ) -> Result<(), Failure> {
        let (field, order) = sort.split_once(':').unwrap_or((sort, "asc"));
        match field {
            "id" => all.sort_by_key(|(id, ..)| *id),
            "name" => all.sort_by_key(|(_, app, _)| self.ids.name(&app.name)),
            "pid" => all.sort_by_key(|(.., worker)| worker.pid),
            "status" => all.sort_by_key(|(.., worker)| status(worker.state)),
            "uptime" => all.sort_by_key(|(.., worker)| worker.uptime_ms),
            "memory" => all.sort_by_key(|(.., worker)| worker.rss_bytes),
            "cpu" => all.sort_by(|(.., one), (.., other)| {
                let of = |worker: &WorkerStatus| worker.cpu_percent.unwrap_or_default();
                of(one).total_cmp(&of(other))
            }),
            _ => {
                return Err(Failure::usage(format!(
                    "cannot sort by {field:?}: there are id, name, pid, status, uptime, memory, cpu"
                )));
            }
        }
        if order == "desc" {
            all.reverse();
        }
        Ok(())
    }

    /// The array of `pm2 jlist`.
    pub(super) fn jlist(&self) -> Value {
        self.sorted().into_iter().map(|(id, app, worker)| self.process(id, app, worker)).collect()
    }

    /// What `pm2 save` writes of each process: `pm2_env` with the values of the variables.
    pub(super) fn saved(&self) -> Vec<Map<String, Value>> {
        let process = |(id, app, worker): (u32, &AppStatus, &WorkerStatus)| {
            let env = self.specs.get(&app.name).map(|spec| json!(spec.env)).unwrap_or_default();
            let mut process = self.environment(id, app, worker);
            process.insert("env".to_owned(), env);
            process
        };
        self.sorted().into_iter().map(process).collect()
    }

    fn process(&self, id: u32, app: &AppStatus, worker: &WorkerStatus) -> Value {
        let pid = worker.pid.unwrap_or(0);
        json!({
            "pid": pid,
            "name": self.ids.name(&app.name),
            "pm2_env": self.environment(id, app, worker),
            "pm_id": id,
            "monit": {
                "memory": worker.rss_bytes.unwrap_or(0),
                "cpu": worker.cpu_percent.unwrap_or(0.0),
            },
        })
    }

    /// `pm2_env`: the options of the app and the state of the process, as PM2 has them, and the
    /// names of the app's variables.
    fn environment(&self, id: u32, app: &AppStatus, worker: &WorkerStatus) -> Map<String, Value> {
        let spec = self.specs.get(&app.name);
        let command = Command::of(&app.command);
        let now = clock::unix_ms();
        let since = |ms: u64| now.saturating_sub(ms);
        let log = |at: usize| {
            let path = app.logs.get(at).map(Path::new);
            path.map(|path| log_files::for_slot(path, worker.slot)).unwrap_or_default()
        };
        let state = json!({
            "name": self.ids.name(&app.name),
            "namespace": Self::namespace(app),
            "status": status(worker.state),
            "pm_id": id,
            "instances": app.wanted,
            "exec_mode": mode(app),
            "exec_interpreter": command.interpreter,
            "node_args": command.options,
            "args": command.args,
            "pm_exec_path": command.path(Path::new(&app.cwd)),
            "pm_cwd": app.cwd,
            "pm_out_log_path": log(0),
            "pm_err_log_path": log(1),
            "pm_uptime": worker.uptime_ms.map_or(0, since),
            "created_at": since(app.uptime_ms),
            "restart_time": self.restarts(app, worker),
            "unstable_restarts": 0,
            "autostart": spec.is_none_or(|spec| spec.autostart),
            "autorestart": spec.is_none_or(|spec| spec.restart.on != RestartOn::Never),
            "watch": app.watch.is_some(),
            "instance_var": "NODE_APP_INSTANCE",
            "NODE_APP_INSTANCE": worker.slot,
            "merge_logs": true,
            "vizion": false,
            "treekill": true,
            "kill_timeout": spec.map(|spec| millis(spec.times.kill_timeout)),
            "axm_actions": [],
            "axm_monitor": {},
            "axm_options": { "module_name": self.ids.name(&app.name) },
            "axm_dynamic": {},
        });
        // PM2 has the settings of its modules here, by the name of the app.
        let mut all = Map::from_iter([(self.ids.name(&app.name).to_owned(), json!({}))]);
        if let Some(spec) = spec {
            if let Some(path) = &spec.pid_file {
                let path = log_files::for_slot(path, worker.slot);
                all.insert("pm_pid_path".to_owned(), json!(path));
            }
            let names = spec.env.keys().map(|name| (name.clone(), json!(REDACTED)));
            all.insert("env".to_owned(), Value::Object(names.collect()));
        }
        if let Value::Object(state) = state {
            all.extend(state);
        }
        if !self.ids.has_node_args(&app.name) {
            all.remove("node_args");
        }
        all
    }
}

/// What PM2 calls restarts of a slot: a worker died, or reached a limit, or one of a later
/// generation took its place. A successor that is not ready yet counts.
fn counted(app: &AppStatus, slot: u16) -> u64 {
    let of_slot = || app.workers.iter().filter(|worker| worker.slot == slot);
    let past = of_slot().map(|worker| worker.restarts + worker.recycles).max().unwrap_or(0);
    let generations = || of_slot().map(|worker| worker.generation);
    let last = generations().max().unwrap_or(1);
    // Two workers of one generation: one has reached a limit.
    let recycling = u64::from(generations().filter(|generation| *generation == last).count() > 1);
    // The primary has counted the restart that is still to come.
    let waiting = u64::from(of_slot().any(|worker| worker.state == WorkerState::Waiting));
    (past + recycling + u64::from(last.saturating_sub(1))).saturating_sub(waiting)
}

/// All workers share their addresses, which PM2 calls a cluster.
fn mode(app: &AppStatus) -> &'static str {
    if app.wanted > 1 { "cluster_mode" } else { "fork_mode" }
}

/// PM2's word for a state.
fn status(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Spawning | WorkerState::Starting => "launching",
        WorkerState::Ready | WorkerState::Unknown => "online",
        WorkerState::Draining | WorkerState::Killing => "stopping",
        WorkerState::Waiting => "waiting restart",
        WorkerState::Errored => "errored",
        WorkerState::Stopped => "stopped",
    }
}

/// A command as PM2 divides it.
#[derive(Debug, PartialEq)]
pub(super) struct Command<'c> {
    pub(super) interpreter: &'c str,
    pub(super) options: &'c [String],
    pub(super) script: &'c str,
    pub(super) args: &'c [String],
}

impl<'c> Command<'c> {
    /// The path of the script, or of a program that is in a folder of PATH.
    fn path(&self, cwd: &Path) -> PathBuf {
        let path = cwd.join(self.script);
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let mut found = std::env::split_paths(&folders).map(|folder| folder.join(self.script));
        match self.interpreter == "none" && !self.script.contains('/') && !path.is_file() {
            true => found.find(|path| path.is_file()).unwrap_or(path),
            false => path,
        }
    }

    pub(super) fn of(command: &'c [String]) -> Self {
        let Some((program, rest)) = command.split_first() else {
            return Self { interpreter: "none", options: &[], script: "", args: &[] };
        };
        let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
        let known = ["node", "bash", "sh", "python3", "python", "ruby", "php", "perl", "bun"];
        let at = rest.iter().position(|word| !word.starts_with('-'));
        match at.filter(|_| known.contains(&name.as_ref())) {
            Some(at) => Self {
                interpreter: program,
                options: &rest[..at],
                script: &rest[at],
                args: &rest[at + 1..],
            },
            None => Self { interpreter: "none", options: &[], script: program, args: rest },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::targets::fake_primary as fake;
    use ipc::control::Status;

    #[test]
    fn a_process_has_the_fields_that_tools_read() {
        let mut app = fake::status("web", Status::Ready);
        app.command = ["node", "--inspect", "/srv/app.js", "-p"].map(str::to_owned).to_vec();
        app.workers[0].restarts = 2;
        app.workers[0].state = WorkerState::Ready;
        app.workers[0].generation = 2;
        let mut spec = fake::spec("web");
        spec.env.insert("PORT".to_owned(), "80".to_owned());
        spec.env.insert("name".to_owned(), "hidden".to_owned());
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        let ids = Ids::of(&home, std::slice::from_ref(&app)).unwrap();
        let specs = [("web".to_owned(), spec)].into();
        let mut all = Processes { apps: vec![app], ids, specs };
        let list = all.jlist();
        let process = &list[0];
        assert_eq!((&process["pid"], &process["pm_id"]), (&json!(5), &json!(0)));
        let env = &process["pm2_env"];
        for (key, value) in [
            ("name", json!("web")),
            ("namespace", json!("default")),
            ("status", json!("online")),
            ("exec_mode", json!("fork_mode")),
            ("node_args", json!(["--inspect"])),
            ("args", json!(["-p"])),
            ("pm_exec_path", json!("/srv/app.js")),
            ("restart_time", json!(3)),
        ] {
            assert_eq!(env[key], value, "{key}");
        }
        assert_eq!(env["env"], json!({ "PORT": "<redacted>", "name": "<redacted>" }));
        all.reset("web", &home).unwrap();
        assert_eq!(all.jlist()[0]["pm2_env"]["restart_time"], 0);
        assert_eq!((all.ids_of("web"), all.pids(None)), (vec![0], vec![5]));
        assert!(all.table(Some("name:desc"), None).unwrap().contains("fork_mode"));
        assert!(all.table(Some("age"), None).unwrap_err().reason.contains("memory"));
    }

    #[test]
    fn a_program_without_an_interpreter_is_its_own_script() {
        let command = ["/srv/web".to_owned(), "-v".to_owned()];
        let divided = Command::of(&command);
        assert_eq!((divided.interpreter, divided.script), ("none", "/srv/web"));
        assert_eq!(divided.args, ["-v"]);
        assert_eq!(Command::of(&[]).script, "");
        let command = ["sh".to_owned()];
        let path = Command::of(&command).path(Path::new("/srv"));
        assert!(path.is_file() && path.ends_with("sh"), "{}", path.display());
    }
}
