//! Lent listening sockets: LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID, as in sd_listen_fds(3).
//!
//! The sockets are the descriptors from 3 on. This module handles only numbers and names, never a
//! descriptor. It refuses variables that are meant for this process but make no sense. Variables
//! that are absent, or meant for another process, mean that there are no sockets.

/// The first lent descriptor.
pub const FIRST_FD: i32 = 3;

/// The most sockets that a process takes.
pub const MAX_FDS: usize = 1024;

/// systemd's name for a socket without a usable name.
const NO_NAME: &str = "unknown";

/// The longest name in bytes, as in sd_listen_fds(3).
const MAX_NAME: usize = 255;

/// Why LISTEN_* was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// LISTEN_PID is not a number.
    #[error("LISTEN_PID is {0:?}, which is not a process id")]
    Pid(String),
    /// LISTEN_FDS is not a number up to [`MAX_FDS`].
    #[error("LISTEN_FDS is {0:?}, which is not a number from 0 to {MAX_FDS}")]
    Count(String),
    /// There are more or fewer names than sockets.
    #[error("LISTEN_FDNAMES has {names} names for {fds} sockets")]
    Names {
        /// How many names.
        names: usize,
        /// How many sockets.
        fds: usize,
    },
}

/// The variables for a child that is lent sockets with these names, in the order of their
/// descriptors.
///
/// LISTEN_PID is missing on purpose: only the child knows its own process id, and sets it between
/// fork and exec. A name that the protocol cannot carry becomes `unknown`.
pub fn environment(names: &[&str]) -> Vec<(String, String)> {
    let carried: Vec<_> =
        names.iter().map(|name| if fits(name) { *name } else { NO_NAME }).collect();
    vec![
        ("LISTEN_FDS".to_owned(), names.len().to_string()),
        ("LISTEN_FDNAMES".to_owned(), carried.join(":")),
    ]
}

fn fits(name: &str) -> bool {
    let graphic = name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b':');
    graphic && !name.is_empty() && name.len() <= MAX_NAME
}

/// The names and descriptors of the sockets lent to the process `own_pid`, according to its
/// environment. Empty if there are none or they are meant for another process.
pub fn taken_from_env(
    vars: impl Fn(&str) -> Option<String>,
    own_pid: u32,
) -> Result<Vec<(String, i32)>, ListenError> {
    let (Some(pid), Some(count)) = (vars("LISTEN_PID"), vars("LISTEN_FDS")) else {
        return Ok(Vec::new());
    };
    let Ok(meant) = pid.trim().parse::<u32>() else {
        return Err(ListenError::Pid(pid));
    };
    if meant != own_pid {
        return Ok(Vec::new());
    }
    let fds = match count.trim().parse::<usize>() {
        Ok(number) if number <= MAX_FDS => number,
        _ => return Err(ListenError::Count(count)),
    };
    let names: Vec<String> = match vars("LISTEN_FDNAMES") {
        Some(names) if fds > 0 => names.split(':').map(str::to_owned).collect(),
        _ => vec![NO_NAME.to_owned(); fds],
    };
    if names.len() != fds {
        return Err(ListenError::Names { names: names.len(), fds });
    }
    Ok(names.into_iter().zip(FIRST_FD..).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn taken(vars: &[(&str, &str)]) -> Result<Vec<(String, i32)>, ListenError> {
        let vars: HashMap<_, _> = vars.iter().copied().collect();
        taken_from_env(|key| vars.get(key).map(|&value| value.to_owned()), 42)
    }

    #[test]
    fn sockets_and_names() {
        let names = [("LISTEN_PID", "42"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "web:8000")];
        let expected = vec![("web".to_owned(), 3), ("8000".to_owned(), 4)];
        assert_eq!(taken(&names), Ok(expected));
        assert_eq!(taken(&names[..2]).unwrap()[1], ("unknown".to_owned(), 4));
        assert_eq!(taken(&[]), Ok(vec![]));
        assert_eq!(taken(&names[1..]), Ok(vec![]));
        assert_eq!(taken(&[("LISTEN_PID", "41"), ("LISTEN_FDS", "x")]), Ok(vec![]));
        assert_eq!(taken(&[("LISTEN_PID", "42"), ("LISTEN_FDS", "0")]), Ok(vec![]));
    }

    #[test]
    fn refusals() {
        let shown = |vars: &[_]| taken(vars).unwrap_err().to_string();
        assert_eq!(
            shown(&[("LISTEN_PID", "x"), ("LISTEN_FDS", "1")]),
            r#"LISTEN_PID is "x", which is not a process id"#
        );
        assert_eq!(
            shown(&[("LISTEN_PID", "42"), ("LISTEN_FDS", "-1")]),
            r#"LISTEN_FDS is "-1", which is not a number from 0 to 1024"#
        );
        assert_eq!(
            shown(&[("LISTEN_PID", "42"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a")]),
            "LISTEN_FDNAMES has 1 names for 2 sockets"
        );
    }

    #[test]
    fn names_that_cannot_be_carried() {
        let given = environment(&["web", "a:b", "", "\u{1b}"]);
        assert_eq!(given[0], ("LISTEN_FDS".to_owned(), "4".to_owned()));
        assert_eq!(
            given[1],
            ("LISTEN_FDNAMES".to_owned(), "web:unknown:unknown:unknown".to_owned())
        );
    }

    proptest! {
        #[test]
        fn what_is_given_is_taken(names in proptest::collection::vec("[a-zA-Z0-9._-]{1,64}", 0..9)) {
            let given = environment(&names.iter().map(String::as_str).collect::<Vec<_>>());
            let mut vars: HashMap<_, _> = given.into_iter().collect();
            vars.insert("LISTEN_PID".to_owned(), "7".to_owned());
            let taken = taken_from_env(|key| vars.get(key).cloned(), 7).unwrap();
            prop_assert_eq!(&taken.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), &names);
            prop_assert!(taken.iter().zip(3..).all(|((_, fd), expected)| *fd == expected));
        }

        #[test]
        fn arbitrary_variables_never_panic(a in "\\PC*", b in "\\PC*", c in "\\PC*") {
            let vars = |key: &str| Some(match key {
                "LISTEN_FDS" => a.clone(),
                "LISTEN_FDNAMES" => b.clone(),
                _ => c.clone(),
            });
            let _ = taken_from_env(vars, 1);
        }
    }
}
