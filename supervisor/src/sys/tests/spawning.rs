//! Children: what they inherit, how they fail, how they end.

use std::ffi::OsString;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::*;
use crate::sys::pidfd::{peek_child, reap_child, signal, signal_group};
use crate::sys::privileges::Privileges;
use crate::sys::procfs;
use crate::sys::spawn::report::{Stage, go};
use crate::sys::spawn::{Launch, spawn};
use crate::sys::users::{self, Identity};

pub(super) fn launch<'a>(argv: &[&str], out: BorrowedFd<'a>) -> Launch<'a> {
    Launch {
        argv: argv.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
        listen_pid: false,
        cwd: Path::new("/"),
        user: None,
        privileges: Privileges::default(),
        stdout: out,
        stderr: out,
        inherit: Vec::new(),
        intercept: false,
        as_intercepted: false,
        deny_io_uring: false,
        sibling: false,
    }
}

pub(super) fn pipe() -> (File, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (File::from(OwnedFd::from(reader)), writer.into())
}

/// Runs the child to its end; returns its output and how it ended.
fn run(make: impl FnOnce(BorrowedFd<'_>) -> Launch<'_>) -> (String, Exit) {
    let (mut reader, writer) = pipe();
    let spawned = spawn(&make(writer.as_fd())).unwrap();
    go(spawned.report.as_fd());
    drop(writer);
    assert!(matches!(next_report(&spawned), Report::Running));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    (text, wait_exit(&spawned))
}

fn failure(change: impl FnOnce(&mut Launch<'_>)) -> (Stage, i32) {
    let null = File::open("/dev/null").unwrap();
    let mut launch = launch(&["true"], null.as_fd());
    change(&mut launch);
    let spawned = spawn(&launch).unwrap();
    go(spawned.report.as_fd());
    let Report::Failed { stage, error } = next_report(&spawned) else { panic!("it runs") };
    assert!(matches!(next_report(&spawned), Report::Running), "the end of the stream");
    assert_eq!(wait_exit(&spawned), Exit::Code(127));
    (stage, error.raw_os_error().unwrap())
}

#[test]
fn every_failure_before_exec_is_told_with_its_stage() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    let write = |text: &str, mode: &str| {
        let mut content = tempfile::tempfile().unwrap();
        content.write_all(text.as_bytes()).unwrap();
        content.rewind().unwrap();
        install(&script, content, mode);
    };
    let command = |launch: &mut Launch<'_>| launch.argv = vec![script.clone().into_os_string()];
    assert_eq!(failure(|l| l.argv = vec!["banana".into()]), (Stage::Command, libc::ENOENT));
    assert_eq!(failure(|l| l.argv = vec!["./no/such".into()]), (Stage::Command, libc::ENOENT));
    assert_eq!(failure(|l| l.cwd = Path::new("/no/such")), (Stage::WorkingFolder, libc::ENOENT));
    write("#!/no/such/thing\n", "755");
    assert_eq!(failure(command), (Stage::Interpreter, libc::ENOENT));
    write("", "644");
    assert_eq!(failure(command), (Stage::Exec, libc::EACCES));
    write("no first line\n", "755");
    assert_eq!(failure(command), (Stage::Exec, libc::ENOEXEC));
    if !users::is_root() {
        let root = Identity { uid: 0, gid: 0, groups: vec![0] };
        assert_eq!(failure(|l| l.user = Some(root)), (Stage::User, libc::EPERM));
    }
    let null = File::open("/dev/null").unwrap();
    let mut empty = launch(&[], null.as_fd());
    assert!(spawn(&empty).is_err());
    empty.argv = vec!["a\0b".into()];
    assert!(spawn(&empty).is_err());
}

#[test]
fn exits_and_deaths_are_what_they_were() {
    let shell = |text: &str| run(|out| launch(&["sh", "-c", text], out)).1;
    assert_eq!(shell("exit 0"), Exit::Code(0));
    assert_eq!(shell("exit 255"), Exit::Code(255));
    assert_eq!(shell("kill -KILL $$"), Exit::Signal(libc::SIGKILL));
    assert_eq!(shell("kill -TERM $$"), Exit::Signal(libc::SIGTERM));
    assert_eq!(shell("kill -40 $$"), Exit::Signal(40));
    assert_eq!(shell("kill -64 $$"), Exit::Signal(64));
}

#[test]
fn it_gets_what_was_given_and_nothing_else() {
    let (text, exit) = run(|out| {
        let script = "env | sort; echo pid=$$; pwd; ls -l /proc/self/fd | sed -n 's/.* \\([0-9]* -> .*\\)/\\1/p'; \
            grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status; cat; ps -o pgid= -p $$ || true";
        let mut launch = launch(&["sh", "-c", script], out);
        launch.env.push(("A".into(), "1 2".into()));
        launch.listen_pid = true;
        launch.cwd = Path::new("/usr");
        launch
    });
    assert_eq!(exit, Exit::Code(0), "{text}");
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    assert_eq!(value("A="), "1 2");
    assert_eq!(value("LISTEN_PID="), value("pid="));
    assert!(text.contains("\n/usr\n"), "{text}");
    assert!(text.contains("0 -> /dev/null"), "{text}");
    let fds = text.lines().filter(|line| line.contains(" -> ")).count();
    assert_eq!(fds, 4, "three and the one of ls: {text}");
    assert_eq!(value("SigBlk:").trim(), "0000000000000000");
    // The C library's own two signals may stay.
    let ignored = u64::from_str_radix(value("SigIgn:").trim(), 16).unwrap();
    assert_eq!(ignored & !(0b11 << 31), 0);
}

#[test]
fn inherited_fds_may_overlap_with_their_targets() {
    let files: Vec<(File, String)> = ('a'..='f')
        .map(|name| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(name.to_string().as_bytes()).unwrap();
            (file, name.to_string())
        })
        .collect();
    let numbers: Vec<i32> =
        files.iter().map(|(file, _)| std::os::fd::AsRawFd::as_raw_fd(file)).collect();
    // Each source's own number is the target of another one; one source stays in place.
    let targets: Vec<i32> = {
        let mut targets = numbers.clone();
        targets[1..].rotate_left(2);
        targets
    };
    let reads: Vec<String> = targets.iter().map(|fd| format!("cat /proc/self/fd/{fd}")).collect();
    let (mut reader, writer) = pipe();
    let mut launch = launch(&["sh", "-c", &reads.join("; ")], writer.as_fd());
    launch.inherit =
        files.iter().zip(&targets).map(|((file, _), fd)| (file.as_fd(), *fd)).collect();
    let spawned = spawn(&launch).unwrap();
    go(spawned.report.as_fd());
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let exit = wait_exit(&spawned);
    assert_eq!((text.as_str(), exit), ("abcdef", Exit::Code(0)));
}

#[test]
fn it_becomes_the_user_with_the_users_groups() {
    if !users::is_root() {
        return;
    }
    let identity = users::resolve("65534", None).unwrap();
    let (text, _) = run(|out| {
        let mut launch = launch(&["sh", "-c", "id -u; id -g; grep Groups /proc/self/status"], out);
        launch.user = Some(identity.clone());
        launch
    });
    assert!(text.starts_with("65534\n65534\n"), "{text}");
    assert!(!text.contains("Groups:\t0"), "{text}");
}

#[test]
fn a_whole_group_is_signalled_and_seen() {
    let (mut reader, writer) = pipe();
    let script = "sleep 1000 & sleep 1000 & echo x; exec sleep 1000";
    let spawned = spawn(&launch(&["sh", "-c", script], writer.as_fd())).unwrap();
    go(spawned.report.as_fd());
    drop(writer);
    reader.read_exact(&mut [0; 2]).unwrap();
    assert_eq!(peek_child(spawned.pid).unwrap(), None);
    assert_eq!(reap_child(spawned.pid).unwrap(), None);
    let members = procfs::group_members(spawned.pid.0);
    assert_eq!(members.len(), 3);
    assert!(members.contains(&spawned.pid.0));
    signal(spawned.pidfd.as_fd(), 0).unwrap();
    signal_group(spawned.pid, libc::SIGKILL).unwrap();
    wait_readable(spawned.pidfd.as_fd());
    // The pipe's write ends are closed only when all three processes are gone.
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    assert_eq!(wait_exit(&spawned), Exit::Signal(libc::SIGKILL));
    // A process closes its files a moment before it is gone.
    let deadline = crate::sys::clock::now() + PATIENCE;
    while !procfs::group_members(spawned.pid.0).is_empty() {
        assert!(crate::sys::clock::now() < deadline, "the group is still there");
        std::thread::yield_now();
    }
    signal_group(spawned.pid, libc::SIGTERM).unwrap();
    let error = signal(spawned.pidfd.as_fd(), libc::SIGTERM).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
}

#[test]
fn the_limit_of_open_files_is_ours_to_raise_and_not_the_workers() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard - 1, hard).unwrap();
    crate::sys::daemon::raise_nofile().unwrap();
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
    let (text, _) = run(|out| launch(&["sh", "-c", "ulimit -n; ulimit -Hn"], out));
    assert_eq!(text, format!("{}\n{hard}\n", hard - 1));
}

#[test]
fn a_child_gives_up_what_an_intercepted_one_gives_up() {
    let promise = |as_intercepted| {
        let (text, exit) = run(|out| {
            let argv = ["grep", "NoNewPrivs", "/proc/self/status"];
            Launch { as_intercepted, ..launch(&argv, out) }
        });
        assert_eq!(exit, Exit::Code(0));
        text.trim_end().replace("NoNewPrivs:\t", "")
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().to_owned()
    };
    let may_filter = u64::from_str_radix(&field("CapEff:"), 16).unwrap() >> 21 & 1 == 1;
    let own = field("NoNewPrivs:");
    let given_up = if may_filter { own.clone() } else { "1".to_owned() };
    assert_eq!((promise(false), promise(true)), (own, given_up));
}
