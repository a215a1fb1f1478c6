//! The two whose commands are measured beside each other: the supervisor and PM2.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tests::{Home, fixtures, run};

use crate::setup;

const LIMIT: Duration = Duration::from_secs(300);

/// The commands of the supervisor or of PM2.
pub(crate) enum Contestant {
    Ours,
    Pm2 { node: String, program: PathBuf },
}

impl Contestant {
    /// The supervisor, and PM2 if it can be had here.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Ours];
        match fixtures::need("node").zip(setup::pm2()) {
            Some((node, program)) => all.push(Self::Pm2 { node, program }),
            None => println!("  PM2 cannot be installed here"),
        }
        all
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ours => "supervisor",
            Self::Pm2 { .. } => "PM2",
        }
    }

    fn command(&self, home: &Home, args: &[&str]) -> Command {
        let mut command = match self {
            Self::Ours => home.command(),
            Self::Pm2 { node, program } => {
                let mut command = home.command_of(node);
                command.arg(program).env("PM2_HOME", home.path().join("pm2"));
                command
            }
        };
        command.args(args);
        command
    }

    /// Runs one command and returns its milliseconds.
    pub(crate) fn timed(&self, home: &Home, args: &[&str]) -> f64 {
        let begun = Instant::now();
        run::spawn(&mut self.command(home, args), home.path()).end(LIMIT).ok();
        begun.elapsed().as_secs_f64() * 1000.0
    }
}
