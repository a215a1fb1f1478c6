//! Which worker this is.

use std::env;
use std::str::FromStr;

/// Which worker this is, as the supervisor set it in the environment at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The app's name.
    pub app: String,
    /// This worker's place among the others, from 0. Its replacement takes the same.
    pub slot: u16,
    /// Its pool, as the configuration has it; the app's own is `default`.
    pub pool: String,
    /// How many workers of its pool were wanted when this one started.
    pub workers: u16,
    /// Grows with each reload.
    pub generation: u32,
}

impl Identity {
    /// `None` without a supervisor.
    pub fn from_env() -> Option<Self> {
        Self::from_vars(|key| env::var(key).ok())
    }

    fn from_vars(vars: impl Fn(&str) -> Option<String>) -> Option<Self> {
        Some(Self {
            app: vars("SUPERVISOR_APP")?,
            slot: number(vars("SUPERVISOR_SLOT"))?,
            // Supervisors before pools do not set it.
            pool: vars("SUPERVISOR_POOL").unwrap_or_else(|| "default".to_owned()),
            workers: number(vars("SUPERVISOR_WORKERS"))?,
            generation: number(vars("SUPERVISOR_GENERATION"))?,
        })
    }
}

fn number<T: FromStr>(text: Option<String>) -> Option<T> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_nothing() {
        let vars = |slot: &'static str| {
            move |key: &str| match key {
                "SUPERVISOR_APP" => Some("web".to_owned()),
                "SUPERVISOR_SLOT" => Some(slot.to_owned()),
                "SUPERVISOR_POOL" if slot == "2001" => Some("hash".to_owned()),
                "SUPERVISOR_WORKERS" => Some("2".to_owned()),
                "SUPERVISOR_GENERATION" => Some("7".to_owned()),
                _ => None,
            }
        };
        for (text, slot, pool) in [("1", 1, "default"), ("2001", 2001, "hash")] {
            let (app, pool) = ("web".to_owned(), pool.to_owned());
            let expected = Identity { app, slot, pool, workers: 2, generation: 7 };
            assert_eq!(Identity::from_vars(vars(text)), Some(expected));
        }
        assert_eq!(Identity::from_vars(vars("x")), None);
        assert_eq!(Identity::from_vars(|_| None), None);
    }
}
