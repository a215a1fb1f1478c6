//! The folders that are watched, and the files in them.
//!
//! Each folder is watched by itself, and only if something in it counts: a folder that is left out
//! costs no watch. Of each the names are known, so that a file that is gone is missed only if it
//! counted.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use notify::{ErrorKind, RecursiveMode, Watcher};

use super::events::Changed;
use super::filter::{Filter, Listing, changed_ms};
use super::seen::Seen;
use crate::runtime::WatchOrder;

/// The most folders.
const MOST_FOLDERS: usize = 8192;

/// See the module.
#[derive(Debug)]
pub(super) struct Tree<W> {
    watcher: W,
    filter: Filter,
    roots: Vec<Root>,
    folders: BTreeMap<PathBuf, Folder>,
    /// What is wrong with the order.
    complaint: Option<String>,
    /// Why a folder is not watched.
    obstacle: Option<String>,
}

/// What is to be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Root {
    path: PathBuf,
    /// It did not exist at the last look.
    is_missing: bool,
}

/// A folder that is watched.
#[derive(Debug, Default)]
struct Folder {
    files: BTreeSet<OsString>,
    /// All files in it count that are not left out.
    is_whole: bool,
    /// These files count in any case.
    named: BTreeSet<OsString>,
}

/// From when on a file in a folder that is new counts as changed.
#[derive(Debug, Clone, Copy)]
enum Counts {
    /// In any case.
    Always,
    /// If it has changed since this time, in milliseconds since 1970.
    Since(u64),
}

impl Counts {
    fn counts(self, changed_ms: u64) -> bool {
        match self {
            Self::Always => true,
            Self::Since(since) => changed_ms >= since,
        }
    }
}

impl<W: Watcher> Tree<W> {
    /// A tree in which nothing is watched yet.
    pub(super) fn new(watcher: W, order: WatchOrder) -> Self {
        let WatchOrder { folder, paths, arguments, ignore, leave_out, since_ms: _ } = order;
        let (filter, complaint) = Filter::new(&folder, &ignore, leave_out);
        let mut roots: Vec<PathBuf> = paths.iter().map(|path| folder.join(path)).collect();
        if roots.is_empty() {
            let files = arguments.iter().map(|argument| folder.join(argument));
            let ran = files.filter(|path| path.is_file()).filter_map(|path| {
                let parent = path.parent()?;
                parent.starts_with(&folder).then(|| parent.to_owned())
            });
            roots.extend(ran);
            roots.insert(0, folder);
        }
        let mut known = BTreeSet::new();
        roots.retain(|path| known.insert(path.clone()));
        let root = |path| Root { path, is_missing: true };
        Self {
            watcher,
            filter,
            roots: roots.into_iter().map(root).collect(),
            folders: BTreeMap::new(),
            complaint,
            obstacle: None,
        }
    }

    /// How many folders are watched.
    pub(super) fn folders(&self) -> u32 {
        u32::try_from(self.folders.len()).unwrap_or(u32::MAX)
    }

    /// Why not everything is watched.
    pub(super) fn problem(&self) -> Option<String> {
        let missing = self.roots.iter().find(|root| root.is_missing);
        let missing = missing.map(|root| {
            format!("cannot watch {}: it does not exist, or cannot be read", root.path.display())
        });
        self.obstacle.clone().or(missing).or_else(|| self.complaint.clone())
    }

    /// Whether something is to be watched that does not exist.
    pub(super) fn has_missing(&self) -> bool {
        self.roots.iter().any(|root| root.is_missing)
    }

    /// Begins to watch. A file counts as changed if it has changed since `since_ms`.
    pub(super) fn begin(&mut self, since_ms: u64, seen: &mut Seen) {
        self.add_roots(Counts::Since(since_ms), seen);
    }

    /// Looks for what did not exist. A path that has appeared counts as changed.
    pub(super) fn look_for_missing(&mut self, seen: &mut Seen) {
        self.add_roots(Counts::Always, seen);
    }

    /// Takes what has changed. `since_ms`: when the tree must look at everything, what has changed
    /// since then counts.
    pub(super) fn take(&mut self, changed: Changed, since_ms: u64, seen: &mut Seen) {
        let mut names = changed.names;
        if changed.everything {
            names = self.folders.keys().map(|path| (path.clone(), BTreeSet::new())).collect();
        }
        let again = changed.everything.then_some(since_ms);
        for (folder, names) in names {
            if self.folders.contains_key(&folder) {
                self.look(&folder, &names, again, seen);
            }
        }
        // A root may be gone, or have come back.
        let gone: Vec<PathBuf> = self
            .roots
            .iter()
            .filter(|root| !root.is_missing && fs::symlink_metadata(&root.path).is_err())
            .map(|root| root.path.clone())
            .collect();
        for path in gone {
            self.remove(&path, seen);
            self.roots.iter_mut().filter(|root| root.path == path).for_each(|root| {
                root.is_missing = true;
            });
        }
        self.add_roots(Counts::Always, seen);
    }

    fn add_roots(&mut self, counts: Counts, seen: &mut Seen) {
        for at in 0..self.roots.len() {
            if !self.roots[at].is_missing {
                continue;
            }
            let path = self.roots[at].path.clone();
            let Ok(metadata) = fs::metadata(&path) else { continue };
            self.roots[at].is_missing = false;
            if metadata.is_dir() {
                self.add(path, counts, seen);
            } else if counts.counts(changed_ms(&metadata)) {
                self.add_file(&path);
                seen.add(&path);
            } else {
                self.add_file(&path);
            }
        }
    }

    /// Watches a single file, by its folder.
    fn add_file(&mut self, path: &Path) {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return };
        if !self.folders.contains_key(parent) {
            if !self.subscribe(parent) {
                return;
            }
            self.folders.insert(parent.to_owned(), Folder::default());
        }
        if let Some(folder) = self.folders.get_mut(parent) {
            folder.files.insert(name.to_owned());
            folder.named.insert(name.to_owned());
        }
    }

    /// Watches a folder, and those in it that count. First the watch, then the look: what changes
    /// meanwhile is reported.
    fn add(&mut self, folder: PathBuf, counts: Counts, seen: &mut Seen) {
        let mut waiting = vec![folder];
        while let Some(folder) = waiting.pop() {
            let is_whole = self.folders.get(&folder).is_some_and(|known| known.is_whole);
            if is_whole || !self.subscribe(&folder) {
                continue;
            }
            let Listing { files, folders } = self.filter.list(&folder);
            for (name, _) in files.iter().filter(|(_, changed)| counts.counts(**changed)) {
                seen.add(&folder.join(name));
            }
            let known = self.folders.entry(folder).or_default();
            known.files.extend(files.into_keys());
            known.is_whole = true;
            waiting.extend(folders);
        }
    }

    /// Looks at a folder in which something has changed. `again`: not only these names.
    fn look(
        &mut self,
        folder: &Path,
        names: &BTreeSet<OsString>,
        again: Option<u64>,
        seen: &mut Seen,
    ) {
        let Some(known) = self.folders.get_mut(folder) else { return };
        let mut listing = match known.is_whole {
            true => self.filter.list(folder),
            false => Listing::default(),
        };
        listing.files.extend(known.named.iter().filter_map(|name| {
            let metadata = fs::symlink_metadata(folder.join(name)).ok()?;
            Some((name.clone(), changed_ms(&metadata)))
        }));
        let is_newer = |name: &OsString| {
            again.is_some_and(|since| listing.files.get(name).is_some_and(|at| *at >= since))
        };
        let files: BTreeSet<OsString> = listing.files.keys().cloned().collect();
        for name in files.union(&known.files) {
            let came_or_went = files.contains(name) != known.files.contains(name);
            if came_or_went || names.contains(name) || is_newer(name) {
                seen.add(&folder.join(name));
            }
        }
        known.files = files;
        // A folder whose name was reported has come, gone, or been replaced.
        let is_below = |path: &&PathBuf| path.parent() == Some(folder);
        let is_root = |path: &PathBuf| self.roots.iter().any(|root| root.path == *path);
        let below: Vec<PathBuf> = self.folders.keys().filter(is_below).cloned().collect();
        let old = below.into_iter().filter(|path| {
            let is_named = path.file_name().is_some_and(|name| names.contains(name));
            is_named || (!listing.folders.contains(path) && !is_root(path))
        });
        for path in old.collect::<Vec<_>>() {
            self.remove(&path, seen);
        }
        for path in listing.folders {
            self.add(path, Counts::Always, seen);
        }
    }

    /// Watches a folder and those below it no more. Their files are gone, or count as changed when
    /// they are found again.
    fn remove(&mut self, folder: &Path, seen: &mut Seen) {
        let gone = self.folders.keys().filter(|path| path.starts_with(folder));
        for path in gone.cloned().collect::<Vec<_>>() {
            // The kernel ends the watch of a folder that is deleted.
            let _ = self.watcher.unwatch(&path);
            if let Some(Folder { files, .. }) = self.folders.remove(&path) {
                files.iter().for_each(|name| seen.add(&path.join(name)));
            }
        }
    }

    /// Has the kernel watch a folder. Returns whether it does.
    fn subscribe(&mut self, folder: &Path) -> bool {
        if self.folders.contains_key(folder) {
            return true;
        }
        if self.folders.len() >= MOST_FOLDERS {
            self.obstacle = Some(format!(
                "{MOST_FOLDERS} folders are watched, and no more: {} is not; name the folders that \
                 matter in watch, or leave some out with watch_ignore",
                folder.display()
            ));
            return false;
        }
        let Err(error) = self.watcher.watch(folder, RecursiveMode::NonRecursive) else {
            return true;
        };
        match error.kind {
            // It is gone again.
            ErrorKind::PathNotFound => {}
            ErrorKind::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            ErrorKind::MaxFilesWatch => {
                self.obstacle = Some(format!(
                    "cannot watch {}: this user has no inotify watches left; leave folders out with \
                     watch_ignore, or have root raise fs.inotify.max_user_watches with sysctl",
                    folder.display()
                ));
            }
            ErrorKind::Io(error) => {
                self.obstacle = Some(format!("cannot watch {}: {error}", folder.display()));
            }
            other => {
                self.obstacle = Some(format!("cannot watch {}: {other:?}", folder.display()));
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::{Config, EventHandler, WatcherKind};

    /// Counts what is watched.
    #[derive(Debug, Default)]
    struct Counting {
        watched: BTreeSet<PathBuf>,
        /// The kernel has no more watches than this.
        most: Option<usize>,
    }

    impl Watcher for Counting {
        fn new<F: EventHandler>(_: F, _: Config) -> notify::Result<Self> {
            Ok(Self::default())
        }

        fn watch(&mut self, path: &Path, mode: RecursiveMode) -> notify::Result<()> {
            assert_eq!(mode, RecursiveMode::NonRecursive);
            if self.most.is_some_and(|most| self.watched.len() >= most) {
                return Err(notify::Error::new(ErrorKind::MaxFilesWatch));
            }
            assert!(self.watched.insert(path.to_owned()), "{} twice", path.display());
            Ok(())
        }

        fn unwatch(&mut self, path: &Path) -> notify::Result<()> {
            self.watched.remove(path);
            Ok(())
        }

        fn kind() -> WatcherKind {
            WatcherKind::NullWatcher
        }
    }

    /// An app with files, and what watches it.
    struct App {
        dir: tempfile::TempDir,
        tree: Tree<Counting>,
        seen: Seen,
    }

    impl App {
        fn new(files: &[&str], order: impl FnOnce(&mut WatchOrder)) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let mut wanted = WatchOrder {
                folder: dir.path().to_owned(),
                paths: Vec::new(),
                arguments: Vec::new(),
                ignore: Vec::new(),
                leave_out: Vec::new(),
                since_ms: u64::MAX,
            };
            order(&mut wanted);
            let seen = Seen::new(wanted.folder.clone());
            let mut app = Self { dir, tree: Tree::new(Counting::default(), wanted), seen };
            files.iter().for_each(|name| app.write(name));
            app
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&mut self, name: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }

        fn begin(&mut self) -> Vec<String> {
            self.tree.begin(u64::MAX, &mut self.seen);
            self.told()
        }

        /// Takes the events for these names.
        fn change(&mut self, names: &[&str]) -> Vec<String> {
            let mut changed = Changed::default();
            for name in names {
                changed.add(self.path(name));
            }
            self.tree.take(changed, u64::MAX, &mut self.seen);
            self.told()
        }

        fn told(&mut self) -> Vec<String> {
            self.seen.take(0, None, 0).named
        }

        fn watched(&self) -> Vec<String> {
            let watched = self.tree.watcher.watched.iter();
            let name = |path: &PathBuf| path.strip_prefix(self.dir.path()).unwrap().to_owned();
            watched.map(|path| name(path).display().to_string()).collect()
        }
    }

    #[test]
    fn folders_that_are_left_out_cost_nothing() {
        let mut app =
            App::new(&["a.js", "lib/b.js", "node_modules/x/y/z.js", ".git/objects/1"], |_| {});
        assert_eq!(app.begin(), [""; 0]);
        assert_eq!(app.watched(), ["", "lib"]);
        assert_eq!(app.tree.problem(), None);
        app.write("node_modules/new/a.js");
        assert_eq!(app.change(&["node_modules", "a.log"]), [""; 0]);
        assert_eq!(app.change(&["lib/b.js"]), ["lib/b.js"]);
    }

    #[test]
    fn new_and_old_folders_and_files_are_followed() {
        let mut app = App::new(&["a.js"], |_| {});
        app.begin();
        app.write("lib/deep/b.js");
        assert_eq!(app.change(&["lib"]), ["lib/deep/b.js"]);
        assert_eq!(app.watched(), ["", "lib", "lib/deep"]);
        fs::remove_file(app.path("a.js")).unwrap();
        assert_eq!(app.change(&["a.js"]), ["a.js"]);
        assert_eq!(app.change(&["a.js"]), [""; 0], "it is gone already");
        // A folder that is replaced is another one for the kernel.
        fs::rename(app.path("lib"), app.path("old")).unwrap();
        app.write("lib/c.js");
        assert_eq!(app.change(&["lib", "old"]), ["lib/c.js", "lib/deep/b.js", "old/deep/b.js"]);
        assert_eq!(app.watched(), ["", "lib", "old", "old/deep"]);
        fs::remove_dir_all(app.path("old")).unwrap();
        assert_eq!(app.change(&["old"]), ["old/deep/b.js"]);
        assert_eq!(app.watched(), ["", "lib"]);
    }

    #[test]
    fn single_files_and_what_is_asked_for_in_ignored_folders() {
        let paths = [".env", "dist"].map(PathBuf::from).to_vec();
        let mut app = App::new(&[".env", "other.js", "dist/a.js"], |order| order.paths = paths);
        fs::write(app.path(".gitignore"), "dist\n").unwrap();
        app.begin();
        assert_eq!(app.watched(), ["", "dist"]);
        assert_eq!(app.change(&[".env", "other.js", "dist/a.js"]), [".env", "dist/a.js"]);
        fs::remove_file(app.path(".env")).unwrap();
        assert_eq!(app.change(&[".env"]), [".env"]);
        assert!(app.tree.has_missing() && app.tree.problem().unwrap().contains(".env"));
        app.write(".env");
        app.tree.look_for_missing(&mut app.seen);
        assert_eq!(app.told(), [".env"]);
        assert_eq!((app.tree.has_missing(), app.tree.problem()), (false, None));
    }

    #[test]
    fn the_folder_of_the_script_is_watched_even_if_git_leaves_it_out() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["dist/server.js", "src/server.ts"] {
            fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::write(dir.path().join(".gitignore"), "dist/\n").unwrap();
        let mut app = App::new(&[], |order| {
            order.folder = dir.path().to_owned();
            order.arguments = ["--inspect", "dist/server.js"].map(str::to_owned).to_vec();
        });
        app.begin();
        assert_eq!(app.tree.folders(), 3);
        assert!(app.tree.watcher.watched.contains(&dir.path().join("dist")));
    }

    #[test]
    fn no_more_watches_are_a_problem_that_is_told() {
        let mut app = App::new(&["a/1", "b/1", "c/1"], |_| {});
        app.tree.watcher.most = Some(2);
        app.begin();
        let problem = app.tree.problem().unwrap();
        assert!(problem.contains("fs.inotify.max_user_watches"), "{problem}");
        assert_eq!(app.tree.folders(), 2);
    }

    #[test]
    fn when_events_were_lost_what_is_newer_counts() {
        let mut app = App::new(&["a.js", "b.js"], |_| {});
        app.begin();
        let lost = || {
            let mut changed = Changed::default();
            changed.lose();
            changed
        };
        app.tree.take(lost(), u64::MAX, &mut app.seen);
        assert_eq!(app.told(), [""; 0]);
        app.write("lib/c.js");
        fs::remove_file(app.path("b.js")).unwrap();
        app.tree.take(lost(), u64::MAX, &mut app.seen);
        assert_eq!(app.told(), ["b.js", "lib/c.js"]);
        app.tree.take(lost(), 0, &mut app.seen);
        assert_eq!(app.told(), ["a.js", "lib/c.js"]);
    }
}
