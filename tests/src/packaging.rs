//! Packages of the program under test, made by the scripts of `packaging/`, other builds of it, and
//! a clean root to install them in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::run::{self, Outcome, Running};
use crate::{Home, fixtures, staging};

/// How long a script may take. It compresses the program.
const LIMIT: Duration = Duration::from_secs(300);
/// How long it may take to get a clean Debian.
const DEBOOTSTRAP: Duration = Duration::from_secs(600);
/// The bytes before the version in the binary (`supervisor/src/version.rs`).
const MARK: &[u8] = b"supervisor build version";
/// What a clean root has beside the essential packages: what the package depends on, and a runtime.
const INCLUDED: &str = "systemd-standalone-sysusers,nodejs";

/// A copy of the program under test with another version number.
pub fn build(home: &Home, version: &str) -> PathBuf {
    other_version(home, home.binary(), version)
}

fn other_version(home: &Home, program: &Path, version: &str) -> PathBuf {
    let mut bytes = fs::read(program).expect("the program under test");
    let places: Vec<usize> = bytes
        .windows(MARK.len() + 1)
        .enumerate()
        .filter(|(_, window)| window.starts_with(MARK) && window[MARK.len()].is_ascii_digit())
        .map(|(at, _)| at + MARK.len())
        .collect();
    let [place] = places[..] else { panic!("the version is in {} places", places.len()) };
    bytes[place..place + version.len()].copy_from_slice(version.as_bytes());
    bytes[place + version.len()] = 0;
    let path = home.path().join(format!("supervisor-{version}"));
    staging::write_program(&path, &bytes);
    path
}

/// The library that was built last: earlier ones need crates that have been built anew since.
fn newest_library(deps: &Path) -> Option<PathBuf> {
    let libraries = fs::read_dir(deps).ok()?.flatten().filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libsupervisor-") && name.ends_with(".rlib")
    });
    let built = |entry: &fs::DirEntry| entry.metadata().and_then(|meta| meta.modified()).ok();
    libraries.max_by_key(built).map(|entry| entry.path())
}

/// Makes packages of the program under test.
#[derive(Debug)]
pub struct Packager<'a> {
    home: &'a Home,
    program: PathBuf,
}

impl<'a> Packager<'a> {
    /// `None`, and a line on stderr, if one of these programs is not installed.
    pub fn new(home: &'a Home, needed: &[&str]) -> Option<Self> {
        for program in ["strip", "readelf"].iter().chain(needed) {
            fixtures::need(program)?;
        }
        // Debug information would be most of what the scripts compress.
        let program = home.path().join("supervisor");
        let mut strip = home.command_of("strip");
        strip.args(["--strip-debug", "-o"]).arg(&program).arg(home.built());
        run::spawn(&mut strip, home.path()).end(LIMIT).ok();
        Some(Self { home, program })
    }

    /// The program that is packed.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs `packaging/KIND` and returns the path of the package.
    pub fn make(&self, kind: &str) -> String {
        self.make_of(kind, &self.program, &[])
    }

    /// The same, made twice: the bytes do not depend on the time or a folder.
    pub fn make_twice(&self, kind: &str) -> String {
        let package = self.make(kind);
        let bytes = fs::read(&package).expect("the package");
        fs::remove_file(&package).expect("remove the package");
        assert_eq!(self.make(kind), package);
        assert!(bytes == fs::read(&package).expect("again"), "other bytes of {package}");
        package
    }

    /// The package of a build with this version.
    pub fn make_version(&self, kind: &str, version: &str) -> String {
        let program = other_version(self.home, &self.program, version);
        self.make_of(kind, &program, &["--version", version])
    }

    /// The package of a static build: the library of the program under test, linked once more with
    /// glibc as a part of it. That takes seconds; a build from nothing takes minutes.
    pub fn make_static(&self, kind: &str) -> String {
        let built = self.home.built();
        let deps = built.parent().expect("a folder").join("deps");
        let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("../supervisor/src/main.rs");
        let program = self.home.path().join("supervisor-static");
        let library = newest_library(&deps).expect("the library of the program under test");
        let mut rustc = Command::new("rustc");
        rustc.args([
            "--edition",
            "2024",
            "-C",
            "target-feature=+crt-static",
            "-C",
            "strip=debuginfo",
        ]);
        rustc.arg("--extern").arg(format!("supervisor={}", library.display()));
        rustc.arg("-L").arg(format!("dependency={}", deps.display()));
        run::spawn(rustc.arg(main).arg("-o").arg(&program), self.home.path()).end(LIMIT).ok();
        self.make_of(kind, &program, &[])
    }

    fn make_of(&self, kind: &str, program: &Path, more: &[&str]) -> String {
        let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
        let mut script = self.home.command_of(packaging.join(kind));
        script.arg("--binary").arg(program).args(more);
        script.arg("--output").arg(self.home.path().join("packages"));
        // How small the package becomes is not what is tested.
        script.env("DPKG_DEB_COMPRESSOR_TYPE", "gzip").env("DPKG_DEB_COMPRESSOR_LEVEL", "1");
        script.env("SOURCE_DATE_EPOCH", "1700000000");
        let made = run::spawn(&mut script, self.home.path()).end(LIMIT).ok();
        made.stdout.trim().to_owned()
    }
}

/// A clean Debian, installed once per machine. `None`, and a line on stderr, where that is not
/// possible; on CI the test fails.
pub fn debian() -> Option<&'static Path> {
    let debootstrap = fixtures::need("debootstrap")?;
    if !fixtures::need_root("install a clean Debian") {
        return None;
    }
    let _lock = staging::lock("debian");
    let folder: &'static Path = Box::leak(staging::root().join("debian").into_boxed_path());
    let mark = staging::root().join("debian-installed");
    if !fs::read_to_string(&mark).is_ok_and(|done| done == INCLUDED) {
        drop(fs::remove_dir_all(folder));
        let include = format!("--include={INCLUDED}");
        let mut command = Command::new(debootstrap);
        command.args(["--variant=minbase", include.as_str(), "bookworm"]).arg(folder);
        fixtures::installs(&mut command, staging::root(), DEBOOTSTRAP)?;
        fs::write(mark, INCLUDED).expect("remember what is installed");
    }
    Some(folder)
}

/// Runs a shell script as PID 1 of fresh namespaces, in a copy-on-write view of `root`. The script
/// sees the folder of the home, and the network of this machine.
pub fn in_clean_root(home: &Home, root: &Path, script: &str) -> Running {
    let script = home.write("in-clean-root.sh", script);
    let mut command = home.command_of("unshare");
    command.args(["--fork", "--kill-child", "--pid", "--mount", "--ipc", "--uts", "bash", "-c"]);
    command.arg(
        r#"set -e
        home=$1 root=$2 script=$3
        mount --make-rprivate /
        mkdir "$home/clean"
        mount -t tmpfs tmpfs "$home/clean"
        cd "$home/clean"
        mkdir upper work root
        mount -t overlay overlay -o "lowerdir=$root,upperdir=upper,workdir=work" root
        cd root
        mount -t proc proc proc
        mount --rbind /dev dev
        mkdir -p "./$home"
        mount --bind "$home" "./$home"
        exec env -u SUPERVISOR_HOME chroot . bash -e "$script""#,
    );
    command.arg("-").arg(home.path()).arg(root).arg(script);
    run::spawn(&mut command, home.path())
}

/// Waits for the end of what [`in_clean_root`] started.
#[track_caller]
pub fn ends_well(running: Running) -> Outcome {
    running.end(LIMIT).ok()
}
