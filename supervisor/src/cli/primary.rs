//! `primary`: this process becomes the primary of one app. Started by `start`, never by a person.
//!
//! The spec comes on stdin and the report goes to stdout; neither stays open as such, so that no
//! worker can hold or write to the terminal or pipe of whoever typed `start`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;

use config::spec::AppSpec;
use ipc::lines::MAX_LINE;

use super::Session;
use super::args::PrimaryArgs;
use super::ask::refused;
use super::exit::{Exit, Failure};
use crate::keeper::HandoverArgs;

pub(super) fn run(args: &PrimaryArgs, session: &Session) -> Result<Exit, Failure> {
    if let Ok(memory) = <[i32; 3]>::try_from(args.memory.as_slice()) {
        let PrimaryArgs { nofile, oom, previous, fell_back, .. } = *args;
        let estate = HandoverArgs { memory, nofile, oom, previous, fell_back };
        return crate::runtime::run_on(&args.name, &session.home, &estate)
            .map(Exit::Primary)
            .map_err(|error| Failure::failed(error.to_string()));
    }
    let spec = read_spec(io::stdin(), &args.name)?;
    let report =
        take_report().map_err(|error| Failure::io("cannot set up stdin and stdout", &error))?;
    session.home.prepare()?;
    session.home.prepare_logs(&args.name)?;
    crate::runtime::run(spec, &session.home, crate::runtime::Mode::Daemon { report: Some(report) })
        .map(Exit::Primary)
        .map_err(|error| refused(&args.name, error.failure_kind(), &error.to_string(), Vec::new()))
}

fn read_spec(from: impl Read, name: &str) -> Result<AppSpec, Failure> {
    let mut line = Vec::new();
    BufReader::new(from.take(MAX_LINE as u64))
        .read_until(b'\n', &mut line)
        .map_err(|error| Failure::io("cannot read the spec from stdin", &error))?;
    let spec: AppSpec = serde_json::from_slice(&line).map_err(|error| {
        Failure::usage(format!("stdin has no spec ({error}); use \"supervisor start\""))
    })?;
    if spec.name != name {
        return Err(Failure::usage(format!(
            "asked to be {name}, and the spec is of {}",
            spec.name
        )));
    }
    Ok(spec)
}

/// A copy of stdout for the report; stdin and stdout themselves become /dev/null.
fn take_report() -> io::Result<File> {
    let report = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let nothing = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&nothing)?;
    nix::unistd::dup2_stdout(&nothing)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spec_must_be_whole_and_the_named_one() {
        let spec = AppSpec::new("web", vec!["true".into()], "/".into());
        let line = ipc::lines::to_line(&spec).unwrap();
        assert_eq!(read_spec(line.as_slice(), "web"), Ok(spec));
        assert_eq!(read_spec(line.as_slice(), "api").unwrap_err().exit, Exit::Usage);
        assert_eq!(read_spec(&line[..9], "web").unwrap_err().exit, Exit::Usage);
        assert_eq!(read_spec(&b""[..], "web").unwrap_err().exit, Exit::Usage);
    }
}
