//! What the workers of an app may do and use: extra groups, limits, priority.
//!
//! Reads the words of a configuration file. Refuses limits and numbers that the kernel does not
//! have, and a file mode creation mask that may have been meant in another base.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is asked for; whatever is not stays as the supervisor was started with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Privileges {
    /// Groups (names or numbers) besides those of the user.
    pub groups: Vec<String>,
    /// The file mode creation mask.
    pub umask: Option<u16>,
    /// CPU priority, -20 (most) to 19 (least).
    pub nice: Option<i8>,
    /// How readily the kernel kills a worker when memory runs out, -1000 (never) to 1000.
    pub oom_score_adj: Option<i16>,
    /// Whether no program that a worker runs can gain privileges (setuid, file capabilities).
    pub no_new_privs: bool,
    /// Resource limits.
    pub limits: BTreeMap<Resource, Limit>,
}

impl Privileges {
    /// Puts what is asked for here over others: groups instead of theirs, limits beside theirs.
    pub fn over(&self, others: &mut Self) {
        if !self.groups.is_empty() {
            others.groups.clone_from(&self.groups);
        }
        others.umask = self.umask.or(others.umask);
        others.nice = self.nice.or(others.nice);
        others.oom_score_adj = self.oom_score_adj.or(others.oom_score_adj);
        others.no_new_privs |= self.no_new_privs;
        others.limits.extend(self.limits.clone());
    }
}

/// A resource limit of setrlimit(2), by its name there in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// Address space in bytes.
    As,
    /// Size of a core dump in bytes.
    Core,
    /// CPU time in seconds.
    Cpu,
    /// Data segment in bytes.
    Data,
    /// Size of a file in bytes.
    Fsize,
    /// Locked memory in bytes.
    Memlock,
    /// POSIX message queues in bytes.
    Msgqueue,
    /// Ceiling of the priority: 20 - nice.
    Nice,
    /// Open files.
    Nofile,
    /// Processes and threads of the user.
    Nproc,
    /// Ceiling of the real-time priority.
    Rtprio,
    /// Queued signals of the user.
    Sigpending,
    /// Stack in bytes.
    Stack,
}

/// Every resource, by its name.
pub const RESOURCES: [(&str, Resource); 13] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rtprio", Resource::Rtprio),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

/// A soft and a hard limit; [`Limit::INFINITY`] is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What applies. A worker may raise it up to the hard one.
    pub soft: u64,
    /// What only root can raise.
    pub hard: u64,
}

impl Limit {
    /// No limit, as the kernel writes it.
    pub const INFINITY: u64 = u64::MAX;
}

impl FromStr for Limit {
    type Err = String;

    /// `65536`, `infinity`, or both limits as `1024:65536`, like systemd.
    fn from_str(text: &str) -> Result<Self, String> {
        let one = |text: &str| match text.trim() {
            "infinity" | "unlimited" => Ok(Self::INFINITY),
            number => {
                number.parse::<u64>().ok().filter(|n| *n != Self::INFINITY).ok_or_else(|| {
                    "expected a whole number, \"infinity\", or \"SOFT:HARD\"".to_owned()
                })
            }
        };
        let (soft, hard) = text.split_once(':').unwrap_or((text, text));
        let limit = Self { soft: one(soft)?, hard: one(hard)? };
        if limit.soft > limit.hard {
            return Err("the soft limit is above the hard one: write \"SOFT:HARD\"".to_owned());
        }
        Ok(limit)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |limit: u64| match limit {
            Self::INFINITY => "infinity".to_owned(),
            number => number.to_string(),
        };
        match self.soft == self.hard {
            true => f.write_str(&one(self.soft)),
            false => write!(f, "{}:{}", one(self.soft), one(self.hard)),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = RESOURCES.iter().find(|(_, resource)| resource == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// A mask in octal: `027`.
pub fn umask(text: &str) -> Result<u16, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    u16::from_str_radix(digits, 8)
        .ok()
        .filter(|mask| plain && *mask <= 0o777)
        .ok_or_else(|| "expected an octal mask such as \"027\", at most \"777\"".to_owned())
}

/// A whole number within bounds.
pub fn within<T: FromStr + PartialOrd + fmt::Display>(
    text: &str,
    least: T,
    most: T,
) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(number) if number >= least && number <= most => Ok(number),
        _ => Err(format!("expected a whole number from {least} to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_shown() {
        for (text, soft, hard) in [
            ("65536", 65536, 65536),
            ("1024:4096", 1024, 4096),
            ("infinity", u64::MAX, u64::MAX),
            ("0:unlimited", 0, u64::MAX),
        ] {
            let limit: Limit = text.parse().unwrap();
            assert_eq!((limit.soft, limit.hard), (soft, hard), "{text}");
            assert_eq!(limit.to_string().parse(), Ok(limit));
        }
        for wrong in ["", "-1", "1.5", "many", "5:4", "infinity:4", "18446744073709551615"] {
            assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_resource_has_its_name() {
        for (name, resource) in RESOURCES {
            assert_eq!(resource.to_string(), name);
            assert_eq!(serde_json::to_value(resource).unwrap(), name);
        }
    }

    #[test]
    fn masks_are_octal() {
        assert_eq!(umask("027"), Ok(0o27));
        assert_eq!(umask("0o77"), Ok(0o77));
        assert_eq!(umask("0"), Ok(0));
        for wrong in ["", "8", "1000", "+7", "rwx", "-1"] {
            assert!(umask(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(within("-20", -20i8, 19), Ok(-20));
        let error = within("20", -20i8, 19).unwrap_err();
        assert_eq!(error, "expected a whole number from -20 to 19");
        assert!(within("x", -1000i16, 1000).is_err());
    }
}
