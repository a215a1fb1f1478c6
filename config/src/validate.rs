//! Refuses what is well written but cannot work: keys that contradict each other, and names of
//! things that this machine does not have.
//!
//! It looks at the finished [`AppSpec`], so that a file and a command line are refused for the
//! same reasons.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nix::unistd::{Group, Uid, User, geteuid};

use crate::instances::MAX_WORKERS;
use crate::spec::{AppSpec, Balance, Engine, Instances, IoUring, ReadyRule};

/// The shortest window: in less time the samples of memory are too few to show a leak.
const LEAST_LEAK_WINDOW: Duration = Duration::from_secs(10);

/// The shortest times of a probe: what is asked more often does little else.
const LEAST_PROBE: Duration = Duration::from_millis(10);

/// One thing that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key to change, as it is called in a file.
    pub key: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

fn fault(key: &'static str, message: impl Into<String>) -> Fault {
    Fault { key, message: message.into() }
}

/// Keys that contradict each other on any machine.
pub fn contradictions(spec: &AppSpec) -> Vec<Fault> {
    let mut faults = Vec::new();
    workers(spec, &mut faults);
    serving(spec, &mut faults);
    lent_names(spec, &mut faults);
    let (times, restart) = (&spec.times, &spec.restart);
    if times.ready_timeout.is_zero() {
        faults.push(fault("ready_timeout", "ready_timeout is 0: no worker could ever be ready"));
    }
    if spec.ready == ReadyRule::Uptime && times.min_uptime >= times.ready_timeout {
        faults.push(fault(
            "min_uptime",
            "min_uptime is not shorter than ready_timeout: with ready = \"uptime\" no worker could \
             ever be ready",
        ));
    }
    if !times.leak_window.is_zero() && times.leak_window < LEAST_LEAK_WINDOW {
        faults.push(fault(
            "leak_window",
            "leak_window is too short to see anything: use at least \"10s\", or \"0s\" for never",
        ));
    }
    if restart.backoff_min.is_zero() {
        faults.push(fault("backoff_min", "backoff_min is 0: use at least \"1ms\""));
    }
    if restart.backoff_max < restart.backoff_min {
        faults.push(fault("backoff_max", "backoff_max is shorter than backoff_min"));
    }
    probes(spec, &mut faults);
    if spec.hooks.timeout.is_zero() {
        faults.push(fault("hook_timeout", "hook_timeout is 0: no hook could ever succeed"));
    }
    if restart.window.is_zero() {
        faults.push(fault("restart_window", "restart_window is 0: no failure could ever count"));
    }
    faults
}

fn probes(spec: &AppSpec, faults: &mut Vec<Fault>) {
    let both = [
        (&spec.readiness, "readiness_period", "readiness_timeout"),
        (&spec.liveness, "liveness_period", "liveness_timeout"),
    ];
    for (probe, period, timeout) in both {
        for (key, time) in [(period, probe.period), (timeout, probe.timeout)] {
            if time < LEAST_PROBE {
                faults.push(fault(key, format!("{key} is too short: use at least \"10ms\"")));
            }
        }
    }
}

fn workers(spec: &AppSpec, faults: &mut Vec<Fault>) {
    for pool in &spec.pools {
        if matches!(pool.instances, Instances::Between { .. }) {
            let why = format!(
                "instances {} of the pool {}: only the app's own pool follows the load; give this \
                 one a number",
                pool.instances, pool.name
            );
            faults.push(fault("instances", why));
        }
    }
    if spec.wanted > MAX_WORKERS {
        faults.push(fault(
            "instances",
            format!(
                "instances {} comes to {} workers ({}): at most {MAX_WORKERS} are possible",
                spec.instances, spec.wanted, spec.wanted_because
            ),
        ));
    }
}

fn serving(spec: &AppSpec, faults: &mut Vec<Fault>) {
    match (spec.balance, spec.engine) {
        (Balance::LeastConnections, Engine::Kernel) => faults.push(fault(
            "engine",
            "balance = \"least-connections\" needs engine = \"primary\" or \"auto\": the kernel does \
             not count the connections of a worker",
        )),
        (Balance::Hash | Balance::Shared, Engine::Primary) => faults.push(fault(
            "engine",
            "balance = \"hash\" and \"shared\" need engine = \"kernel\" or \"auto\": in both the \
             kernel chooses the worker",
        )),
        _ => {}
    }
    if spec.proxy_protocol && spec.balance != Balance::Sticky {
        faults.push(fault(
            "proxy_protocol",
            "proxy_protocol has no meaning without balance = \"sticky\": who the client is decides \
             nothing else (your program reads the header in any case)",
        ));
    }
    if spec.proxy_protocol && spec.engine == Engine::Kernel {
        faults.push(fault(
            "proxy_protocol",
            "proxy_protocol needs engine = \"primary\" or \"auto\": the kernel places a connection \
             before the first byte of it comes",
        ));
    }
    if spec.ready == ReadyRule::Listen && !spec.intercept {
        faults.push(fault(
            "ready",
            "ready = \"listen\" needs intercept = true: nobody else sees a worker listen",
        ));
    }
    if !spec.passthrough.is_empty() && !spec.intercept {
        faults.push(fault(
            "passthrough",
            "passthrough has no meaning with intercept = false: remove one of them",
        ));
    }
    if spec.io_uring == IoUring::Deny && !spec.intercept {
        faults.push(fault(
            "io_uring",
            "io_uring = \"deny\" has no meaning with intercept = false: remove one of them",
        ));
    }
}

/// Every `${fd:NAME}` must name a listener.
fn lent_names(spec: &AppSpec, faults: &mut Vec<Fault>) {
    for argument in &spec.command {
        for part in argument.split("${fd:").skip(1) {
            let Some((name, _)) = part.split_once('}') else { continue };
            if spec.listen.iter().any(|listen| listen.name == name) {
                continue;
            }
            let known: Vec<_> = spec.listen.iter().map(|listen| listen.name.as_str()).collect();
            let known = if known.is_empty() {
                "there is no \"listen\"".to_owned()
            } else {
                format!("\"listen\" has {}", known.join(", "))
            };
            faults.push(fault("command", format!("no listener is called {name:?}: {known}")));
        }
    }
}

/// Names of things that this machine does not have, or that this user may not use.
pub fn missing_here(spec: &AppSpec) -> Vec<Fault> {
    let mut faults = Vec::new();
    match fs::metadata(&spec.cwd) {
        Ok(data) if data.is_dir() => {
            if let Some(message) = program(spec) {
                faults.push(fault("command", message));
            }
        }
        Ok(_) => faults.push(fault("cwd", format!("cwd {} is not a folder", spec.cwd.display()))),
        Err(error) => {
            faults.push(fault("cwd", format!("cannot use cwd {}: {error}", spec.cwd.display())));
        }
    }
    let user = spec.user.as_ref().map(|name| ("user", name, user_exists(name)));
    let group = spec.group.as_ref().map(|name| ("group", name, group_exists(name)));
    let groups = &spec.privileges.groups;
    let groups = groups.iter().map(|name| ("groups", name, group_exists(name)));
    for (key, name, exists) in [user, group].into_iter().flatten().chain(groups) {
        if !exists {
            let what = if key == "user" { key } else { "group" };
            faults.push(fault(key, format!("there is no {what} {name:?} on this machine")));
        } else if !geteuid().is_root() {
            faults.push(fault(
                key,
                format!("only root can run workers with the {key} {name:?}: remove it or use sudo"),
            ));
        }
    }
    for (key, name) in [("operators", &spec.operators), ("observers", &spec.observers)] {
        if let Some(name) = name.as_ref().filter(|name| !group_exists(name)) {
            faults.push(fault(key, format!("there is no group {name:?} on this machine")));
        }
    }
    faults
}

fn user_exists(name: &str) -> bool {
    // A number needs no entry. If the user database cannot be read, the start reports that.
    name.parse::<u32>().is_ok_and(|number| Uid::from_raw(number).as_raw() != u32::MAX)
        || User::from_name(name).map_or(true, |user| user.is_some())
}

fn group_exists(name: &str) -> bool {
    name.parse::<u32>().is_ok_and(|number| number != u32::MAX)
        || Group::from_name(name).map_or(true, |group| group.is_some())
}

/// Why the program cannot run. `None`: it can.
fn program(spec: &AppSpec) -> Option<String> {
    let name = spec.command.first()?;
    if name.contains('/') {
        let path = spec.cwd.join(name);
        return match fs::metadata(&path) {
            Ok(data) if data.is_dir() => Some(format!("the command {name:?} is a folder")),
            Ok(_) if executable(&path) => None,
            Ok(_) => Some(format!("the command {name:?} is not executable: try chmod +x")),
            Err(error) => Some(format!("cannot run the command {name:?}: {error}")),
        };
    }
    let own = spec.env.get("PATH").map(OsString::from);
    let folders = own.or_else(|| env::var_os("PATH"))?;
    let found =
        env::split_paths(&folders).any(|folder| executable(&spec.cwd.join(folder).join(name)));
    (!found).then(|| {
        let folders = folders.to_string_lossy();
        format!("the command {name:?} is in no folder of PATH ({folders})")
    })
}

fn executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(command: &[&str]) -> AppSpec {
        let command = command.iter().map(|&word| word.to_owned()).collect();
        AppSpec::new("app", command, "/".into())
    }

    fn only(faults: Vec<Fault>) -> String {
        assert_eq!(faults.len(), 1, "{faults:?}");
        format!("{}: {}", faults[0].key, faults[0].message)
    }

    #[test]
    fn this_machine() {
        assert_eq!(missing_here(&spec(&["sh"])), []);
        assert_eq!(missing_here(&spec(&["/bin/sh"])), []);
        let mut lost = spec(&["nodd"]);
        lost.env.insert("PATH".to_owned(), "/bin:/usr/bin".to_owned());
        assert_eq!(
            only(missing_here(&lost)),
            r#"command: the command "nodd" is in no folder of PATH (/bin:/usr/bin)"#
        );
        assert_eq!(
            only(missing_here(&spec(&["./gone"]))),
            r#"command: cannot run the command "./gone": No such file or directory (os error 2)"#
        );
        assert_eq!(
            only(missing_here(&spec(&["/etc/passwd"]))),
            r#"command: the command "/etc/passwd" is not executable: try chmod +x"#
        );
        assert_eq!(
            only(missing_here(&spec(&["/etc"]))),
            r#"command: the command "/etc" is a folder"#
        );
        let mut nowhere = spec(&["sh"]);
        nowhere.cwd = "/etc/passwd".into();
        assert_eq!(only(missing_here(&nowhere)), "cwd: cwd /etc/passwd is not a folder");
        nowhere.cwd = "/gone".into();
        assert_eq!(
            only(missing_here(&nowhere)),
            "cwd: cannot use cwd /gone: No such file or directory (os error 2)"
        );
        let mut nobody = spec(&["sh"]);
        nobody.user = Some("no-such-user".to_owned());
        assert_eq!(
            only(missing_here(&nobody)),
            r#"user: there is no user "no-such-user" on this machine"#
        );
    }

    #[test]
    fn contradictions_are_found_once() {
        assert_eq!(contradictions(&spec(&["sh"])), []);
        let mut lost = spec(&["app", "${fd:web}"]);
        assert_eq!(
            only(contradictions(&lost)),
            r#"command: no listener is called "web": there is no "listen""#
        );
        lost.listen.push(crate::address::listen("api=80").unwrap());
        assert_eq!(
            only(contradictions(&lost)),
            r#"command: no listener is called "web": "listen" has api"#
        );
        let mut many = spec(&["app"]);
        (many.instances, many.wanted) = ("200%".parse().unwrap(), 1600);
        many.wanted_because = "200% of 800 CPUs".to_owned();
        assert_eq!(
            only(contradictions(&many)),
            "instances: instances 200% comes to 1600 workers (200% of 800 CPUs): at most 1024 are \
             possible"
        );
    }
}
