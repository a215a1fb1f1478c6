//! What is put before a Node program so that it reports its event loop's delay and its heap, and
//! ends its kept connections when it drains, and ends when it has no work left: a file in the run
//! folder, named in the command by `--require`.
//!
//! Refuses to put it where Node could not read it, or would refuse to: there the program starts
//! without it.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::spec::AppSpec;

use super::is_node_program;
use crate::home::Home;
use crate::runtime::notes::Notes;
use crate::snapshot::checksum;
use crate::sys::{accounts, users};

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

/// Whether a worker of this app gets the preload.
fn is_wanted(spec: &AppSpec) -> bool {
    let refuses = |word: &str| NOT_WITH.iter().any(|option| word.starts_with(option));
    let inherited = std::env::var("NODE_OPTIONS").unwrap_or_default();
    let options = spec.env.get("NODE_OPTIONS").unwrap_or(&inherited);
    let own = spec.command.iter().skip(1).take_while(|word| word.starts_with('-'));
    spec.node
        && (spec.node_metrics || spec.node_drain)
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
    let text = TEXT.replace(&written(EVERY), &written(every));
    let switches = [("MEASURES", spec.node_metrics), ("CLOSES", spec.node_drain)];
    switches.into_iter().filter(|(_, on)| !on).fold(text, |text, (name, _)| {
        text.replace(&format!("const {name} = true;"), &format!("const {name} = false;"))
    })
}

/// Puts the preload in front of the program.
pub(in crate::runtime) fn put(argv: &mut Vec<OsString>, path: &Path) {
    let mut option = OsString::from("--require=");
    option.push(path);
    argv.insert(1, option);
}

/// Where the preload is for a worker of this app; `None`: it starts without.
pub(in crate::runtime) fn prepare(
    spec: &AppSpec,
    home: &Home,
    notes: &mut Notes,
) -> Option<PathBuf> {
    if !is_wanted(spec) {
        return None;
    }
    let text = text(spec);
    // Primaries of several builds may share a folder, each with its own preload.
    let paths = home.preloads(&format!("{:016x}", checksum(b"", text.as_bytes())));
    let ours = spec.user.as_deref().is_none_or(|user| {
        accounts::identity(user, spec.group.as_deref())
            .is_ok_and(|identity| users::is_ourselves(&identity))
    });
    match place(home, paths, &text, ours) {
        Ok(path) => Some(path),
        Err(why) => {
            notes.note(format!(
                "Node workers keep their connections when they drain, and are not measured: {why}"
            ));
            None
        }
    }
}

/// Puts the preload where the workers can read it: our own folder, or the one for every user.
/// `ours`: the workers are of our own user.
fn place(
    home: &Home,
    [own, public]: [PathBuf; 2],
    text: &str,
    ours: bool,
) -> Result<PathBuf, String> {
    let cannot = |path: &Path, error: &dyn Display| {
        format!("cannot write {} for them: {error}", path.display())
    };
    if ours || anybody_reads(&own) {
        return provide(&own, text).map_err(|error| cannot(&own, &error)).map(|()| own);
    }
    home.prepare_public().map_err(|error| cannot(&public, &error))?;
    provide(&public, text).map_err(|error| cannot(&public, &error)).map(|()| public)
}

/// Makes sure that the file is there and says what it should.
fn provide(path: &Path, wanted: &str) -> io::Result<()> {
    // Reading a fifo would wait for a writer.
    if path.is_file() && fs::read(path).is_ok_and(|text| text == wanted.as_bytes()) {
        return Ok(());
    }
    // A worker that starts just now finds the whole file or none.
    let beside = path.with_extension(std::process::id().to_string());
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o644)
        .custom_flags(libc::O_NONBLOCK)
        .open(&beside)?;
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
    fn who_is_wanted() {
        assert!(is_wanted(&app("node app.js")));
        assert!(is_wanted(&app("node --import tsx app.ts --test")));
        for no in ["node --permission app.js", "node --test a.js", "npm start", "node -e 1"] {
            assert!(!is_wanted(&app(no)), "{no}");
        }
        let mut strict = app("node app.js");
        strict
            .env
            .insert("NODE_OPTIONS".to_owned(), "--max-http-header-size=9 --permission".into());
        assert!(!is_wanted(&strict));
        let switched =
            |node_metrics, node_drain| AppSpec { node_metrics, node_drain, ..app("node a.js") };
        assert!(is_wanted(&switched(false, true)) && is_wanted(&switched(true, false)));
        assert!(!is_wanted(&switched(false, false)));
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
    fn each_half_can_be_switched_off() {
        let app =
            |node_metrics, node_drain| AppSpec { node_metrics, node_drain, ..app("node a.js") };
        assert!(TEXT.contains("const MEASURES = true;") && TEXT.contains("const CLOSES = true;"));
        let (measures, closes) = (text(&app(true, false)), text(&app(false, true)));
        assert!(measures.contains("const MEASURES = true;"), "{measures}");
        assert!(measures.contains("const CLOSES = false;"), "{measures}");
        assert!(closes.contains("const MEASURES = false;"), "{closes}");
        assert!(closes.contains("const CLOSES = true;"), "{closes}");
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
        let mut argv = vec!["node".into(), "app.js".into()];
        put(&mut argv, &path);
        let option = OsString::from(format!("--require={}", path.display()));
        assert_eq!(argv, ["node".into(), option, "app.js".into()]);
    }
}
