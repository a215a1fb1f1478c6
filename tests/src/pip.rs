//! Python servers that need packages. The packages are installed once, at test time and outside
//! the checkout, into a virtual environment.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::{fixtures, run, staging};

/// How long pip may take to install all packages.
const LIMIT: Duration = Duration::from_secs(300);

/// The path of gunicorn in the version of fixtures/gunicorn/requirements.txt. `None`, and a line on
/// stderr, if it cannot be installed; on CI the test fails.
pub fn gunicorn() -> Option<String> {
    let python = fixtures::need("python3")?;
    let source = fixtures::file("gunicorn/requirements.txt");
    let _lock = staging::lock();
    let folder = staging::root().join("pip");
    let wanted = fs::read_to_string(&source).expect("read requirements.txt");
    let mark = folder.join("installed");
    if !fs::read_to_string(&mark).is_ok_and(|done| done == wanted) {
        let pip = folder.join("bin/pip").display().to_string();
        let target = folder.display().to_string();
        call(&[&python, "-m", "venv", &target])?;
        call(&[&pip, "install", "--quiet", "-r", &source])?;
        fs::write(mark, wanted).expect("remember what is installed");
    }
    Some(folder.join("bin/gunicorn").display().to_string())
}

fn call(command: &[&str]) -> Option<()> {
    let mut process = Command::new(command[0]);
    process.args(&command[1..]);
    let outcome = run::spawn(&mut process, Path::new(staging::root())).end(LIMIT);
    if outcome.code == Some(0) {
        return Some(());
    }
    let reason = outcome.stderr.trim();
    assert!(!fixtures::on_ci(), "{command:?} failed, and on CI it must not: {reason}");
    eprintln!("SKIPPED: the packages cannot be installed here: {reason}");
    None
}
