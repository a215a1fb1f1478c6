//! The token that opens the dashboard.

use std::fmt;
use std::path::Path;

use crate::cli::exit::Failure;
use crate::cli::files::secret_file;
use crate::sys::random;

/// Characters of the shortest token.
const SHORTEST: usize = 16;
/// Characters of the longest.
const LONGEST: usize = 256;

/// A secret. It is not printed by `Debug`.
#[derive(Clone)]
pub(super) struct Token(String);

impl Token {
    /// A new one of 64 characters.
    pub(super) fn random() -> Result<Self, Failure> {
        random::secret().map(Self).map_err(|error| Failure::io("cannot make a token", &error))
    }

    /// The token in a file that only its owner can read. White space around it does not count.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = secret_file::read(path, "the token", 4096)?;
        let shown = path.display();
        Self::parse(&text).map_err(|why| Failure::usage(format!("the token in {shown} {why}")))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if !(SHORTEST..=LONGEST).contains(&text.len()) {
            return Err(format!(
                "has {} characters, and {SHORTEST} to {LONGEST} are allowed: \"openssl rand -hex \
                 32\" makes one",
                text.len()
            ));
        }
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
            return Err(
                "has characters that a URL cannot have as they are: use letters, digits, \"-\", \
                 \".\", \"_\" and \"~\""
                    .to_owned(),
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// The token itself.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Whether this is the token. How long that takes does not depend on where the two differ.
    pub(super) fn is(&self, given: &str) -> bool {
        let (ours, given) = (self.0.as_bytes(), given.as_bytes());
        let mut difference = ours.len() ^ given.len();
        for (at, byte) in ours.iter().enumerate() {
            let other = given.get(at).copied().unwrap_or(0);
            difference |= usize::from(std::hint::black_box(byte ^ other));
        }
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_equal_to_itself_alone() {
        let token = Token::random().unwrap();
        assert_eq!(token.text().len(), 64);
        assert!(token.is(token.text()));
        assert!(!token.is(&token.text()[..63]));
        assert!(!token.is(&format!("{}0", token.text())));
        assert!(!token.is(Token::random().unwrap().text()));
        assert!(!token.is(""));
        assert!(!format!("{token:?}").contains(token.text()));
    }

    #[test]
    fn tokens_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            Token::read(&path).map(|token| token.text().to_owned()).map_err(|f| f.reason)
        };
        assert_eq!(read(" 0123456789abcdef\n", 0o600), Ok("0123456789abcdef".to_owned()));
        for (text, mode, why) in [
            ("0123456789abcdef", 0o644, "chmod 600"),
            ("short", 0o600, "5 characters"),
            ("0123456789 abcdef", 0o600, "URL"),
        ] {
            let reason = read(text, mode).unwrap_err();
            assert!(reason.contains(why), "{reason}");
        }
        assert!(Token::read(&folder.path().join("none")).is_err());
    }
}
