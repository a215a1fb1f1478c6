//! Reads what workers may do and use: limits, priorities, the file mode creation mask.
//!
//! Refuses limits and numbers that the kernel does not have, and a mask that may have been meant in
//! another base.

use std::fmt;
use std::str::FromStr;

use crate::spec::{Limit, Resource};
use crate::words::{self, Word};

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
        f.write_str(words::word(*self))
    }
}

/// The resource of this name; setrlimit(2) has it in upper case.
pub fn resource(name: &str) -> Result<Resource, String> {
    words::value(name).ok_or_else(|| {
        let known: Vec<&str> = Resource::WORDS.iter().map(|(word, ..)| *word).collect();
        format!("there is no limit {name:?}: choose one of {}", known.join(", "))
    })
}

/// A limit as the command line has it: `nofile=65536`.
pub fn limit(text: &str) -> Result<(Resource, Limit), String> {
    let (name, limit) = text.split_once('=').ok_or("expected NAME=LIMIT, as in nofile=65536")?;
    Ok((resource(name)?, limit.parse()?))
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

/// A whole number from `least` to `most`.
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
        for &(name, resource, _) in Resource::WORDS {
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
