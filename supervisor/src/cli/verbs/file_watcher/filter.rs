//! Which entries of a folder count.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::WalkBuilder;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// What no app wants to be reloaded for, as lines of a `.gitignore`: installed packages, caches of
/// compilers, and what programs and editors write beside the files of people. Hidden files and
/// folders (`.git`) are left out as well.
const USUAL: &[&str] = &[
    "node_modules/",
    "bower_components/",
    "__pycache__/",
    "*.pyc",
    "*.log",
    "*.pid",
    "*.sock",
    "*.tmp",
    "*~",
    "#*#",
    "*.swp",
    "*.swx",
    // Vim tries with this name whether it may write to a folder.
    "4913",
];

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Filter(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    patterns: Gitignore,
    leave_out: Vec<PathBuf>,
}

/// What counts in a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Each file, with the time of its last change in milliseconds since 1970.
    pub(super) files: BTreeMap<OsString, u64>,
    pub(super) folders: Vec<PathBuf>,
}

impl Filter {
    /// `folder`: that of the app. `ignore`: lines of a `.gitignore` there. `leave_out`: files, and
    /// folders with everything in them. Also returns what is wrong with the lines.
    pub(super) fn new(
        folder: &Path,
        ignore: &[String],
        leave_out: Vec<PathBuf>,
    ) -> (Self, Option<String>) {
        let mut builder = GitignoreBuilder::new(folder);
        let mut problem = None;
        let usual = USUAL.iter().map(|line| (*line).to_owned());
        for line in usual.chain(ignore.iter().cloned()) {
            if let Err(error) = builder.add_line(None, &line) {
                problem = Some(format!("watch_ignore {line:?} leaves nothing out: {error}"));
            }
        }
        let patterns = builder.build().unwrap_or_else(|_| Gitignore::empty());
        (Self(Arc::new(Rules { patterns, leave_out })), problem)
    }

    /// What counts in a folder. `.gitignore` files are read anew each time, those of the folders
    /// above it as well.
    pub(super) fn list(&self, folder: &Path) -> Listing {
        let rules = Arc::clone(&self.0);
        let entries = WalkBuilder::new(folder)
            .max_depth(Some(1))
            .require_git(false)
            .git_global(false)
            .filter_entry(move |entry| entry.depth() == 0 || rules.allow(entry))
            .build();
        let mut listing = Listing::default();
        // An entry that is gone by now, or a line of a .gitignore that is no pattern.
        for entry in entries.flatten().filter(|entry| entry.depth() > 0) {
            if is_folder(&entry) {
                listing.folders.push(entry.into_path());
            } else {
                let changed = entry.metadata().map_or(0, |metadata| changed_ms(&metadata));
                listing.files.insert(entry.file_name().to_owned(), changed);
            }
        }
        listing
    }
}

impl Rules {
    fn allow(&self, entry: &ignore::DirEntry) -> bool {
        let path = entry.path();
        !self.leave_out.iter().any(|left_out| left_out == path)
            && !self.patterns.matched(path, is_folder(entry)).is_ignore()
    }
}

fn is_folder(entry: &ignore::DirEntry) -> bool {
    entry.file_type().is_some_and(|kind| kind.is_dir())
}

/// When a file has last changed or got its name, in milliseconds since 1970.
pub(super) fn changed_ms(metadata: &fs::Metadata) -> u64 {
    let ms =
        metadata.ctime().saturating_mul(1000).saturating_add(metadata.ctime_nsec() / 1_000_000);
    u64::try_from(ms).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        // Above it may be anything.
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn names(listing: &Listing) -> Vec<String> {
        let files = listing.files.keys().map(|name| name.to_string_lossy().into_owned());
        let folder = |path: &PathBuf| format!("{}/", path.file_name().unwrap().to_string_lossy());
        let mut names: Vec<String> = files.chain(listing.folders.iter().map(folder)).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_left_out() {
        let dir = folder(&[
            ("app.js", ""),
            ("app.js~", ""),
            ("lib/a.js", ""),
            ("node_modules/x/index.js", ""),
            (".git/HEAD", ""),
            (".env", ""),
            ("__pycache__/a.pyc", ""),
            ("dist/a.js", ""),
            ("logs/out", ""),
            ("uploads/1", ""),
            (".gitignore", "dist/\n"),
        ]);
        let own = dir.path().join("logs");
        let (filter, problem) = Filter::new(dir.path(), &["uploads/".to_owned()], vec![own]);
        assert_eq!(problem, None);
        assert_eq!(names(&filter.list(dir.path())), ["app.js", "lib/"]);
        // A folder that is asked for itself counts.
        assert_eq!(names(&filter.list(&dir.path().join("dist"))), ["a.js"]);
    }

    #[test]
    fn a_gitignore_holds_below_its_folder_and_from_now_on() {
        let dir = folder(&[
            ("lib/a.js", ""),
            ("lib/a.gen.js", ""),
            ("lib/deep/b.gen.js", ""),
            (".gitignore", "*.gen.js\n"),
            ("lib/deep/.gitignore", "!b.gen.js\n"),
        ]);
        let (filter, _) = Filter::new(dir.path(), &[], Vec::new());
        assert_eq!(names(&filter.list(&dir.path().join("lib"))), ["a.js", "deep/"]);
        assert_eq!(names(&filter.list(&dir.path().join("lib/deep"))), ["b.gen.js"]);
        fs::write(dir.path().join(".gitignore"), "").unwrap();
        assert_eq!(names(&filter.list(&dir.path().join("lib"))), ["a.gen.js", "a.js", "deep/"]);
    }

    #[test]
    fn a_pattern_of_the_app_can_bring_back_what_is_usually_left_out() {
        let dir = folder(&[("audit.log", ""), ("other.log", "")]);
        let (filter, _) = Filter::new(dir.path(), &["!audit.log".to_owned()], Vec::new());
        assert_eq!(names(&filter.list(dir.path())), ["audit.log"]);
        let (_, problem) = Filter::new(dir.path(), &["a{b".to_owned()], Vec::new());
        assert!(problem.unwrap().starts_with("watch_ignore \"a{b\" leaves nothing out: "));
    }
}
