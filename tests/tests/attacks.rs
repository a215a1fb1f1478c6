//! What other users of the machine and removed folders can do to an app.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ipc::control::Status;
use tests::run::{self, Outcome};
use tests::{Home, Port, fixtures, http, process, staging, wait_until};

const SOON: Duration = Duration::from_secs(30);
/// Users without processes and files on this machine, each for one test.
const WANDERER: u32 = 70_123;
const VICTIM: u32 = 70_124;
const SQUATTER: u32 = 70_125;

/// An app `web` with two workers.
fn with_web(lines: &str) -> Option<(Home, Port)> {
    let (home, port) = (tests::home!(), Port::new());
    let file = home.config("web", &fixtures::pid_server(&port)?, lines);
    home.run(&["start", &file, "-i", "2"]).ok();
    Some((home, port))
}

/// A home that other users can enter. `None`, and a line on stderr, without root.
fn home_of_root() -> Option<Home> {
    if !fixtures::need_root("act as another user") {
        return None;
    }
    let home = tests::home!();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("chmod the home");
    Some(home)
}

/// A program run by another user with this supplementary group.
fn as_user(home: &Home, user: &str, group: &str, program: &Path) -> Command {
    let setpriv = fixtures::need("setpriv").expect("util-linux has it");
    let mut command = home.command_of(setpriv);
    let groups = format!("--groups={group}");
    command.args(["--reuid", user, "--regid", user, &groups, "--"]).arg(program);
    command
}

/// A command of the supervisor by a user who has no SUPERVISOR_HOME.
fn homeless(home: &Home, user: u32, runtime_dir: Option<&Path>, args: &[&str]) -> Outcome {
    let program = staging::program(home.built());
    let mut command = as_user(home, &user.to_string(), &user.to_string(), &program);
    command.env_remove("SUPERVISOR_HOME").env("HOME", home.path().join("user")).args(args);
    if let Some(folder) = runtime_dir {
        command.env("XDG_RUNTIME_DIR", folder);
    }
    run::spawn(&mut command, home.path()).end(SOON)
}

/// A folder of this user.
fn folder_of(path: &Path, user: u32) {
    fs::create_dir_all(path).expect("make a folder");
    chown(path, Some(user), Some(user)).expect("chown a folder");
}

/// Removes a folder in the shared temporary folder when the test ends.
struct Squat(PathBuf);

impl Squat {
    fn of(user: u32) -> Self {
        let path = PathBuf::from(format!("/tmp/supervisor-{user}"));
        drop(fs::remove_dir_all(&path));
        Self(path)
    }
}

impl Drop for Squat {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// As logind does it at the last logout and the next login.
#[test]
fn a_run_folder_that_is_removed_and_made_again_loses_no_app() {
    let Some((home, port)) = with_web("") else { return };
    let (primary, workers) = (home.app("web").primary_pid, home.pids("web"));
    let run = home.socket("web").parent().expect("a folder").to_owned();
    fs::remove_dir_all(&run).expect("remove the run folder");
    fs::create_dir(&run).expect("make the run folder again");
    let listed = home.list();
    assert_eq!((listed.len(), listed[0].status), (1, Status::Ready), "{listed:#?}");
    assert_eq!((listed[0].primary_pid, home.pids("web")), (primary, workers));
    http::get(port.v4(), SOON).expect("an answer");
    let deleted = home.run(&["delete", "web"]).ok();
    assert!(!deleted.stdout.contains("without a primary"), "{deleted:#?}");
    wait_until("the primary to end", SOON, || (!process::is_alive(primary)).then_some(()));
    home.nothing_left();
}

#[test]
fn an_app_whose_home_is_removed_is_found_again() {
    let Some((home, _port)) = with_web("") else { return };
    let primary = home.app("web").primary_pid;
    for folder in ["run", "state", "logs"] {
        fs::remove_dir_all(home.path().join(folder)).expect("remove a folder");
    }
    let listed = wait_until("the app to be listed", SOON, || {
        let listed = home.list();
        (!listed.is_empty()).then_some(listed)
    });
    assert_eq!((listed[0].primary_pid, listed[0].status), (primary, Status::Ready));
    home.run(&["restart", "web"]).ok();
    assert!(home.log("web", "out.log").is_empty(), "there is a new log file, and it is empty");
    home.run(&["delete", "web"]).ok();
    home.nothing_left();
}

#[test]
fn an_app_is_found_from_a_session_without_its_runtime_folder() {
    let Some(home) = home_of_root() else { return };
    let (runtime, _squat) = (home.path().join("runtime"), Squat::of(WANDERER));
    [&runtime, &home.path().join("user")].into_iter().for_each(|path| folder_of(path, WANDERER));
    let Some(server) = fixtures::pid_server(Port::new()) else { return };
    let mut start = vec!["start", "-n", "web", "--"];
    start.extend(server.iter().map(String::as_str));
    homeless(&home, WANDERER, Some(&runtime), &start).ok();
    let listed = homeless(&home, WANDERER, None, &["list", "--json"]).ok().json();
    assert_eq!((&listed[0]["name"], &listed[0]["status"]), (&"web".into(), &"ready".into()));
    homeless(&home, WANDERER, None, &start).code(1).says(&["running already"]);
    homeless(&home, WANDERER, None, &["delete", "web"]).ok();
    let listed = homeless(&home, WANDERER, Some(&runtime), &["list", "--json"]).ok().json();
    assert_eq!(listed, serde_json::json!([]));
}

#[test]
fn a_folder_of_another_user_at_our_place_is_refused() {
    let Some(home) = home_of_root() else { return };
    let squat = Squat::of(VICTIM);
    folder_of(&home.path().join("user"), VICTIM);
    folder_of(&squat.0, SQUATTER);
    for args in [["start", "-n", "web", "--", "sleep", "1000"].as_slice(), &["list"]] {
        let refused = homeless(&home, VICTIM, None, args).code(6);
        let path = squat.0.display().to_string();
        refused.says(&["cannot be trusted", &path, "it belongs to user 70125"]);
    }
}
