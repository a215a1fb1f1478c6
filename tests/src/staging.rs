//! A world-readable folder for the fixtures, for what is built of them, and for copies of the
//! binary, since ordinary users may not be able to read the checkout. Its path is short, so that
//! paths of unix sockets fit. One process at a time changes each part of it.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder, created at the first call. There is one for each user and checkout.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let mut hasher = DefaultHasher::new();
        env!("CARGO_MANIFEST_DIR").hash(&mut hasher);
        let uid = nix::unistd::getuid();
        let name = format!("supervisor-tests-{uid}-{:08x}", hasher.finish() as u32);
        let path = Path::new("/tmp").join(name);
        let made = DirBuilder::new().mode(0o755).create(&path);
        let owner = fs::symlink_metadata(&path).map(|m| (m.is_dir(), m.uid()));
        match (made, owner) {
            (_, Ok((true, owner))) if owner == uid.as_raw() => {}
            (made, owner) => panic!("cannot use {}: {made:?}, {owner:?}", path.display()),
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .expect("chmod the staging folder");
        path
    })
}

/// A lock to hold while changing `part` of the folder. Each part has its own: a test that needs
/// a copy of the program does not wait for pip.
pub fn lock(part: &str) -> File {
    let path = root().join(format!("{part}.lock"));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .unwrap_or_else(|e| panic!("open {}: {e}", path.display()));
    file.lock().unwrap_or_else(|e| panic!("lock {}: {e}", path.display()));
    file
}

/// The folder of fixtures, brought up to date once per process.
pub fn fixtures() -> &'static Path {
    static FIXTURES: OnceLock<PathBuf> = OnceLock::new();
    FIXTURES.get_or_init(|| {
        let _lock = lock("fixtures");
        let target = root().join("fixtures");
        copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"), &target);
        target
    })
}

/// A world-readable copy of a program of this build.
pub fn program(built: &Path) -> PathBuf {
    let _lock = lock("bin");
    let name = built.file_name().expect("a program has a name");
    let profile = built.parent().and_then(Path::file_name).expect("a build has a profile");
    let folder = root().join("bin").join(profile);
    make_folder(&folder);
    let target = folder.join(name);
    let meta = fs::metadata(built).unwrap_or_else(|e| panic!("{}: {e}", built.display()));
    // The copy has the time of the original, so that a newer build is noticed.
    let same = fs::metadata(&target)
        .is_ok_and(|copy| copy.len() == meta.len() && copy.modified().ok() == meta.modified().ok());
    if !same {
        let fresh = folder.join(format!("{}.new", name.display()));
        let original = File::open(built).unwrap_or_else(|e| panic!("{}: {e}", built.display()));
        install(&fresh, original);
        File::open(&fresh)
            .and_then(|f| f.set_modified(meta.modified()?))
            .expect("set the time of the copy");
        fs::rename(&fresh, &target).expect("put the copy in its place");
    }
    target
}

/// Writes a program that can run at once.
pub fn write_program(path: &Path, bytes: &[u8]) {
    let mut content = tempfile::tempfile().expect("make a file for a program");
    content.write_all(bytes).and_then(|()| content.rewind()).expect("write a program");
    install(path, content);
}

/// Copies a program that can run at once.
pub fn copy_program(from: &Path, to: &Path) {
    install(to, File::open(from).unwrap_or_else(|e| panic!("open {}: {e}", from.display())));
}

/// Copies what is to be read from `content` to `path`, as a program. Another process does it: if a
/// file were open for writing in this one, a child that another thread is just starting would have
/// it open for a moment, too, and the program could not run (ETXTBSY).
fn install(path: &Path, content: File) {
    let status = Command::new("install")
        .args(["-m", "755", "/dev/stdin"])
        .arg(path)
        .stdin(content)
        .status()
        .expect("run install");
    assert!(status.success(), "install {}: {status}", path.display());
}

/// Creates a folder that everybody may read.
pub fn make_folder(path: &Path) {
    fs::create_dir_all(path).unwrap_or_else(|e| panic!("make {}: {e}", path.display()));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod a folder");
}

/// Copies a folder with everything in it. Files that have not changed keep their time.
pub fn copy_folder(from: &Path, to: &Path) {
    make_folder(to);
    let entries = fs::read_dir(from).unwrap_or_else(|e| panic!("read {}: {e}", from.display()));
    for entry in entries {
        let entry = entry.expect("read a folder");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a file has a type").is_dir() {
            copy_folder(&entry.path(), &target);
            continue;
        }
        let bytes = fs::read(entry.path()).expect("read a fixture");
        if fs::read(&target).ok().as_deref() != Some(&bytes) {
            fs::write(&target, &bytes).expect("write a fixture");
            fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).expect("chmod");
        }
    }
}
