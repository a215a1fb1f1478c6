//! `env`: the environment that was given to an app. Values are hidden unless asked for.

use std::collections::BTreeMap;

use super::Session;
use super::args::EnvArgs;
use super::exit::{Exit, Failure};
use super::reload::held_spec;

pub(super) fn run(args: &EnvArgs, session: &mut Session) -> Result<Exit, Failure> {
    config::name::check(&args.name).map_err(Failure::usage)?;
    let spec = held_spec(session, &args.name)?;
    let shown: BTreeMap<&str, String> = spec
        .env
        .iter()
        .map(|(key, value)| (key.as_str(), if args.show { value.clone() } else { redacted(value) }))
        .collect();
    if args.json {
        session.out.json(&shown)?;
    } else {
        for (key, value) in shown {
            session.out.line(format_args!("{key}={value}"));
        }
    }
    Ok(Exit::Done)
}

fn redacted(value: &str) -> String {
    match value.len() {
        1 => "<redacted, 1 byte>".to_owned(),
        length => format!("<redacted, {length} bytes>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_length_is_told() {
        assert_eq!(redacted("hunter2hunte"), "<redacted, 12 bytes>");
        assert_eq!(redacted("x"), "<redacted, 1 byte>");
    }
}
