//! Node programs that need packages. The packages are installed once, at test time and outside the
//! checkout, in the versions that fixtures/node/apps/package.json names. The programs are copied
//! beside them, since Node looks for packages from the program's own folder upwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{fixtures, staging};

/// How long npm may take to install all packages.
const LIMIT: Duration = Duration::from_secs(300);

/// The path of a program of fixtures/node/apps, with its packages beside it. `None`, and a line on
/// stderr, if they cannot be installed; on CI the test fails.
pub fn app(program: &str) -> Option<String> {
    let folder = staging::root().join("npm");
    let source = fixtures::file("node/apps");
    let npm = fixtures::need("npm")?;
    let _lock = staging::lock("npm");
    staging::copy_folder(Path::new(&source), &folder);
    install(&npm, &folder)?;
    let path = folder.join(program);
    assert!(path.exists(), "no program {}", path.display());
    Some(path.display().to_string())
}

/// The folder of an example, copied out of the checkout with the Node client that it needs, and
/// with its packages installed. `None` as above.
pub fn example(name: &str) -> Option<PathBuf> {
    let npm = fixtures::need("npm")?;
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let copy = staging::root().join("examples");
    let _lock = staging::lock("examples");
    let parts = [format!("examples/{name}"), "worker/node".to_owned()];
    for part in parts {
        staging::copy_folder(&checkout.join(&part), &copy.join(part));
    }
    let folder = copy.join("examples").join(name);
    install(&npm, &folder)?;
    Some(folder)
}

/// Installs the packages of package.json, unless they are installed already.
fn install(npm: &str, folder: &Path) -> Option<()> {
    let wanted = fs::read_to_string(folder.join("package.json")).expect("read package.json");
    let mark = folder.join("installed");
    if fs::read_to_string(&mark).is_ok_and(|done| done == wanted) {
        return Some(());
    }
    let mut command = Command::new(npm);
    command.args(["install", "--no-audit", "--no-fund", "--omit=dev"]).current_dir(folder);
    fixtures::installs(&mut command, folder, LIMIT)?;
    fs::write(mark, wanted).expect("remember what is installed");
    Some(())
}
