//! How many workers: as people write it, and how many that is on this machine.
//!
//! Refuses zero and everything above [`MAX_WORKERS`].

use std::fmt;
use std::str::FromStr;

use crate::cpus::Cpus;
use crate::spec::Instances;

/// The most workers one app may have.
pub const MAX_WORKERS: u16 = 1024;

/// The largest share of the CPUs, in percent.
const MAX_PERCENT: u16 = 10_000;

/// Why a number of workers was refused. The message does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InstancesError {
    /// Not one of the five forms.
    #[error("expected a number, \"max\", \"-N\", \"P%\" or \"MIN..MAX\"")]
    NotUnderstood,
    /// No worker at all.
    #[error("at least 1 worker is needed (\"max\" means one per CPU)")]
    Zero,
    /// More than [`MAX_WORKERS`].
    #[error("at most {MAX_WORKERS} workers are possible")]
    TooMany,
    /// The first number of a range is above the second.
    #[error("the lowest number of workers is above the highest")]
    UpsideDown,
    /// A share above the largest that makes sense.
    #[error("at most {MAX_PERCENT}% is possible")]
    TooLarge,
}

/// What [`Instances::resolve`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// How many workers; at least 1. May be above [`MAX_WORKERS`] on a very large machine.
    pub count: u16,
    /// Which limit decided, for people: `max of 2 CPUs (cgroup quota 1.5)`.
    pub because: String,
}

impl FromStr for Instances {
    type Err = InstancesError;

    fn from_str(text: &str) -> Result<Self, InstancesError> {
        let text = text.trim();
        if text == "max" {
            return Ok(Self::Max);
        }
        if let Some((min, max)) = text.split_once("..") {
            return Self::between(digits(min)?, digits(max)?);
        }
        if let Some(share) = text.strip_suffix('%') {
            return match digits(share)? {
                0 => Err(InstancesError::Zero),
                share if share > MAX_PERCENT => Err(InstancesError::TooLarge),
                share => Ok(Self::Percent(share)),
            };
        }
        if let Some(fewer) = text.strip_prefix('-') {
            return match digits(fewer)? {
                0 => Err(InstancesError::NotUnderstood),
                fewer => Ok(Self::MaxMinus(fewer)),
            };
        }
        match digits(text)? {
            0 => Err(InstancesError::Zero),
            count if count > MAX_WORKERS => Err(InstancesError::TooMany),
            count => Ok(Self::Count(count)),
        }
    }
}

/// A plain decimal number. One that is too large becomes the largest, which is refused as such.
fn digits(text: &str) -> Result<u16, InstancesError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InstancesError::NotUnderstood);
    }
    Ok(text.parse().unwrap_or(u16::MAX))
}

impl fmt::Display for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Max => f.write_str("max"),
            Self::MaxMinus(fewer) => write!(f, "-{fewer}"),
            Self::Percent(share) => write!(f, "{share}%"),
            Self::Between { min, max } => write!(f, "{min}..{max}"),
        }
    }
}

impl Instances {
    /// As many as the load asks for, at least `min` and at most `max`.
    fn between(min: u16, max: u16) -> Result<Self, InstancesError> {
        match (min, max) {
            (0, _) | (_, 0) => Err(InstancesError::Zero),
            _ if max > MAX_WORKERS => Err(InstancesError::TooMany),
            _ if min > max => Err(InstancesError::UpsideDown),
            _ => Ok(Self::Between { min, max }),
        }
    }

    /// Whether this many workers are what is asked for.
    pub fn allows(&self, cpus: &Cpus, wanted: u16) -> bool {
        self.going_on_from(wanted, self.resolve(cpus).count) == wanted
    }

    /// How many workers an app is to have that has so many now. `resolved`: what an app would begin
    /// with. Within a range, the load has decided.
    pub fn going_on_from(&self, running: u16, resolved: u16) -> u16 {
        match *self {
            Self::Between { min, max } => running.clamp(min, max),
            Self::Count(_) | Self::Max | Self::MaxMinus(_) | Self::Percent(_) => resolved,
        }
    }

    /// How many workers that is with these CPUs, and which limit decided.
    pub fn resolve(&self, cpus: &Cpus) -> Resolved {
        let max = cpus.count.max(1);
        let (exact, because) = match *self {
            Self::Count(count) => (count, format!("{count} asked for")),
            Self::Max => (max, format!("max of {cpus}")),
            Self::MaxMinus(fewer) => {
                (max.saturating_sub(fewer), format!("{fewer} fewer than max of {cpus}"))
            }
            Self::Percent(share) => {
                let rounded = (u32::from(max) * u32::from(share) + 50) / 100;
                (u16::try_from(rounded).unwrap_or(u16::MAX), format!("{share}% of {cpus}"))
            }
            Self::Between { min, max } => (min, format!("the fewest of {min} to {max}")),
        };
        match exact {
            0 => Resolved { count: 1, because: format!("{because}, but at least 1") },
            count => Resolved { count, because },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpus::CpuLimit;

    #[test]
    fn forms() {
        for (text, expected) in [
            ("4", Instances::Count(4)),
            ("1024", Instances::Count(1024)),
            ("max", Instances::Max),
            ("-1", Instances::MaxMinus(1)),
            ("50%", Instances::Percent(50)),
            ("2..8", Instances::Between { min: 2, max: 8 }),
        ] {
            assert_eq!(text.parse(), Ok(expected));
            assert_eq!(expected.to_string(), text);
        }
    }

    #[test]
    fn refusals() {
        for (text, expected) in [
            ("banana", r#"expected a number, "max", "-N", "P%" or "MIN..MAX""#),
            ("", r#"expected a number, "max", "-N", "P%" or "MIN..MAX""#),
            ("+4", r#"expected a number, "max", "-N", "P%" or "MIN..MAX""#),
            ("1.5", r#"expected a number, "max", "-N", "P%" or "MIN..MAX""#),
            ("--1", r#"expected a number, "max", "-N", "P%" or "MIN..MAX""#),
            ("-0", r#"expected a number, "max", "-N", "P%" or "MIN..MAX""#),
            ("%", r#"expected a number, "max", "-N", "P%" or "MIN..MAX""#),
            ("0", r#"at least 1 worker is needed ("max" means one per CPU)"#),
            ("0%", r#"at least 1 worker is needed ("max" means one per CPU)"#),
            ("1025", "at most 1024 workers are possible"),
            ("99999999999999999999", "at most 1024 workers are possible"),
            ("0..4", r#"at least 1 worker is needed ("max" means one per CPU)"#),
            ("4..1025", "at most 1024 workers are possible"),
            ("4..2", "the lowest number of workers is above the highest"),
            ("2..", r#"expected a number, "max", "-N", "P%" or "MIN..MAX""#),
            ("10001%", "at most 10000% is possible"),
        ] {
            assert_eq!(text.parse::<Instances>().unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn a_range_goes_on_from_what_runs() {
        let range = Instances::Between { min: 2, max: 8 };
        for (running, expected) in [(1, 2), (6, 6), (12, 8)] {
            assert_eq!(range.going_on_from(running, 2), expected);
            assert_eq!(
                range.allows(&Cpus { count: 1, limit: CpuLimit::Machine }, running),
                running == 6
            );
        }
        assert_eq!(Instances::Count(3).going_on_from(6, 3), 3);
    }

    #[test]
    fn resolved_with_a_reason() {
        let quota = CpuLimit::Quota { quota: 350_000, period: 100_000 };
        let cpus = Cpus { count: 4, limit: quota };
        for (text, count, because) in [
            ("7", 7, "7 asked for"),
            ("max", 4, "max of 4 CPUs (cgroup quota 3.5)"),
            ("-1", 3, "1 fewer than max of 4 CPUs (cgroup quota 3.5)"),
            ("-9", 1, "9 fewer than max of 4 CPUs (cgroup quota 3.5), but at least 1"),
            ("50%", 2, "50% of 4 CPUs (cgroup quota 3.5)"),
            ("60%", 2, "60% of 4 CPUs (cgroup quota 3.5)"),
            ("65%", 3, "65% of 4 CPUs (cgroup quota 3.5)"),
            ("2..8", 2, "the fewest of 2 to 8"),
            ("1%", 1, "1% of 4 CPUs (cgroup quota 3.5), but at least 1"),
        ] {
            let resolved = text.parse::<Instances>().unwrap().resolve(&cpus);
            assert_eq!((resolved.count, resolved.because.as_str()), (count, because), "{text}");
        }
    }
}
