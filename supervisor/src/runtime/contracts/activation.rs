//! The activation contract: a program inherits its sockets, and finds them by LISTEN_FDS
//! (sd_listen_fds(3)) or by `${fd:NAME}` in its arguments.

use std::ffi::OsString;
use std::io;

use ipc::control::Contract;
use serde_json::Value;

use super::interface::{Endpoint, FIRST_FD, Offer, Refusal, WorkerContract};
use crate::limits::BACKLOG;
use crate::sys::held::Claims;
use crate::sys::socket;

/// See the module.
#[derive(Debug)]
pub(super) struct Activation;

impl WorkerContract for Activation {
    fn name(&self) -> Contract {
        Contract::Activation
    }

    fn variables(&self) -> &'static [&'static str] {
        &["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"]
    }

    fn offer(&self, offer: &mut Offer<'_>) -> Result<(), Refusal> {
        let names = listen(offer).map_err(|e| Refusal::temporary("lend its sockets", &e))?;
        offer.argv = arguments(&offer.argv, &names)?;
        let parts = &mut offer.parts;
        offer.lend.iter().for_each(|place| parts.lend(*place));
        if !names.is_empty() {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            parts.variables.extend(systemd::listen::environment(&names));
            parts.listen_pid = true;
            parts.used.insert(Contract::Activation);
        }
        Ok(())
    }

    fn state_field(&self) -> Option<&'static str> {
        None
    }

    fn restore(&self, _: Value, _: &mut Claims) -> Option<Box<dyn Endpoint>> {
        None
    }
}

/// Makes every lent socket exist and listen; gives their names in order.
fn listen(offer: &mut Offer<'_>) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for (id, socket) in offer.lend {
        let Some(listener) = offer.listeners.get_mut(*id) else { continue };
        if !listener.is_shared() {
            listener.listen(*socket, BACKLOG)?;
        }
        // A program that sets O_NONBLOCK does so on the open file description, which stays: the
        // next borrower starts from the state systemd would give it.
        socket::set_nonblocking(listener.socket(*socket)?, false)?;
        names.push(listener.name.clone().unwrap_or_else(|| listener.address()));
    }
    Ok(names)
}

/// The arguments with `${fd:NAME}` replaced. One that is no text names no socket.
fn arguments(argv: &[OsString], names: &[String]) -> Result<Vec<OsString>, Refusal> {
    let replaced = |argument: &OsString| match argument.to_str() {
        Some(text) => replace_fds(text, names).map(OsString::from),
        None => Ok(argument.clone()),
    };
    argv.iter().map(replaced).collect()
}

fn replace_fds(argument: &str, names: &[String]) -> Result<String, Refusal> {
    let mut done = String::new();
    let mut rest = argument;
    while let Some((before, after)) = rest.split_once("${fd:") {
        let Some((name, behind)) = after.split_once('}') else { break };
        let Some(at) = names.iter().position(|known| known == name) else {
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(Refusal::permanent(format!(
                "the argument {argument:?} names a socket {name:?} that is not configured (known: {known}; add it with --listen {name}=ADDRESS)"
            )));
        };
        done.push_str(before);
        done.push_str(&(FIRST_FD as usize + at).to_string());
        rest = behind;
    }
    done.push_str(rest);
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_keep_what_else_was_put_into_them() {
        let argv = ["serve".into(), "${fd:web} of slot 3".into()];
        let replaced = arguments(&argv, &["web".to_owned()]).map_err(|refusal| refusal.reason);
        assert_eq!(replaced, Ok(vec!["serve".into(), "3 of slot 3".into()]));
    }

    #[test]
    fn fds_are_named_in_arguments() {
        let names = ["web".to_owned(), "admin".to_owned()];
        let replaced = |argument| replace_fds(argument, &names).map_err(|refusal| refusal.reason);
        assert_eq!(replaced("--fd=${fd:admin}"), Ok("--fd=4".to_owned()));
        assert_eq!(replaced("${fd:web},${fd:admin}"), Ok("3,4".to_owned()));
        assert_eq!(replaced("${HOME} ${fd:"), Ok("${HOME} ${fd:".to_owned()));
        assert_eq!(
            replaced("${fd:nope}").unwrap_err(),
            "the argument \"${fd:nope}\" names a socket \"nope\" that is not configured (known: web, admin; add it with --listen nope=ADDRESS)"
        );
    }
}
