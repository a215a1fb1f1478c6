//! What a page asks to be done.

use serde::Deserialize;

use crate::cli::watch::{Action, Kind};

/// Bytes of a request.
pub(super) const MAX_BYTES: usize = 1024;

/// A request of a page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    app: String,
    action: Word,
    /// For `scale-up` and `scale-down`.
    pool: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Reload,
    Restart,
    Stop,
    Start,
    ScaleUp,
    ScaleDown,
}

/// Reads a request. Names become arguments of a command, so only those of apps and pools pass.
pub(super) fn parse(body: &[u8]) -> Result<Action, String> {
    let wanted: Wanted =
        serde_json::from_slice(body).map_err(|error| format!("this is no action: {error}"))?;
    config::name::check(&wanted.app)?;
    wanted.pool.as_deref().map_or(Ok(()), config::name::check)?;
    let scale = |up| Kind::Scale { up, pool: wanted.pool.clone() };
    let kind = match wanted.action {
        Word::Reload => Kind::Reload,
        Word::Restart => Kind::Restart { hard: false },
        Word::Stop => Kind::Stop { fast: false },
        Word::Start => Kind::Start,
        Word::ScaleUp => scale(true),
        Word::ScaleDown => scale(false),
    };
    Ok(Action { app: wanted.app, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(body: &str) -> Result<String, String> {
        parse(body.as_bytes()).map(|action| action.command())
    }

    #[test]
    fn actions_are_commands() {
        for (body, expected) in [
            (r#"{"app":"web","action":"reload"}"#, "supervisor reload web"),
            (r#"{"app":"web","action":"restart"}"#, "supervisor restart web"),
            (r#"{"app":"web","action":"stop"}"#, "supervisor stop web"),
            (r#"{"app":"web","action":"start"}"#, "supervisor start web"),
            (r#"{"app":"web","action":"scale-up"}"#, "supervisor scale web +1"),
            (
                r#"{"app":"web","action":"scale-down","pool":"jobs"}"#,
                "supervisor scale web:jobs -1",
            ),
        ] {
            assert_eq!(command(body), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn nothing_else_is_one() {
        for body in [
            "",
            "[]",
            r#"{"app":"web","action":"delete"}"#,
            r#"{"app":"web","action":"reload","force":true}"#,
            r#"{"app":"--system","action":"reload"}"#,
            r#"{"app":"all","action":"stop"}"#,
            r#"{"app":"a b","action":"stop"}"#,
            r#"{"app":"web","action":"scale-up","pool":"--x"}"#,
        ] {
            assert!(command(body).is_err(), "{body}");
        }
    }
}
