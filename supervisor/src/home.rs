//! The paths of sockets, locks, records and logs. No other file knows them.
//!
//! `SUPERVISOR_HOME` puts everything under one folder. A run folder that another user could have
//! prepared is refused, and so is a socket path that is too long for the kernel.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use etcetera::base_strategy::{BaseStrategy, Xdg};

mod app_files;
mod error;
mod places;
mod quiet;
mod record;

pub(crate) use app_files::AppFiles;
use app_files::NOT_WAITING;
pub(crate) use error::{HOME_VARIABLE, HomeError};
pub(crate) use record::{Record, RecordedWorker};

/// The folder of what workers of every user may read. Only root starts workers of other users, and
/// only root may write to its parent.
const PUBLIC: &str = "/run/supervisor-public";

/// The folders of one user.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    run: PathBuf,
    logs: PathBuf,
    state: PathBuf,
    /// The folder of `SUPERVISOR_HOME`, made absolute.
    home_override: Option<PathBuf>,
}

/// What the choice of folders depends on.
#[derive(Debug, Default)]
struct Environment {
    home_override: Option<PathBuf>,
    uid: u32,
    runtime_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
}

impl Home {
    /// The folders of this user, in the environment of this process. Creates nothing.
    pub(crate) fn find() -> Result<Self, HomeError> {
        let xdg = Xdg::new().ok();
        let home_override = match std::env::var_os(HOME_VARIABLE).filter(|value| !value.is_empty())
        {
            Some(value) => Some(std::path::absolute(&value).map_err(|source| HomeError::Io {
                what: "use",
                path: value.into(),
                source,
            })?),
            None => None,
        };
        let environment = Environment {
            home_override,
            uid: nix::unistd::geteuid().as_raw(),
            runtime_dir: xdg.as_ref().and_then(Xdg::runtime_dir).filter(|dir| dir.is_dir()),
            state_dir: xdg.as_ref().and_then(Xdg::state_dir),
        };
        let is_ours = |folder: &Path| verify_ours(folder).is_ok();
        let home = Self::choose(environment, |folder| places::usable(folder, is_ours));
        // Any user may have created a folder of this name, and would then get the requests of this
        // one.
        for folder in [&home.run, &home.state, &home.logs] {
            if let Some(root) = places::in_shared(folder) {
                verify_ours(&root)?;
            }
        }
        Ok(home)
    }

    /// All folders under one.
    pub(crate) fn under(folder: &Path) -> Self {
        Self {
            run: folder.join("run"),
            logs: folder.join("logs"),
            state: folder.join("state"),
            home_override: Some(folder.to_owned()),
        }
    }

    /// The folders of root, which operators and observers use as well.
    pub(crate) fn system() -> Self {
        Self {
            run: "/run/supervisor".into(),
            logs: "/var/log/supervisor".into(),
            state: "/var/lib/supervisor".into(),
            home_override: None,
        }
    }

    /// Whether the apps belong to another user.
    pub(crate) fn is_of_another_user(&self) -> bool {
        fs::metadata(&self.run).is_ok_and(|run| run.uid() != nix::unistd::geteuid().as_raw())
    }

    /// Whether this user may see what runs with all its values: the apps' own user and root may.
    pub(crate) fn may_see_all(&self) -> bool {
        !self.is_of_another_user() || nix::unistd::geteuid().is_root()
    }

    /// Chooses the folders. `usable` tells whether a folder can be written to or created.
    fn choose(environment: Environment, usable: impl Fn(&Path) -> bool) -> Self {
        if let Some(folder) = environment.home_override {
            return Self::under(&folder);
        }
        let uid = environment.uid;
        let shared =
            places::SHARED.map(|folder| Path::new(folder).join(format!("supervisor-{uid}")));
        let base = environment.state_dir.map(|dir| dir.join("supervisor"));
        let usual = match uid {
            0 => Self::system(),
            _ => Self {
                run: environment
                    .runtime_dir
                    .map_or_else(|| shared[0].clone(), |d| d.join("supervisor")),
                // Without a home directory: files that a reboot removes are better than none.
                logs: base.as_ref().map_or_else(|| shared[0].join("logs"), |b| b.join("logs")),
                state: base.map_or_else(|| shared[0].join("state"), |base| base.join("state")),
                home_override: None,
            },
        };
        let [tmp, memory] = shared;
        let run = places::first_usable(&[usual.run, tmp, memory], &usable);
        let state = places::first_usable(&[usual.state, run.join("state")], &usable);
        Self { run, state, ..usual }
    }

    /// The value that `SUPERVISOR_HOME` must have in another process, whatever its working folder,
    /// so that it finds the same folders; `None` if the variable is not set.
    pub(crate) fn home_override(&self) -> Option<&Path> {
        self.home_override.as_deref()
    }

    /// Creates the folders. If that of the logs cannot be created, the first log file reports it.
    pub(crate) fn prepare(&self) -> Result<(), HomeError> {
        for folder in [&self.run, &self.state] {
            make_folder(folder, 0o700)?;
        }
        let _ = make_folder(&self.logs, 0o750);
        verify_ours(&self.run)
    }

    /// Creates the folder of the app's logs.
    pub(crate) fn prepare_logs(&self, name: &str) -> Result<(), HomeError> {
        make_folder(&self.log_dir(name), 0o750)
    }

    /// The folder of the sockets, as this environment has it.
    pub(crate) fn run(&self) -> &Path {
        &self.run
    }

    /// The files of the app's primary, where they are now. The primary may have been started in an
    /// environment with another run folder (a login session, cron): then its record says which.
    ///
    /// The record goes when the primary ends. A caller with several steps uses one value for all.
    pub(crate) fn files(&self, name: &str) -> AppFiles {
        let record = self.read_record(name).filter(Record::primary_lives);
        let run = record.and_then(|record| record.run).unwrap_or_else(|| self.run.clone());
        AppFiles::new(&run, name, self.record(name))
    }

    /// The files of a primary of this name that has the run folder of this environment.
    pub(crate) fn usual_files(&self, name: &str) -> AppFiles {
        AppFiles::new(&self.run, name, self.record(name))
    }

    /// The [`Record`] of the app, as JSON.
    pub(crate) fn record(&self, name: &str) -> PathBuf {
        self.state.join(format!("{name}.json"))
    }

    /// The file that `save` writes.
    pub(crate) fn saved(&self) -> PathBuf {
        self.state.join("saved.dump")
    }

    /// The file that one `apply` holds a lock on (flock) as long as it runs.
    pub(crate) fn apply_lock(&self) -> PathBuf {
        self.state.join("apply.lock")
    }

    /// The numbers by which `supervisor pm2` calls workers. It has not the ending of a record.
    pub(crate) fn pm2_ids(&self) -> PathBuf {
        self.state.join("pm2.ids")
    }

    /// Where the script that Node programs load first may be: in our own folder, or in one that
    /// workers of every user may enter. `mark` names the build that it belongs to.
    pub(crate) fn preloads(&self, mark: &str) -> [PathBuf; 2] {
        [&self.run, Path::new(PUBLIC)]
            .map(|folder| folder.join(format!("supervisor-node-{mark}.js")))
    }

    /// Makes the folder of a file for workers of every user.
    pub(crate) fn prepare_public(&self) -> Result<(), HomeError> {
        let folder = Path::new(PUBLIC);
        make_folder(folder, 0o755)?;
        verify_ours(folder)
    }

    /// Every folder of ours.
    pub(crate) fn folders(&self) -> [&Path; 3] {
        [&self.run, &self.logs, &self.state]
    }

    /// The folder of the app's logs.
    pub(crate) fn log_dir(&self, name: &str) -> PathBuf {
        self.logs.join(name)
    }

    /// The log of what the workers write to stdout.
    pub(crate) fn out_log(&self, name: &str) -> PathBuf {
        self.log_dir(name).join("out.log")
    }

    /// The log of what the workers write to stderr.
    pub(crate) fn err_log(&self, name: &str) -> PathBuf {
        self.log_dir(name).join("err.log")
    }

    /// The events of the app.
    pub(crate) fn event_log(&self, name: &str) -> PathBuf {
        self.log_dir(name).join("events.jsonl")
    }

    /// The log of the primary.
    pub(crate) fn primary_log(&self, name: &str) -> PathBuf {
        self.log_dir(name).join("primary.log")
    }

    /// The names that have a socket, a lock or a record, sorted. Their primaries may be dead.
    pub(crate) fn apps(&self) -> Result<Vec<String>, HomeError> {
        let mut names = BTreeSet::new();
        for (folder, endings) in [(&self.run, &[".sock", ".lock"][..]), (&self.state, &[".json"])] {
            let failed =
                |source| HomeError::Io { what: "read the folder", path: folder.clone(), source };
            let entries = match fs::read_dir(folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                // An operator can list the sockets, and cannot read the records.
                Err(error)
                    if error.kind() == io::ErrorKind::PermissionDenied && *folder == self.state =>
                {
                    continue;
                }
                Err(error) => return Err(failed(error)),
            };
            for entry in entries {
                let file = entry.map_err(failed)?.file_name();
                let Some(file) = file.to_str() else { continue };
                let name = endings.iter().find_map(|ending| file.strip_suffix(ending));
                // A record that is being written begins with a dot, which the name of an app does
                // not.
                names.extend(
                    name.filter(|n| !n.is_empty() && !n.starts_with('.')).map(str::to_owned),
                );
            }
        }
        Ok(names.into_iter().collect())
    }

    /// The names that have a log folder, sorted.
    pub(crate) fn apps_with_logs(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.logs) else { return Vec::new() };
        let names: BTreeSet<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.into_iter().collect()
    }

    /// The record; `None` if there is none, or none that can be read.
    pub(crate) fn read_record(&self, name: &str) -> Option<Record> {
        let mut file =
            OpenOptions::new().read(true).custom_flags(NOT_WAITING).open(self.record(name)).ok()?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Replaces the record atomically.
    pub(crate) fn write_record(&self, name: &str, record: &Record) -> io::Result<()> {
        let bytes = serde_json::to_vec(record)?;
        let beside = self.state.join(format!(".{name}.json"));
        // Only its owner can read it: the spec holds values of environment variables.
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .custom_flags(NOT_WAITING)
            .open(&beside)?;
        io::Write::write_all(&mut file, &bytes)?;
        fs::rename(beside, self.record(name))
    }
}

/// Creates a folder and its parents.
fn make_folder(folder: &Path, mode: u32) -> Result<(), HomeError> {
    DirBuilder::new().recursive(true).mode(mode).create(folder).map_err(|source| HomeError::Io {
        what: "make the folder",
        path: folder.to_owned(),
        source,
    })
}

/// Refuses a folder that is a link, belongs to another user, or can be written to by other users. A
/// folder that does not exist is accepted.
fn verify_ours(folder: &Path) -> Result<(), HomeError> {
    let no = |why: String| Err(HomeError::NotOurs { path: folder.to_owned(), why });
    let data = match fs::symlink_metadata(folder) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(HomeError::Io { what: "look at", path: folder.to_owned(), source });
        }
    };
    if !data.is_dir() {
        return no("it is not a folder".to_owned());
    }
    let uid = nix::unistd::geteuid().as_raw();
    // A folder of root is accepted: root can do everything anyway, and may have made this user an
    // operator.
    if data.uid() != uid && data.uid() != 0 {
        return no(format!("it belongs to user {}, and this is user {uid}", data.uid()));
    }
    if data.mode() & 0o022 != 0 {
        return no(format!("others may write to it (mode {:o})", data.mode() & 0o7777));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::error::MAX_SOCKET_PATH;
    use super::*;
    use config::spec::AppSpec;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn folders_follow_the_environment() {
        let choose = |environment| Home::choose(environment, |_| true);
        let moved =
            choose(Environment { home_override: Some("/srv/x".into()), ..Default::default() });
        assert_eq!(moved.files("web").socket().unwrap(), Path::new("/srv/x/run/web.sock"));
        assert_eq!(moved.files("web").lock(), Path::new("/srv/x/run/web.lock"));
        assert_eq!(moved.record("web"), Path::new("/srv/x/state/web.json"));
        assert_eq!(moved.err_log("web"), Path::new("/srv/x/logs/web/err.log"));
        assert_eq!(moved.home_override(), Some(Path::new("/srv/x")));

        let root = choose(Environment::default());
        assert_eq!(root.files("web").socket().unwrap(), Path::new("/run/supervisor/web.sock"));
        assert_eq!(root.out_log("web"), Path::new("/var/log/supervisor/web/out.log"));
        assert_eq!(root.record("web"), Path::new("/var/lib/supervisor/web.json"));

        let user = choose(Environment {
            uid: 7,
            runtime_dir: Some("/run/user/7".into()),
            state_dir: Some("/home/u/.local/state".into()),
            ..Default::default()
        });
        assert_eq!(
            user.files("web").socket().unwrap(),
            Path::new("/run/user/7/supervisor/web.sock")
        );
        let log = "/home/u/.local/state/supervisor/logs/web/primary.log";
        assert_eq!(user.primary_log("web"), Path::new(log));
        let record = "/home/u/.local/state/supervisor/state/web.json";
        assert_eq!(user.record("web"), Path::new(record));

        let bare =
            choose(Environment { uid: 7, state_dir: Some("/s".into()), ..Default::default() });
        assert_eq!(bare.files("web").socket().unwrap(), Path::new("/tmp/supervisor-7/web.sock"));
        let homeless = choose(Environment { uid: 7, ..Default::default() });
        assert_eq!(homeless.record("web"), Path::new("/tmp/supervisor-7/state/web.json"));
        assert_eq!(homeless.out_log("web"), Path::new("/tmp/supervisor-7/logs/web/out.log"));
    }

    #[test]
    fn a_read_only_folder_is_skipped() {
        let only = |writable: &'static str, uid| {
            let environment =
                Environment { uid, state_dir: Some("/h".into()), ..Default::default() };
            Home::choose(environment, move |path| path.starts_with(writable))
        };
        let memory = only("/dev/shm", 0);
        assert_eq!(
            memory.files("web").socket().unwrap(),
            Path::new("/dev/shm/supervisor-0/web.sock")
        );
        assert_eq!(memory.record("web"), Path::new("/dev/shm/supervisor-0/state/web.json"));
        assert_eq!(memory.out_log("web"), Path::new("/var/log/supervisor/web/out.log"));
        let tmp = only("/tmp", 7);
        assert_eq!(tmp.files("web").socket().unwrap(), Path::new("/tmp/supervisor-7/web.sock"));
        assert_eq!(tmp.record("web"), Path::new("/tmp/supervisor-7/state/web.json"));
        // If none can be used, the first stands, so that the refusal names the usual folder.
        assert_eq!(only("/none", 0).files("web").lock(), Path::new("/run/supervisor/web.lock"));
    }

    #[test]
    fn a_socket_path_has_a_limit() {
        let home = Home::under(Path::new("/srv"));
        let fits = "n".repeat(MAX_SOCKET_PATH - "/srv/run/.sock".len());
        assert_eq!(home.files(&fits).socket().unwrap().as_os_str().len(), MAX_SOCKET_PATH);
        let error = home.files(&format!("{fits}n")).socket().unwrap_err().to_string();
        assert!(error.contains("108 bytes") && error.contains("107"), "{error}");
    }

    #[test]
    fn folders_are_created_private() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        home.prepare().unwrap();
        home.prepare().unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().mode() & 0o777;
        assert_eq!((mode("run"), mode("state")), (0o700, 0o700));
        assert_eq!(mode("logs") & 0o027, 0);

        fs::set_permissions(dir.path().join("run"), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(home.prepare(), Err(HomeError::NotOurs { .. })));
    }

    #[test]
    fn a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/tmp", dir.path().join("run")).unwrap();
        let error = Home::under(dir.path()).prepare().unwrap_err().to_string();
        assert!(error.contains("not a folder"), "{error}");
    }

    #[test]
    fn names_come_from_sockets_locks_and_records() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        assert!(home.apps().unwrap().is_empty());
        home.prepare().unwrap();
        for path in [
            home.files("b").socket().unwrap(),
            home.files("a").lock(),
            home.files("b").lock(),
            &home.record("c"),
        ] {
            fs::write(path, "").unwrap();
        }
        fs::write(dir.path().join("run/other"), "").unwrap();
        fs::write(dir.path().join("state/.half.json"), "").unwrap();
        assert_eq!(home.apps().unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn one_lock_at_a_time_and_none_on_an_unlinked_file() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        home.prepare().unwrap();
        let held = home.files("web").take_lock().unwrap().expect("the lock is free");
        assert!(home.files("web").take_lock().unwrap().is_none());
        home.files("web").remove(&held).unwrap();
        let again = home.files("web").take_lock().unwrap().expect("a new file");
        assert!(home.files("web").take_lock().unwrap().is_none());
        drop(again);
        crate::sys::tests::eventually(|| home.files("web").take_lock().unwrap().is_some());
    }

    #[test]
    fn the_record_of_a_living_primary_says_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        home.prepare().unwrap();
        let pid = std::process::id();
        let mut record = Record::new(pid, Vec::new(), AppSpec::new("web", vec![], "/".into()));
        record.run = Some("/elsewhere".into());
        home.write_record("web", &record).unwrap();
        assert_eq!(home.files("web").lock(), home.run().join("web.lock"), "the primary is dead");
        record.primary_start_time = crate::sys::procfs::alive_since(pid);
        home.write_record("web", &record).unwrap();
        assert_eq!(home.files("web").lock(), Path::new("/elsewhere/web.lock"));
        assert_eq!(home.files("web").socket().unwrap(), Path::new("/elsewhere/web.sock"));
        assert_eq!(home.files("api").lock(), home.run().join("api.lock"));
    }

    #[test]
    fn a_lock_is_known_by_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        home.prepare().unwrap();
        let held = home.files("web").take_lock().unwrap().expect("the lock is free");
        assert!(home.files("web").is_lock(&held));
        fs::remove_file(home.files("web").lock()).unwrap();
        assert!(!home.files("web").is_lock(&held));
        let another = home.files("web").take_lock().unwrap().expect("a new file");
        assert!(!home.files("web").is_lock(&held) && home.files("web").is_lock(&another));
    }

    #[test]
    fn a_record_survives_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        home.prepare().unwrap();
        assert_eq!(home.read_record("web"), None);
        let workers = vec![RecordedWorker { pid: 2, start_time: 123, slot: 0, generation: 1 }];
        let record = Record::new(1, workers, AppSpec::new("web", vec!["true".into()], "/".into()));
        home.write_record("web", &record).unwrap();
        assert_eq!(home.read_record("web"), Some(record));
        assert_eq!(fs::metadata(home.record("web")).unwrap().mode() & 0o777, 0o600);
    }
}
