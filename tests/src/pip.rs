//! Python programs that need packages. The packages are installed once, at test time and outside
//! the checkout, into a virtual environment, in the versions that fixtures/servers/requirements.txt
//! names.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::{fixtures, staging};

/// How long pip may take to install all packages.
const LIMIT: Duration = Duration::from_secs(600);

/// The path of a program of the virtual environment, such as `python` or `gunicorn`. `None`, and a
/// line on stderr, if the packages cannot be installed; on CI the test fails.
pub fn program(name: &str) -> Option<String> {
    Some(environment()?.join("bin").join(name).display().to_string())
}

fn environment() -> Option<PathBuf> {
    let python = fixtures::need("python3")?;
    let list = fixtures::file("servers/requirements.txt");
    let wanted = fs::read_to_string(&list).expect("read requirements.txt");
    let _lock = staging::lock("pip");
    let folder = staging::root().join("pip");
    let mark = folder.join("installed");
    if !fs::read_to_string(&mark).is_ok_and(|done| done == wanted) {
        let target = folder.display().to_string();
        call(&[&python, "-m", "venv", "--clear", &target])?;
        let pip = folder.join("bin/pip").display().to_string();
        call(&[&pip, "install", "--quiet", "--requirement", &list])?;
        fs::write(mark, wanted).expect("remember what is installed");
    }
    Some(folder)
}

fn call(command: &[&str]) -> Option<()> {
    let mut process = Command::new(command[0]);
    process.args(&command[1..]);
    fixtures::installs(&mut process, staging::root(), LIMIT)
}
