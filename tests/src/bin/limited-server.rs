//! A Rust server on the bus that obeys the limits of its configuration: `limited-server PORT`.
//! It answers each connection once, and an action returns the most connections it had at a time.

use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use worker::{Connection, Error, Worker};

fn main() -> Result<(), Error> {
    let port = std::env::args().nth(1).ok_or("usage: limited-server PORT")?;
    let worker = Worker::join()?;
    let most = Arc::new(AtomicU64::new(0));
    let (me, seen) = (worker.clone(), Arc::clone(&most));
    worker.action("most", move |_| {
        Ok::<_, Error>(json!([me.connections(), seen.swap(0, Ordering::Relaxed)]))
    })?;
    let listener = worker.listener(&port)?;
    worker.ready()?;
    // The scope waits until every connection is answered.
    thread::scope(|scope| {
        while let Some((connection, _)) = listener.accept()? {
            most.fetch_max(worker.connections(), Ordering::Relaxed);
            let me = &worker;
            scope.spawn(move || {
                if let Err(error) = serve(me, &connection) {
                    eprintln!("a connection was not served: {error}");
                }
            });
        }
        Ok(())
    })
}

fn serve(worker: &Worker, mut connection: &Connection) -> Result<(), Error> {
    let mut lines = BufReader::new(connection).lines();
    let asked = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let head = match asked.starts_with("GET /rated ").then(|| worker.admit()) {
        Some(Err(limited)) => {
            let after = limited.retry_after();
            format!("HTTP/1.1 429 Too Many Requests\r\nRetry-After: {after}\r\n")
        }
        Some(Ok(())) | None => "HTTP/1.1 200 OK\r\n".to_owned(),
    };
    tests::wait::let_pass(Duration::from_millis(10));
    let body = format!("pid={}\n", std::process::id());
    let length = body.len();
    write!(connection, "{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")?;
    Ok(())
}
