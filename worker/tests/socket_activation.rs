//! A real process gets a real socket: this test's own binary, started again as a worker.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

use std::env;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Does nothing unless a test below starts it.
#[test]
fn child() {
    let Ok(word) = env::var("WORKER_TEST_LISTENER") else { return };
    let listener = worker::listener(&word).unwrap();
    assert!(worker::listener(&word).is_err(), "a program can take it once only");
    worker::status("two\nlines").unwrap();
    worker::ready().unwrap();
    let (mut connection, _) = listener.accept().unwrap();
    let identity = worker::Identity::from_env().unwrap();
    write!(connection, "{} {}", identity.app, identity.slot).unwrap();
    worker::stopping().unwrap();
}

fn serve(by: impl Fn(&TcpListener) -> String) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let word = by(&socket);
    let path = env::temp_dir().join(format!("worker-{}-{}", std::process::id(), address.port()));
    let heard = UnixDatagram::bind(&path).unwrap();
    heard.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The shell moves the socket to fd 3 and knows the process id that exec keeps.
    let mut child = Command::new("sh")
        .args(["-c", "LISTEN_PID=$$ exec \"$0\" --exact child 3<&0 0</dev/null"])
        .arg(env::current_exe().unwrap())
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "web")
        .env("NOTIFY_SOCKET", &path)
        .env("WORKER_TEST_LISTENER", &word)
        .env("SUPERVISOR_APP", "shop")
        .env("SUPERVISOR_SLOT", "1")
        .env("SUPERVISOR_WORKERS", "2")
        .env("SUPERVISOR_GENERATION", "1")
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .spawn()
        .unwrap();
    let said = || {
        let mut bytes = [0; 100];
        let length = heard.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    assert_eq!(said(), "STATUS=two lines");
    assert_eq!(said(), "READY=1");
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "shop 1");
    assert_eq!(said(), "STOPPING=1");
    assert!(child.wait().unwrap().success());
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_socket_is_passed_by_name() {
    serve(|_| "web".to_owned());
}

#[test]
fn a_socket_is_passed_by_address() {
    serve(|socket| socket.local_addr().unwrap().to_string());
}

#[test]
fn without_a_supervisor_it_binds_by_itself() {
    let listener = worker::listener("127.0.0.1:0").unwrap();
    assert_ne!(listener.local_addr().unwrap().port(), 0);
    let error = worker::listener("web").unwrap_err().to_string();
    assert_eq!(
        error,
        "\"web\" is neither an address nor the name of a passed socket (the supervisor passed none)"
    );
    worker::ready().unwrap();
}
