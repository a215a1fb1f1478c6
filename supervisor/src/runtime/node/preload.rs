//! What is put before a Node program so that it tells its event loop's delay and its heap: a file
//! in the run folder, named in the command by `--require`.
//!
//! Refuses to put it where Node could not read it, or would refuse to: there the program starts
//! without it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::spec::AppSpec;

use super::is_node_program;
use crate::runtime::Runtime;
use crate::snapshot::checksum;
use crate::sys::users;

/// The preload.
const TEXT: &str = include_str!("preload.js");
/// How often it reports, as it is written there.
const EVERY: Duration = Duration::from_secs(10);
/// In each `leak_window` it reports so often at least.
const IN_A_WINDOW: u32 = 60;

/// With these options Node reads no other file than it was told of, or runs no program at all.
const NOT_WITH: [&str; 6] = [
    "--permission",
    "--experimental-permission",
    "--snapshot-blob",
    "--build-snapshot",
    "--test",
    "--watch",
];

/// Whether a worker of this app is to be measured.
fn is_measured(spec: &AppSpec) -> bool {
    let refuses = |word: &str| NOT_WITH.iter().any(|option| word.starts_with(option));
    let inherited = std::env::var("NODE_OPTIONS").unwrap_or_default();
    let options = spec.env.get("NODE_OPTIONS").unwrap_or(&inherited);
    let own = spec.command.iter().skip(1).take_while(|word| word.starts_with('-'));
    spec.node
        && spec.node_metrics
        && is_node_program(&spec.command)
        && !own.map(String::as_str).chain(options.split_whitespace()).any(refuses)
}

/// The preload for an app.
fn text(spec: &AppSpec) -> String {
    let every = match spec.times.leak_window {
        Duration::ZERO => EVERY,
        window => EVERY.min(window / IN_A_WINDOW),
    };
    let written = |every: Duration| format!("const EVERY = {};", every.as_millis());
    TEXT.replace(&written(EVERY), &written(every))
}

/// The command with the preload in front of the program.
pub(in crate::runtime) fn put(mut argv: Vec<OsString>, preload: Option<&Path>) -> Vec<OsString> {
    if let Some(path) = preload {
        let mut option = OsString::from("--require=");
        option.push(path);
        argv.insert(1, option);
    }
    argv
}

impl Runtime {
    /// Where the preload is for a worker of this app; `None`: it starts without.
    pub(in crate::runtime) fn preload(&mut self, spec: &AppSpec) -> Option<PathBuf> {
        if !is_measured(spec) {
            return None;
        }
        let text = text(spec);
        // Primaries of several builds may share a run folder, each with its own preload.
        let path =
            self.recorder.home().preload(&format!("{:016x}", checksum(b"", text.as_bytes())));
        if let Err(error) = provide(&path, &text) {
            self.note(format!(
                "the event loop and the heap of Node workers are not measured: cannot write {}: {error}",
                path.display()
            ));
            return None;
        }
        let ours = spec.user.as_deref().is_none_or(|user| {
            users::resolve(user, spec.group.as_deref()).is_ok_and(|it| users::is_ourselves(&it))
        });
        if !ours && !anybody_reads(&path) {
            self.note(format!(
                "the event loop and the heap of Node workers are not measured: user {} cannot read {}",
                spec.user.as_deref().unwrap_or_default(),
                path.display()
            ));
            return None;
        }
        Some(path)
    }
}

/// Makes sure that the file is there and says what it should.
fn provide(path: &Path, wanted: &str) -> io::Result<()> {
    if fs::read(path).is_ok_and(|text| text == wanted.as_bytes()) {
        return Ok(());
    }
    // A worker that starts just now finds the whole file or none.
    let beside = path.with_extension(std::process::id().to_string());
    let mut file =
        fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o644).open(&beside)?;
    io::Write::write_all(&mut file, wanted.as_bytes())?;
    fs::rename(beside, path)
}

/// Whether others may enter every folder above it.
fn anybody_reads(path: &Path) -> bool {
    path.ancestors().skip(1).all(|folder| fs::metadata(folder).is_ok_and(|it| it.mode() & 1 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(line: &str) -> AppSpec {
        AppSpec::new("web", line.split(' ').map(str::to_owned).collect(), "/".into())
    }

    #[test]
    fn who_is_measured() {
        assert!(is_measured(&app("node app.js")));
        assert!(is_measured(&app("node --import tsx app.ts --test")));
        for no in ["node --permission app.js", "node --test a.js", "npm start", "node -e 1"] {
            assert!(!is_measured(&app(no)), "{no}");
        }
        let mut strict = app("node app.js");
        strict
            .env
            .insert("NODE_OPTIONS".to_owned(), "--max-http-header-size=9 --permission".into());
        assert!(!is_measured(&strict));
        assert!(!is_measured(&AppSpec { node_metrics: false, ..app("node app.js") }));
    }

    #[test]
    fn it_reports_often_enough_for_the_window() {
        let mut app = app("node app.js");
        assert_eq!(text(&app), TEXT);
        app.times.leak_window = Duration::from_secs(12);
        assert!(text(&app).contains("  const EVERY = 200; //"), "{}", text(&app));
        app.times.leak_window = Duration::ZERO;
        assert_eq!(text(&app), TEXT);
    }

    #[test]
    fn it_is_written_once_and_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("supervisor-node-1f.js");
        provide(&path, TEXT).unwrap();
        fs::write(&path, "half").unwrap();
        provide(&path, TEXT).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        for (mode, open) in [(0o755, true), (0o700, false)] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(folder.path(), mode).unwrap();
            assert_eq!(anybody_reads(&path), open);
        }
        let argv = put(vec!["node".into(), "app.js".into()], Some(&path));
        assert_eq!(argv[1], format!("--require={}", path.display()).as_str());
        assert_eq!(put(vec!["ls".into()], None).len(), 1);
    }
}
