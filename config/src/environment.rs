//! One variable for the workers' environment.
//!
//! Refuses what no environment can hold, and the variables that the supervisor sets for each worker
//! to a value of its own.

/// The variables that the supervisor sets for each worker.
pub const RESERVED: [&str; 12] = [
    "SUPERVISOR_APP",
    "SUPERVISOR_SLOT",
    "SUPERVISOR_WORKERS",
    "SUPERVISOR_GENERATION",
    "SUPERVISOR_CHANNEL_FD",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "NODE_APP_INSTANCE",
    "NODE_CHANNEL_FD",
    "NODE_UNIQUE_ID",
];

/// Splits `KEY=VALUE` and checks both.
pub fn pair(text: &str) -> Result<(String, String), String> {
    let Some((key, value)) = text.split_once('=') else {
        return Err("expected KEY=VALUE".to_owned());
    };
    check(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Whether the variable `key` can have this value; the error says why not.
pub fn check(key: &str, value: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("the name of a variable is missing".to_owned());
    }
    if key.contains(['=', '\0']) {
        return Err(format!("the variable {key:?} has a character that no variable can have"));
    }
    if value.contains('\0') {
        return Err(format!("the value of {key:?} contains a NUL, which no variable can hold"));
    }
    if RESERVED.contains(&key) {
        return Err(format!("{key:?} is set by the supervisor for each worker: remove it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        assert_eq!(pair("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(pair("A="), Ok(("A".to_owned(), String::new())));
        assert_eq!(pair("A").unwrap_err(), "expected KEY=VALUE");
        assert_eq!(pair("=x").unwrap_err(), "the name of a variable is missing");
        assert_eq!(
            pair("LISTEN_FDS=3").unwrap_err(),
            r#""LISTEN_FDS" is set by the supervisor for each worker: remove it"#
        );
        assert!(check("A=", "").is_err());
        assert!(check("A", "\0").is_err());
    }
}
