//! The ways to run the app that are compared, and which of them apply to a command. Pure.

use config::spec::Balance;
use config::words;
use serde::{Serialize, Serializer};

/// A way to run the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setup {
    /// One process, without a supervisor.
    Single,
    /// Copies that share the port by themselves (SO_REUSEPORT), without a supervisor.
    Bare,
    /// Under us, with the kernel engine.
    Kernel(Balance),
    /// Under us, with the primary engine.
    Primary(Balance),
    /// Under Node's own cluster.
    Cluster,
    /// Under PM2 in cluster mode.
    Pm2,
    /// gunicorn with its own workers.
    Gunicorn,
}

const KERNEL: [Balance; 4] = [Balance::RoundRobin, Balance::Hash, Balance::Shared, Balance::Sticky];
const PRIMARY: [Balance; 3] = [Balance::RoundRobin, Balance::LeastConnections, Balance::Sticky];

impl Setup {
    /// Every setup, in the order of the table.
    pub(super) fn all() -> Vec<Self> {
        let ours = KERNEL.map(Self::Kernel).into_iter().chain(PRIMARY.map(Self::Primary));
        let others = [Self::Cluster, Self::Pm2, Self::Gunicorn];
        [Self::Single, Self::Bare].into_iter().chain(ours).chain(others).collect()
    }

    /// The word for it, on the command line and in reports.
    pub(super) fn word(self) -> String {
        match self {
            Self::Single => "single".to_owned(),
            Self::Bare => "bare".to_owned(),
            Self::Kernel(balance) => format!("kernel/{}", words::word(balance)),
            Self::Primary(balance) => format!("primary/{}", words::word(balance)),
            Self::Cluster => "node-cluster".to_owned(),
            Self::Pm2 => "pm2".to_owned(),
            Self::Gunicorn => "gunicorn".to_owned(),
        }
    }

    /// Whether a word of `--only` means it: its own word, or the engine alone.
    pub(super) fn is_meant_by(self, word: &str) -> bool {
        let own = self.word();
        own == word || own.split_once('/').is_some_and(|(engine, _)| engine == word)
    }
}

impl Serialize for Setup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.word())
    }
}

/// What is special about a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    /// Node with a script: the program, the script, its arguments.
    Node {
        program: String,
        script: String,
        arguments: Vec<String>,
    },
    /// gunicorn with a number of workers of its own.
    Gunicorn {
        workers: u16,
    },
    Other,
}

impl Program {
    /// What this command is.
    pub(super) fn of(command: &[String]) -> Self {
        let name = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
        match command {
            [program, script, arguments @ ..]
                if ["node", "nodejs"].contains(&name(program).as_str())
                    && !script.starts_with('-') =>
            {
                let (program, script) = (program.clone(), script.clone());
                Self::Node { program, script, arguments: arguments.to_vec() }
            }
            [program, module, of, ..]
                if name(program) == "gunicorn" || [module, of] == ["-m", "gunicorn"] =>
            {
                workers(command).map_or(Self::Other, |(_, workers)| Self::Gunicorn { workers })
            }
            _ => Self::Other,
        }
    }

    /// Why a setup does not apply, if it does not.
    pub(super) fn refuses(&self, setup: Setup, copies: u16, pm2: bool) -> Option<String> {
        let is_node = matches!(self, Self::Node { .. });
        let reason = match setup {
            Setup::Bare if copies < 2 => "one copy is the setup single",
            Setup::Cluster | Setup::Primary(_) if !is_node => {
                "the command is not node with a script"
            }
            Setup::Pm2 if !is_node => "PM2's cluster mode takes Node scripts alone",
            Setup::Pm2 if !pm2 => "pm2 is not on PATH; --peer pm2=PATH names it",
            Setup::Gunicorn if !matches!(self, Self::Gunicorn { .. }) => {
                "the command is not gunicorn with --workers"
            }
            _ => return None,
        };
        Some(reason.to_owned())
    }
}

/// Where the number of workers of gunicorn stands in its command line, and the number.
fn workers(command: &[String]) -> Option<(usize, u16)> {
    command.iter().enumerate().find_map(|(at, word)| {
        if word == "-w" || word == "--workers" {
            return Some((at + 1, command.get(at + 1)?.parse().ok()?));
        }
        Some((at, word.strip_prefix("--workers=")?.parse().ok()?))
    })
}

/// The command with one worker of gunicorn's own. Any other command as it is.
pub(super) fn with_one_worker(command: &[String]) -> Vec<String> {
    let mut command = command.to_vec();
    if let (Program::Gunicorn { .. }, Some((at, _))) = (Program::of(&command), workers(&command)) {
        let is_joined = command[at].starts_with("--workers=");
        command[at] = if is_joined { "--workers=1" } else { "1" }.to_owned();
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn each_setup_has_a_word_of_its_own_and_an_engine_means_all_of_its_balances() {
        let mut words: Vec<String> = Setup::all().into_iter().map(Setup::word).collect();
        assert_eq!(words.len(), 12);
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 12);
        let meant = |word: &str| Setup::all().iter().filter(|one| one.is_meant_by(word)).count();
        assert_eq!([meant("kernel"), meant("kernel/hash"), meant("pm2"), meant("x")], [4, 1, 1, 0]);
    }

    #[test]
    fn what_applies_to_which_command() {
        let of = |text: &str| Program::of(&words_of(text));
        assert!(matches!(of("/usr/bin/node x.js 1"), Program::Node { .. }));
        assert_eq!(of("node --inspect x.js"), Program::Other);
        assert_eq!(of("gunicorn -w 3 app:app"), Program::Gunicorn { workers: 3 });
        assert_eq!(of("python3 -m gunicorn app --workers=4"), Program::Gunicorn { workers: 4 });
        assert_eq!(of("gunicorn app:app -b :1"), Program::Other);
        let go = of("./server 80");
        assert!(go.refuses(Setup::Primary(Balance::Sticky), 2, true).is_some());
        assert!(go.refuses(Setup::Pm2, 2, true).is_some());
        assert_eq!(go.refuses(Setup::Kernel(Balance::Sticky), 2, true), None);
        assert!(go.refuses(Setup::Bare, 1, true).is_some());
        assert_eq!(of("node x.js").refuses(Setup::Pm2, 2, true), None);
        assert!(of("node x.js").refuses(Setup::Pm2, 2, false).unwrap().contains("--peer"));
    }

    #[test]
    fn the_supervisor_runs_gunicorn_with_one_worker_each() {
        let one = |text: &str| with_one_worker(&words_of(text)).join(" ");
        assert_eq!(one("gunicorn -w 3 app"), "gunicorn -w 1 app");
        assert_eq!(one("gunicorn --workers=3 app"), "gunicorn --workers=1 app");
        assert_eq!(one("node x.js -w 3"), "node x.js -w 3");
    }
}
