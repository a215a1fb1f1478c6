//! An ordinary Rust server that does not know of a supervisor: `plain-server PORT`. It has a thread
//! for each connection and speaks HTTP/1.1 with keep-alive.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|text| text.parse::<u16>().ok());
    let port = port.ok_or_else(|| io::Error::other("usage: plain-server PORT"))?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    for stream in listener.incoming() {
        let stream = stream?;
        // An error means that the client has gone away.
        thread::spawn(move || drop(serve(&stream)));
    }
    Ok(())
}

fn serve(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream).lines();
    let body = format!("pid={}\n", std::process::id());
    loop {
        let mut closes = false;
        loop {
            let Some(line) = lines.next() else { return Ok(()) };
            let line = line?;
            closes |= line.eq_ignore_ascii_case("connection: close");
            if line.is_empty() {
                break;
            }
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        (&*stream).write_all((head + &body).as_bytes())?;
        if closes {
            return Ok(());
        }
    }
}
