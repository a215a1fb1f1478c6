//! A set of exit codes.

use serde::{Deserialize, Serialize};

/// Exit codes of processes, each from 0 to 255.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<u8>", into = "Vec<u8>")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct ExitCodes {
    /// One bit for each code.
    bits: [u64; 4],
}

impl ExitCodes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a process that ended with `code` is meant.
    pub fn contains(&self, code: i32) -> bool {
        u8::try_from(code).is_ok_and(|code| self.iter().any(|one| one == code))
    }

    /// The codes, the lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u8> {
        let bits = self.bits;
        (0..=u8::MAX).filter(move |code| bits[usize::from(code / 64)] & (1 << (code % 64)) != 0)
    }
}

impl Extend<u8> for ExitCodes {
    fn extend<T: IntoIterator<Item = u8>>(&mut self, codes: T) {
        for code in codes {
            self.bits[usize::from(code / 64)] |= 1 << (code % 64);
        }
    }
}

impl FromIterator<u8> for ExitCodes {
    fn from_iter<T: IntoIterator<Item = u8>>(codes: T) -> Self {
        let mut all = Self::default();
        all.extend(codes);
        all
    }
}

impl From<Vec<u8>> for ExitCodes {
    fn from(codes: Vec<u8>) -> Self {
        codes.into_iter().collect()
    }
}

impl From<ExitCodes> for Vec<u8> {
    fn from(codes: ExitCodes) -> Self {
        codes.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_into_it() {
        let codes: ExitCodes = [255, 0, 64, 63, 64].into_iter().collect();
        assert_eq!(codes.iter().collect::<Vec<_>>(), [0, 63, 64, 255]);
        for (code, is_in) in [(0, true), (1, false), (64, true), (255, true), (256, false)] {
            assert_eq!(codes.contains(code), is_in, "{code}");
        }
        assert!(!codes.contains(-1) && ExitCodes::default().is_empty());
        let wire = serde_json::to_string(&codes).unwrap();
        assert_eq!(wire, "[0,63,64,255]");
        assert_eq!(serde_json::from_str::<ExitCodes>(&wire).unwrap(), codes);
    }
}
