//! Unmodified servers, two on one port: the test acts as their primary.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use super::spawning::{launch, pipe};
use super::*;
use crate::sys::seccomp::{self, Answer, Call, Notification};
use crate::sys::socket::{self, copy_options, first_tcp, further_tcp, set_nonblocking, traits_of};
use crate::sys::spawn::report::go;
use crate::sys::spawn::{Launch, spawn};
use crate::sys::target::{self, TargetAddress};
use crate::sys::users;

/// One worker while it runs; dropping it kills its whole group.
struct Worker {
    spawned: Spawned,
    notify: OwnedFd,
}

impl Drop for Worker {
    fn drop(&mut self) {
        pidfd::signal_group(self.spawned.pid, libc::SIGKILL).unwrap();
        wait_exit(&self.spawned);
    }
}

impl Worker {
    fn start(launch: &Launch<'_>) -> Self {
        let spawned = spawn(launch).unwrap();
        go(spawned.report.as_fd());
        let notify = match next_report(&spawned) {
            Report::Intercepting(notify) => notify,
            other => panic!("{other:?}"),
        };
        assert!(matches!(next_report(&spawned), Report::Running));
        Self { spawned, notify }
    }
}

/// The addresses, and the sockets made for each.
#[derive(Default)]
struct Primary {
    groups: HashMap<SocketAddr, Vec<OwnedFd>>,
    listening: usize,
    passed: usize,
}

impl Primary {
    fn serve(&mut self, worker: &Worker) {
        let notify = worker.notify.as_fd();
        let Some(question) = seccomp::receive(notify).unwrap() else { return };
        let family = target::descendants(worker.spawned.pid.0);
        assert!(family.contains(&target::thread_group(question.tid).unwrap()));
        let answer = match question.call {
            Call::Bind { fd, address_ptr, len } => {
                self.bind(notify, question, fd, (address_ptr, len))
            }
            Call::Listen { fd, backlog } => self.listen(question, fd, backlog),
            // Of a connection.
            Call::Shutdown { .. } => Answer::Continue,
            Call::Other => panic!("{question:?}"),
        };
        self.passed += usize::from(answer == Answer::Continue);
        seccomp::answer(notify, question.id, answer).unwrap();
    }

    fn bind(
        &mut self,
        notify: BorrowedFd<'_>,
        question: Notification,
        fd: i32,
        (ptr, len): (u64, u32),
    ) -> Answer {
        let address = match target::read_address(question.tid, ptr, len).unwrap() {
            TargetAddress::Inet(address) if address.port() != 0 => address,
            _ => return Answer::Continue,
        };
        let theirs = target::steal_fd(question.tid, fd).unwrap();
        let traits = traits_of(theirs.as_fd()).unwrap();
        if !traits.is_tcp {
            return Answer::Continue;
        }
        let group = self.groups.entry(address).or_default();
        let make = if group.is_empty() { first_tcp } else { further_tcp };
        let ours = match make(address, traits.is_v6.then_some(traits.v6only)) {
            Ok(ours) => ours,
            Err(error) => return Answer::Errno(error.raw_os_error().unwrap()),
        };
        set_nonblocking(ours.as_fd(), traits.nonblocking).unwrap();
        copy_options(theirs.as_fd(), ours.as_fd());
        let cloexec = target::is_cloexec(question.tid, fd).unwrap();
        assert!(seccomp::still_valid(notify, question.id));
        seccomp::replace_fd(notify, question.id, ours.as_fd(), fd, cloexec).unwrap();
        assert_eq!(target::is_cloexec(question.tid, fd).unwrap(), cloexec);
        group.push(ours);
        Answer::Success
    }

    fn listen(&mut self, question: Notification, fd: i32, backlog: i32) -> Answer {
        let theirs = target::steal_fd(question.tid, fd).unwrap();
        let inode = socket::inode(theirs.as_fd()).unwrap();
        let mut ours = self.groups.values().flatten();
        let Some(ours) = ours.find(|fd| socket::inode(fd.as_fd()).unwrap() == inode) else {
            return Answer::Continue;
        };
        socket::listen(ours.as_fd(), backlog).unwrap();
        self.listening += 1;
        Answer::Success
    }

    fn run_until(&mut self, workers: &[Worker], done: impl Fn(&Self) -> bool) {
        let mut poller = Poller::new().unwrap();
        for (token, worker) in (0..).zip(workers) {
            poller.add(worker.notify.as_fd(), token).unwrap();
        }
        while !done(self) {
            let ready = poller.wait(Some(PATIENCE)).unwrap();
            assert!(!ready.is_empty(), "no question came");
            for ready in ready {
                assert!(ready.readable, "the worker is gone");
                self.serve(&workers[ready.token as usize]);
            }
        }
    }
}

/// A port that is free now. It lies below the range from which the kernel takes the ports of
/// outgoing connections, so that none of them has it before the program is up.
fn free_port() -> u16 {
    const FIRST: u32 = 30_001;
    const COUNT: u32 = 2_700;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut ports = (0..COUNT).map(|_| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let number = FIRST + std::process::id().wrapping_mul(97).wrapping_add(step) % COUNT;
        u16::try_from(number).unwrap()
    });
    let is_free =
        |port: &u16| first_tcp((Ipv6Addr::UNSPECIFIED, *port).into(), Some(false)).is_ok();
    ports.find(is_free).expect("a free port")
}

/// Starts two workers of this command, and checks that both answer on the port with their pids.
fn two_on_one_port(argv: &[&str], port: u16, as_user: Option<&str>, passed: usize) {
    let (_output, writer) = pipe();
    let mut primary = Primary::default();
    let mut launch = launch(argv, writer.as_fd());
    launch.intercept = true;
    launch.env.push(("PORT".into(), port.to_string().into()));
    launch.env.push(("HOME".into(), "/tmp".into()));
    launch.user = as_user.map(|user| users::resolve(user, None).unwrap());
    let workers = [Worker::start(&launch), Worker::start(&launch)];
    primary.run_until(&workers, |primary| primary.listening == 2 && primary.passed >= passed);
    assert_eq!(primary.groups.len(), 1);
    assert!(primary.passed >= passed);

    let mut pids = HashSet::new();
    for _ in 0..500 {
        pids.insert(read_all(SocketAddr::from(([127, 0, 0, 1], port))).trim().to_owned());
        if pids.len() == 2 {
            break;
        }
    }
    let expected = workers.iter().map(|worker| worker.spawned.pid.to_string()).collect();
    assert_eq!(pids, expected);
    for worker in &workers {
        let sockets = target::sockets_of(&target::descendants(worker.spawned.pid.0)).unwrap();
        let ours = primary.groups.values().flatten();
        let held = ours.filter(|fd| sockets.contains(&socket::inode(fd.as_fd()).unwrap())).count();
        assert_eq!(held, 1, "each worker holds one socket of ours");
    }
}

/// First binds everything that must pass (UDP, a unix socket, port 0), then serves.
const PYTHON: &str = "
import os, socket
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(('127.0.0.1', 0)); udp.close()
path = b'\\0sys-test-%d' % os.getpid()
unix = socket.socket(socket.AF_UNIX); unix.bind(path); unix.listen(1); unix.close()
free = socket.socket(); free.bind(('127.0.0.1', 0)); free.listen(1)
assert free.getsockname()[1] != 0
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
server.bind(('127.0.0.1', int(os.environ['PORT'])))
server.listen(50)
assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
while True:
    client, _ = server.accept()
    client.sendall(b'%d' % os.getpid())
    client.close()
";

#[test]
fn python() {
    let argv = ["/usr/bin/python3", "-c", PYTHON];
    two_on_one_port(&argv, free_port(), None, 10);
    if users::is_root() {
        two_on_one_port(&argv, free_port(), Some("65534"), 10);
    }
}

#[test]
fn the_same_by_an_ordinary_user() {
    if !users::is_root() {
        return;
    }
    // Other users may not be allowed into the test's own folder.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("tests");
    install(&program, File::open(std::env::current_exe().unwrap()).unwrap(), "755");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let (mut output, writer) = pipe();
    let again = [
        "sys::tests::intercept::python",
        "sys::tests::spawning",
        "sys::tests::sockets",
        "sys::tests::steering",
    ];
    let mut argv = vec![program.to_str().unwrap(), "--test-threads=1"];
    argv.extend(again);
    let mut launch = launch(&argv, writer.as_fd());
    launch.user = Some(users::resolve("65534", None).unwrap());
    let spawned = spawn(&launch).unwrap();
    go(spawned.report.as_fd());
    drop(writer);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(wait_exit(&spawned), Exit::Code(0), "{text}");
    assert!(text.contains("intercept::python ... ok"), "{text}");
}

/// Children of the command are intercepted too, and the program binds `[::]`.
#[test]
fn node_below_a_shell() {
    let server =
        "require('net').createServer(c => c.end(String(process.ppid))).listen(process.env.PORT)";
    let script = format!("node -e \"{server}\"; true");
    if Path::new("/usr/bin/node").exists() {
        two_on_one_port(&["sh", "-c", &script], free_port(), None, 0);
    }
}

#[test]
fn go_static() {
    const SOURCE: &str = r#"
package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	listener, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		panic(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		fmt.Fprint(client, os.Getpid())
		client.Close()
	}
}
"#;
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("main.go");
    std::fs::write(&source, SOURCE).unwrap();
    let program = folder.path().join("server");
    let built = Command::new("go")
        .args(["build", "-o"])
        .args([&program, &source])
        .env("CGO_ENABLED", "0")
        .output();
    match built {
        Ok(built) => assert!(built.status.success(), "{built:?}"),
        // Go is not installed here.
        Err(_) => return,
    }
    two_on_one_port(&[program.to_str().unwrap()], free_port(), None, 0);
}

#[test]
fn java_threads() {
    const SOURCE: &str = "
import java.net.*;

public class Server {
    public static void main(String[] args) throws Exception {
        Thread thread = new Thread(() -> {
            try (ServerSocket server = new ServerSocket(Integer.parseInt(System.getenv(\"PORT\")))) {
                while (true) {
                    try (Socket client = server.accept()) {
                        String pid = String.valueOf(ProcessHandle.current().pid());
                        client.getOutputStream().write(pid.getBytes());
                    }
                }
            } catch (Exception e) {
                throw new RuntimeException(e);
            }
        });
        thread.start();
        thread.join();
    }
}
";
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("Server.java");
    std::fs::write(&source, SOURCE).unwrap();
    if Path::new("/usr/bin/java").exists() {
        two_on_one_port(&["java", source.to_str().unwrap()], free_port(), None, 0);
    }
}
