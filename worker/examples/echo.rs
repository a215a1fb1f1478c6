//! A TCP echo server that names its worker: under the supervisor, or by hand.
//!
//! ```sh
//! cargo run -p worker --example echo
//! supervisor start -i 2 --listen echo=7000 -- target/debug/examples/echo
//! ```

use std::io::{self, Write};
use std::net::TcpListener;
use std::thread;

/// The connections that are served at a time. The others wait in the socket's queue.
const THREADS: usize = 8;

fn main() -> io::Result<()> {
    let name = match worker::Identity::from_env() {
        Some(worker) => format!("{} {}/{}", worker.app, worker.slot, worker.workers),
        None => "no worker".to_owned(),
    };
    // The socket that the supervisor passes, or an ordinary bind.
    let listener = worker::listener("7000")?;
    worker::status("echoing")?;
    worker::ready()?;
    thread::scope(|scope| {
        for _ in 1..THREADS {
            scope.spawn(|| serve(&listener, &name));
        }
        serve(&listener, &name);
    });
    Ok(())
}

fn serve(listener: &TcpListener, name: &str) {
    for connection in listener.incoming() {
        // A client that leaves early does not end the server.
        let result = connection.and_then(|mut connection| {
            writeln!(connection, "{name}, process {}", std::process::id())?;
            let mut input = connection.try_clone()?;
            io::copy(&mut input, &mut connection)
        });
        if let Err(error) = result {
            eprintln!("echo: {error}");
        }
    }
}
