//! The dashboard in the browser: a process of its own, which asks primaries, keeps an hour of
//! history, and streams changes to its pages.
//!
//! - `model` is pure: reports change it, and each page is told what changed since it last heard.
//! - `access` is pure: the checks of a request.
//! - `gather` has the threads, which feed the model.
//! - `stream`, `routes`: what a page is sent, and what it may ask for.
//! - `assets`: the page itself.
//!
//! A page that reads slowly holds one chunk, and gets the newest state when it has read that. It
//! delays no primary and no other page, because nothing waits for it but its own task.

mod access;
mod actions;
mod assets;
mod gather;
mod log_followers;
mod model;
mod routes;
mod secrets;
mod stream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::exit::{Exit, Failure};
use super::http::Server;
use super::output;
use super::session::Session;
use access::Access;
use gather::Gathered;
use routes::Site;
use secrets::Token;

/// Connections at a time: streams, and short requests beside them. Further ones wait in the
/// kernel's queue.
const CONNECTIONS: usize = 256;

/// How the dashboard is served.
#[derive(Debug)]
pub(crate) struct Options {
    /// Only these apps; `None` for all.
    pub(crate) names: Option<Vec<String>>,
    pub(crate) address: SocketAddr,
    /// Where the token is; `None`: a random one.
    pub(crate) token_file: Option<PathBuf>,
    /// Everyone who reaches the address sees the page.
    pub(crate) no_token: bool,
    /// The page can reload, restart, scale, stop and start.
    pub(crate) allow_actions: bool,
    /// Names by which browsers reach it, besides localhost and IP addresses.
    pub(crate) hosts: Vec<String>,
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn serve(session: &mut Session, options: Options) -> Result<Exit, Failure> {
    if options.no_token && !options.address.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "{} can be reached from other machines, and --no-token lets everyone in: leave \
             --no-token out, or listen on 127.0.0.1",
            options.address
        )));
    }
    let token = match (options.no_token, &options.token_file) {
        (true, _) => None,
        (false, Some(path)) => Some(Token::read(path)?),
        (false, None) => Some(Token::random()?),
    };
    let server = Server::listen(options.address, "serve the dashboard", 1)?;
    let address = server.address;
    match (&token, &options.token_file) {
        (Some(token), None) => {
            session.out.line(format_args!("dashboard: http://{address}/?token={}", token.text()));
        }
        (Some(_), Some(path)) => session.out.line(format_args!(
            "dashboard: http://{address}/ (the token is in {})",
            path.display()
        )),
        (None, _) => session.out.line(format_args!("dashboard: http://{address}/")),
    }
    if !address.ip().is_loopback() {
        output::note(
            "supervisor: this is HTTP without TLS: on the way, the token can be read; put a proxy \
             with TLS in front, or use \"ssh -L\"",
        );
    }
    let gathered = Gathered::start(&session.home, options.names)?;
    let access = Access::new(token, address.port(), options.hosts)?;
    let site = Arc::new(Site::new(gathered, access, options.allow_actions));
    server.run(CONNECTIONS, move |request, lasting| {
        let site = Arc::clone(&site);
        async move { site.answer(request, &lasting).await }
    })
}
