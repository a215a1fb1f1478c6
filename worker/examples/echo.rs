//! A TCP echo server that says who it is: under the supervisor, or by hand.
//!
//! ```sh
//! cargo run -p worker --example echo
//! supervisor start -i 2 --listen echo=7000 -- target/debug/examples/echo
//! ```

use std::io::{self, Write};
use std::net::TcpListener;
use std::thread;

/// How many connections are served at once; the others wait in the socket's queue.
const THREADS: usize = 8;

fn main() -> io::Result<()> {
    let lent = worker::Identity::from_env();
    let who = match &lent {
        Some(worker) => format!("{} {}/{}", worker.app, worker.slot, worker.workers),
        None => "nobody's worker".to_owned(),
    };
    // The lent socket on that port, or a bind that works anywhere.
    let listener = worker::listener("7000")?;
    worker::status("echoing")?;
    worker::ready()?;
    thread::scope(|scope| {
        for _ in 1..THREADS {
            scope.spawn(|| serve(&listener, &who));
        }
        serve(&listener, &who);
    });
    Ok(())
}

fn serve(listener: &TcpListener, who: &str) {
    for connection in listener.incoming() {
        // A client that leaves early is no concern of the others.
        let result = connection.and_then(|mut connection| {
            writeln!(connection, "{who}, process {}", std::process::id())?;
            let mut input = connection.try_clone()?;
            io::copy(&mut input, &mut connection)
        });
        if let Err(error) = result {
            eprintln!("echo: {error}");
        }
    }
}
