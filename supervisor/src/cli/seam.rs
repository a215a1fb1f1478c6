//! What other rooms provide: the readers of the `config` package and the drive.

use std::path::Path;

use config::spec::AppSpec;

/// Reads a configuration file.
pub(crate) fn load(path: &Path, cpus: &instances::Cpus) -> Result<Vec<AppSpec>, Report> {
    let _ = cpus;
    Err(Report(format!("{}: configuration files cannot be read by this build", path.display())))
}

/// Everything that is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Report(String);

pub(crate) mod name {
    /// Refuses what cannot be an app's name.
    pub(crate) fn check(name: &str) -> Result<(), String> {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if (1..=64).contains(&name.len())
            && name.chars().all(fine)
            && !name.starts_with('.')
            && name != "all"
        {
            Ok(())
        } else {
            Err(format!(
                "\"{name}\" cannot be a name: use 1 to 64 letters, digits, \".\", \"_\" or \"-\""
            ))
        }
    }

    /// The name of an app that nobody named.
    pub(crate) fn from_command(command: &[String]) -> String {
        let word = command.get(1).filter(|w| w.contains('.')).or_else(|| command.first());
        let stem = word.and_then(|word| std::path::Path::new(word).file_stem());
        stem.map_or_else(|| "app".to_owned(), |stem| stem.to_string_lossy().into_owned())
    }
}

pub(crate) mod instances {
    use config::spec::Instances;

    pub(crate) struct Cpus(u16);

    pub(crate) struct Resolved {
        pub(crate) count: u16,
        pub(crate) because: String,
    }

    impl Cpus {
        pub(crate) fn read() -> Self {
            let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            Self(u16::try_from(count).unwrap_or(u16::MAX))
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Instances, String> {
        let wrong = || format!("\"{text}\" is no number of workers: write N, max, -N or P%");
        let count = |text: &str| text.parse::<u16>().ok().filter(|n| *n > 0).ok_or_else(wrong);
        if text == "max" {
            Ok(Instances::Max)
        } else if let Some(less) = text.strip_prefix('-') {
            count(less).map(Instances::MaxMinus)
        } else if let Some(share) = text.strip_suffix('%') {
            count(share).map(Instances::Percent)
        } else {
            count(text).map(Instances::Count)
        }
    }

    /// To become `Instances::resolve`.
    pub(crate) fn resolve(instances: Instances, cpus: &Cpus) -> Resolved {
        let max = cpus.0;
        let because = format!("max of {max} CPUs");
        match instances {
            Instances::Count(count) => Resolved { count, because: format!("{count} asked for") },
            Instances::Max => Resolved { count: max, because },
            Instances::MaxMinus(less) => {
                Resolved { count: max.saturating_sub(less).max(1), because }
            }
            Instances::Percent(share) => {
                let count = (u32::from(max) * u32::from(share) + 50) / 100;
                Resolved { count: u16::try_from(count).unwrap_or(u16::MAX).max(1), because }
            }
        }
    }
}

pub(crate) mod address {
    use std::net::SocketAddr;

    use config::spec::{AddressPattern, ListenAddress, ListenSpec};

    pub(crate) fn parse_listen(text: &str) -> Result<ListenSpec, String> {
        let (name, address) = text.split_once('=').unwrap_or(("main", text));
        let address = match address.strip_prefix("unix:") {
            Some(path) => ListenAddress::Unix(path.into()),
            None => ListenAddress::Tcp(
                address.parse().map_err(|_| format!("\"{address}\" is no address"))?,
            ),
        };
        Ok(ListenSpec { name: name.to_owned(), address })
    }

    pub(crate) fn parse_pattern(text: &str) -> Result<AddressPattern, String> {
        let address: SocketAddr = text.parse().map_err(|_| format!("\"{text}\" is no address"))?;
        Ok(AddressPattern { ip: Some(address.ip()), port: Some(address.port()) })
    }
}

pub(crate) mod command {
    use std::path::Path;

    pub(crate) fn for_file(path: &Path) -> Result<Vec<String>, String> {
        let text = path.to_str().ok_or("the path is not UTF-8")?.to_owned();
        Ok(match path.extension().and_then(|ending| ending.to_str()) {
            Some("js" | "mjs" | "cjs" | "ts") => vec!["node".to_owned(), text],
            Some("py") => vec!["python3".to_owned(), text],
            Some("sh") => vec!["sh".to_owned(), text],
            _ => vec![text],
        })
    }
}

pub(crate) mod units {
    use std::time::Duration;

    pub(crate) fn duration(text: &str) -> Result<Duration, String> {
        humantime::parse_duration(text)
            .map_err(|_| format!("\"{text}\" is no duration: write 500ms, 10s or 1m 30s"))
    }
}

pub(crate) mod drive {
    use std::fs::File;

    use config::spec::AppSpec;
    use ipc::control::FailureKind;

    use crate::home::Home;

    #[derive(Debug)]
    pub(crate) enum Mode {
        Daemon { report: File },
        Foreground,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    pub(crate) struct LaunchError(String);

    impl LaunchError {
        pub(crate) fn failure_kind(&self) -> FailureKind {
            FailureKind::Failed
        }
    }

    pub(crate) fn run(spec: AppSpec, _home: &Home, mode: Mode) -> Result<u8, LaunchError> {
        let reason = format!("{}: this build cannot run apps", spec.name);
        if let Mode::Daemon { mut report } = mode {
            let line = serde_json::json!({"ok": false, "kind": "failed", "reason": reason});
            // Nobody else could be told.
            let _ = std::io::Write::write_all(&mut report, format!("{line}\n").as_bytes());
        }
        Err(LaunchError(reason))
    }
}
