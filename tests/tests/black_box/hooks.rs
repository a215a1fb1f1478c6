//! Hooks run at their moments, with what they need in their environment; they gate, time out, are
//! told, and outlive the primary without running twice.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ipc::control::{NoticeKind, Request, Status, WorkerState};
use nix::sys::signal::Signal;
use tests::wait::wait_until;
use tests::{Home, Load, Port, fixtures, process, staging};

const SOON: Duration = Duration::from_secs(30);

/// An app with hooks that write a line each.
struct Hooked {
    home: Home,
    port: Port,
    trace: PathBuf,
}

impl Hooked {
    fn new(home: Home) -> Self {
        let trace = home.write("trace", "");
        Self { home, port: Port::new(), trace }
    }

    /// Writes the configuration. `hooks`: keys and scripts.
    fn config(&self, more: &str, hooks: &[(&str, &str)]) -> Option<String> {
        let command = fixtures::pid_server(&self.port)?;
        let mut lines = more.to_owned();
        for (key, script) in hooks {
            let command = ["sh".to_owned(), "-c".to_owned(), (*script).to_owned()];
            lines += &format!("\n{key} = {}", serde_json::to_string(&command).expect("write JSON"));
        }
        lines += &format!("\n[env]\nTRACE = {:?}\n", self.trace.display().to_string());
        Some(self.home.config("web", &command, &lines))
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.trace).expect("read what the hooks wrote");
        text.lines().map(str::to_owned).collect()
    }

    fn wait(&self, line: &str) {
        wait_until(&format!("{line:?} in {:?}", self.lines()), SOON, || {
            self.lines().iter().any(|has| has == line).then_some(())
        });
    }
}

const TELL: &str = "echo $SUPERVISOR_HOOK $SUPERVISOR_SLOT $SUPERVISOR_GENERATION \
                    $SUPERVISOR_EXIT_CODE$SUPERVISOR_EXIT_SIGNAL >> $TRACE";

#[test]
fn each_hook_runs_at_its_moment() {
    let app = Hooked::new(tests::home!());
    let all = ["pre_start", "post_ready", "pre_stop", "post_stop", "on_crash", "on_rollback"];
    let hooks = all.map(|key| (key, TELL));
    let Some(file) = app.config("", &hooks) else { return };
    app.home.run(&["start", &file]).ok();
    app.wait("post_ready 0 1");
    assert_eq!(app.lines(), ["pre_start 0 1", "post_ready 0 1"]);
    process::kill(app.home.pids("web")[0], Signal::SIGKILL);
    app.wait("on_crash 0 1 SIGKILL");
    app.wait("post_stop 0 1 SIGKILL");
    app.home.wait_app("web", "a new worker", SOON, |app| app.status == Status::Ready);
    fs::write(&app.trace, "").unwrap();
    app.home.run(&["reload", "web"]).ok();
    app.wait("post_ready 0 2");
    wait_until("post_stop", SOON, || {
        app.lines().iter().any(|line| line.starts_with("post_stop 0 1 ")).then_some(())
    });
    assert_eq!(app.lines()[0], "pre_start 0 2");
    assert_eq!(app.lines().iter().filter(|line| *line == "pre_stop 0 1").count(), 1);
    fs::write(&app.trace, "").unwrap();
    app.home.run(&["delete", "web"]).ok();
    let lines = app.lines();
    assert_eq!((lines.len(), lines[0].as_str()), (2, "pre_stop 0 2"), "{lines:?}");
    assert!(lines[1].starts_with("post_stop 0 2 "), "delete waits for both: {lines:?}");
    app.home.nothing_left();
}

#[test]
fn a_pre_start_that_fails_rolls_a_reload_back_without_loss() {
    let app = Hooked::new(tests::home!());
    let told = ("on_rollback", "echo \"$SUPERVISOR_REASON\" >> $TRACE");
    let Some(file) = app.config("", &[told]) else { return };
    app.home.run(&["start", &file]).ok();
    let before = app.home.pids("web");
    app.config("", &[told, ("pre_start", "echo the migration broke >&2; exit 3")]);
    let load = Load { clients: 4, ..Load::new(app.port.v4()) }.start();
    let outcome = app.home.run(&["reload", "web"]).code(4);
    assert!(outcome.stderr.contains("pre_start failed: exit code 3"), "{outcome:#?}");
    assert!(outcome.stderr.contains("the migration broke"), "{outcome:#?}");
    app.wait("pre_start failed: exit code 3");
    load.stop().nothing_lost("while a hook failed");
    assert_eq!((app.home.pids("web"), app.lines().len()), (before, 1));
    assert!(app.home.log("web", "err.log").contains("the migration broke"));
}

#[test]
fn a_hook_is_killed_with_its_group_when_its_time_is_over() {
    let app = Hooked::new(tests::home!());
    let hooks = [("post_ready", "sleep 600 & echo $! >> $TRACE; wait")];
    let Some(file) = app.config("hook_timeout = \"1s\"", &hooks) else { return };
    app.home.run(&["start", &file]).ok();
    let mut notices = app.home.ask("web", &Request::Subscribe);
    let warning = notices.notice_of(NoticeKind::Warning, SOON);
    let said = "post_ready failed: it did not end within 1s and was killed";
    assert_eq!(warning.message, said);
    let sleeps: u32 = app.lines()[0].parse().expect("a pid");
    assert!(!process::is_alive(sleeps));
    assert_eq!(app.home.app("web").status, Status::Ready);
}

#[test]
fn a_pre_start_outlives_the_primary_and_runs_once() {
    let app = Hooked::new(tests::home!());
    let go = app.home.path().join("go");
    let waits = "echo begun >> $TRACE; until [ -e $GO ]; do sleep 0.05; done; echo done >> $TRACE";
    let waits = waits.replace("$GO", &go.display().to_string());
    let Some(file) = app.config("", &[("pre_start", &waits)]) else { return };
    let start = app.home.spawn(&["start", &file]);
    app.wait("begun");
    for _ in 0..2 {
        app.home.kill_primary("web", Signal::SIGKILL);
    }
    let status = app.home.wait_app("web", "it to wait for its hook", SOON, |app| {
        app.workers.first().is_some_and(|worker| worker.reason.is_some())
    });
    assert_eq!(status.workers[0].state, WorkerState::Spawning, "{status:#?}");
    assert_eq!(status.workers[0].reason.as_deref(), Some("\"pre_start\" runs"));
    fs::write(&go, "").unwrap();
    app.home.wait_app("web", "a worker", SOON, |app| app.status == Status::Ready);
    assert_eq!(app.lines(), ["begun", "done"]);
    drop(start);
}

#[test]
fn a_check_of_the_canary_holds_the_other_slots_and_rolls_back() {
    let app = Hooked::new(tests::home!());
    let go = app.home.path().join("go");
    let script = "echo begun >> $TRACE; until [ -e $GO ]; do sleep 0.05; done; exit 1";
    let script = script.replace("$GO", &go.display().to_string());
    let more = "instances = 2\nobserve = \"1s\"";
    let Some(file) = app.config(more, &[("observe_check", &script)]) else { return };
    app.home.run(&["start", &file]).ok();
    let load = Load { clients: 4, ..Load::new(app.port.v4()) }.start();
    let reload = app.home.spawn(&["reload", "web"]);
    app.wait("begun");
    let status = app.home.app("web");
    let new = status.workers.iter().filter(|worker| worker.generation == 2).count();
    assert_eq!((new, status.workers.len()), (1, 2), "{status:#?}");
    fs::write(&go, "").unwrap();
    let outcome = reload.end(SOON).code(4);
    assert!(outcome.stderr.contains("observe_check failed: exit code 1"), "{outcome:#?}");
    let status = app.home.app("web");
    assert!(status.workers.iter().all(|worker| worker.generation == 1), "{status:#?}");
    assert_eq!(app.lines(), ["begun"]);
    load.stop().nothing_lost("while a canary was judged");
}

#[test]
fn hooks_run_as_the_user_of_the_worker_and_write_into_the_log() {
    if !fixtures::need_root("other users") {
        return;
    }
    let home = tests::home!();
    let command = ["sleep", "600"].map(str::to_owned);
    let who = "echo hook $(id -un) $PWD $(umask) $SUPERVISOR_PID";
    let more = format!(
        "user = \"nobody\"\numask = \"0027\"\ncwd = \"/\"\nready = \"uptime\"\n\
         post_ready = [\"sh\", \"-c\", \"{who}\"]"
    );
    home.run(&["start", &home.config("web", &command, &more)]).ok();
    let pid = home.pids("web")[0];
    let said = format!("hook nobody / 0027 {pid}");
    wait_until("the hook in the log", SOON, || {
        home.log("web", "out.log").contains(&said).then_some(())
    });
}

/// A home of `nobody`, and in it a program that gains the rights of root. `None`:
/// setuid programs gain no rights here, or the tests do not run as root.
pub(crate) fn of_nobody_with_root() -> Option<(Home, String)> {
    let home = tests::home_of_nobody!()?;
    let program = home.path().join("other-user");
    staging::copy_program(Path::new(env!("CARGO_BIN_EXE_other-user")), &program);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("make it setuid");
    let tried = Command::new(&program).arg("try").uid(65534).gid(65534).status();
    if !tried.expect("it runs").success() {
        eprintln!("skipped: setuid programs gain no rights here");
        return None;
    }
    Some((home, program.display().to_string()))
}

#[test]
fn heavy_a_hook_that_the_supervisor_cannot_kill_is_left_alone() {
    let _exclusive = tests::exclusive();
    let Some((home, program)) = of_nobody_with_root() else { return };
    let app = Hooked::new(home);
    let keys = format!(
        "intercept = false\nready = \"uptime\"\nhook_timeout = \"1s\"\npre_stop = [{program:?}]\n"
    );
    let Some(file) = app.config(&keys, &[]) else { return };
    app.home.run(&["start", &file]).ok();
    let mut notices = app.home.ask("web", &Request::Subscribe);
    let begun = Instant::now();
    app.home.run(&["stop", "web"]).ok();
    assert!(begun.elapsed() >= Duration::from_secs(6), "1 s to end, and 5 s after it was killed");
    let said: Vec<String> = notices.come().into_iter().map(|notice| notice.message).collect();
    let lives = said.iter().find_map(|m| m.strip_prefix("the hook with pid ")).expect("it is told");
    let pid: u32 = lives.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a pid");
    assert!(process::is_alive(pid), "{said:#?}");
    let failed = "pre_stop failed: it was killed and has not ended 5s later";
    assert!(said.iter().any(|message| message.starts_with(failed)), "{said:#?}");
    process::kill(pid, Signal::SIGKILL);
}

#[test]
fn a_hook_gains_no_rights_that_its_worker_cannot_gain() {
    let Some((home, program)) = of_nobody_with_root() else { return };
    let app = Hooked::new(home);
    let Some(file) = app.config(&format!("pre_start = [{program:?}]\n"), &[]) else { return };
    let refused = app.home.run(&["start", &file]).code(1);
    assert!(refused.stderr.contains("pre_start failed: exit code 1"), "{refused:#?}");
}
