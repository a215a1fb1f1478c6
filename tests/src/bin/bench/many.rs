//! Many apps of `sleep`: how long a start, a list and a delete of all of them take, and what the
//! supervisor itself holds, beside PM2 in the same rounds.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tests::{Home, fixtures, process, run};

use crate::setup;
use crate::stats::Samples;

const LIMIT: Duration = Duration::from_secs(300);

/// What one round measures of one of the two.
const FIGURES: [&str; 4] = ["start FILE, ms", "list, ms", "PSS, MiB", "delete all, ms"];

/// The commands of the supervisor or of PM2.
enum Kind {
    Ours,
    Pm2 { node: String, program: PathBuf },
}

impl Kind {
    fn name(&self) -> &'static str {
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

    /// A configuration of `count` apps. Ours are ready at once, since PM2 waits for nothing.
    fn file(&self, home: &Home, count: usize) -> String {
        let apps: Vec<serde_json::Value> = (0..count)
            .map(|number| {
                let name = format!("a{number}");
                let (script, args) = ("sleep", ["100000"]);
                serde_json::json!({
                    "name": name, "script": script, "args": args, "interpreter": "none"
                })
            })
            .collect();
        let ours = (0..count).map(|number| {
            format!(
                "[app.a{number}]\ncommand = [\"sleep\", \"100000\"]\nready = \"uptime\"\n\
                 min_uptime = \"0s\"\n"
            )
        });
        let (name, text) = match self {
            Self::Ours => ("many.toml", ours.collect()),
            Self::Pm2 { .. } => ("many.json", serde_json::json!({ "apps": apps }).to_string()),
        };
        home.write(name, &text).display().to_string()
    }

    /// Runs one command and returns its milliseconds.
    fn timed(&self, home: &Home, args: &[&str]) -> f64 {
        let begun = Instant::now();
        run::spawn(&mut self.command(home, args), home.path()).end(LIMIT).ok();
        begun.elapsed().as_secs_f64() * 1000.0
    }

    fn round(&self, binary: &str, count: usize) -> [f64; 4] {
        let home = Home::new(binary);
        let file = self.file(&home, count);
        if matches!(self, Self::Pm2 { .. }) {
            // PM2's daemon runs already in a working day.
            self.timed(&home, &["ping"]);
        }
        let start = self.timed(&home, &["start", &file]);
        self.timed(&home, &["list"]);
        let list = self.timed(&home, &["list"]);
        let own = process::of_home(home.path()).into_iter().filter(|p| p.name != "sleep");
        let held: u64 = own.map(|p| process::pss_kib(p.pid)).sum();
        let delete = self.timed(&home, &["delete", "all"]);
        [start, list, held as f64 / 1024.0, delete]
    }
}

/// Measures each of the counts in `rounds` rounds and prints the medians with their spread.
pub(crate) fn apps(binary: &str, counts: &[usize], rounds: usize) {
    let mut kinds = vec![Kind::Ours];
    if let Some((node, program)) = fixtures::need("node").zip(setup::pm2()) {
        kinds.push(Kind::Pm2 { node, program });
    }
    for count in counts {
        let mut measured: Vec<[Samples; 4]> = kinds.iter().map(|_| Default::default()).collect();
        for _ in 0..rounds {
            for (kind, samples) in kinds.iter().zip(&mut measured) {
                let figures = kind.round(binary, *count);
                samples.iter_mut().zip(figures).for_each(|(sample, figure)| sample.push(figure));
            }
        }
        println!("\n{count} apps of sleep, {rounds} rounds");
        for (index, figure) in FIGURES.iter().enumerate() {
            for (kind, samples) in kinds.iter().zip(&measured) {
                println!("  {figure:<16} {:<12} {}", kind.name(), samples[index]);
            }
        }
    }
}
