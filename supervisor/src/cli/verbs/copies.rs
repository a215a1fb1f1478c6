//! `copies`: starts several copies of a command in a session of their own, for `bench`.

use std::io;
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{Stdout, pause};
use crate::cli::trial::interrupt::Interrupt;
use crate::sys::daemon;
use crate::sys::pidfd::{self, Pid};

/// How often it is looked whether all still run.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Run copies of a command until one ends or a signal comes; all end together.
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// How many.
    #[arg(long)]
    count: u16,
    /// The command.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, _: &mut Stdout) -> Result<Exit, Failure> {
    let interrupt = Interrupt::new()?;
    let cannot = |what: &str, error: &io::Error| Failure::io(format_args!("cannot {what}"), error);
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::usage("the command is empty"));
    };
    // Everything that can fail before a copy runs, and with it a group that must be killed.
    daemon::detach().map_err(|error| cannot("start a session", &error))?;
    let mut children: Vec<Child> = Vec::with_capacity(usize::from(args.count));
    for _ in 0..args.count {
        match Command::new(program).args(arguments).spawn() {
            Ok(child) => children.push(child),
            Err(error) => {
                let failure = cannot(&format!("run {program}"), &error);
                children.iter_mut().for_each(|child| _ = child.kill());
                return Err(failure);
            }
        }
    }
    loop {
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        if interrupt.came() && children.is_empty() {
            return Ok(Exit::Done);
        }
        if !interrupt.came() && children.len() < usize::from(args.count) {
            // With this process: what the copies have started is of the same group.
            pidfd::signal_group(Pid(std::process::id()), Signal::SIGKILL as i32)
                .map_err(|error| cannot("kill the other copies", &error))?;
        }
        pause(LOOK_EVERY);
    }
}
