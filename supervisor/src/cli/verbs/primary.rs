//! `primary`: makes this process the primary of one app. `start` runs it, and at an upgrade the
//! keeper executes it from the program of the new build.
//!
//! The spec comes on stdin and the report goes to stdout. Both become /dev/null then, so that no
//! worker holds the terminal or the pipe of the user's shell open.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;

use config::spec::AppSpec;
use ipc::lines::MAX_LINE;

use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::keeper::HandoverArgs;
use crate::runtime::{self, Mode};

/// Be the primary of an app; its spec comes on stdin. Started by "start".
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// The app's name.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The descriptors of the memory in which another build left its state.
    #[arg(long, value_delimiter = ',')]
    pub(crate) memory: Vec<i32>,
    /// The limit of open files that workers get.
    #[arg(long)]
    pub(crate) nofile: Option<u64>,
    /// The OOM score adjustment that workers get.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) oom: Option<i32>,
    /// The descriptor of the program of the build before this one.
    #[arg(long)]
    pub(crate) previous: Option<i32>,
    /// The build after this one could not go on.
    #[arg(long)]
    pub(crate) fell_back: bool,
}

/// Runs the verb until the primary ends. With `--memory` it continues from the state of another
/// build.
pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit, Failure> {
    if let Ok(memory) = <[i32; 3]>::try_from(args.memory.as_slice()) {
        let Args { nofile, oom, previous, fell_back, .. } = *args;
        let handover = HandoverArgs { memory, nofile, oom, previous, fell_back };
        return runtime::run_on(&args.name, &session.home, &handover)
            .map(Exit::Primary)
            .map_err(|error| Failure::failed(error.to_string()));
    }
    let spec = read_spec(io::stdin(), &args.name)?;
    let report =
        take_report().map_err(|error| Failure::io("cannot set up stdin and stdout", &error))?;
    session.home.prepare()?;
    session.home.prepare_logs(&args.name)?;
    runtime::run(spec, &session.home, Mode::Daemon { report: Some(report) })
        .map(Exit::Primary)
        .map_err(|error| {
            let (kind, reason) = (error.failure_kind(), error.to_string());
            Failure::refused(&args.name, kind, &reason, Vec::new())
        })
}

/// Reads the spec, which must be that of the app `name`.
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
            "this is to be the primary of {name}, but the spec is that of {}",
            spec.name
        )));
    }
    Ok(spec)
}

/// Returns a copy of stdout for the report, and makes stdin and stdout /dev/null.
fn take_report() -> io::Result<File> {
    let report = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spec_must_be_complete_and_that_of_the_app() {
        let spec = AppSpec::new("web", vec!["true".into()], "/".into());
        let line = ipc::lines::to_line(&spec).unwrap();
        assert_eq!(read_spec(line.as_slice(), "web"), Ok(spec));
        assert_eq!(read_spec(line.as_slice(), "api").unwrap_err().exit, Exit::Usage);
        assert_eq!(read_spec(&line[..9], "web").unwrap_err().exit, Exit::Usage);
        assert_eq!(read_spec(&b""[..], "web").unwrap_err().exit, Exit::Usage);
    }
}
