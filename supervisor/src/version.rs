//! The version of this build. It stands in one place of the binary, so that two builds can be told
//! apart and a test can make a build with another number.

/// Marks the place. The number follows, padded with zeros.
const MARK: &[u8; 24] = b"supervisor build version";
const LENGTH: usize = 48;

static STAMP: [u8; LENGTH] = stamp(env!("CARGO_PKG_VERSION").as_bytes());

const fn stamp(version: &[u8]) -> [u8; LENGTH] {
    let mut stamp = [0; LENGTH];
    let mut at = 0;
    while at < MARK.len() {
        stamp[at] = MARK[at];
        at += 1;
    }
    let mut from = 0;
    while from < version.len() {
        stamp[at + from] = version[from];
        from += 1;
    }
    stamp
}

/// `0.1.0`
pub(crate) fn version() -> String {
    // Reads the bytes in the binary, not the constant that the compiler knows.
    let stamp: &[u8; LENGTH] = std::hint::black_box(&STAMP);
    let version = &stamp[MARK.len()..];
    let end = version.iter().position(|byte| *byte == 0).unwrap_or(version.len());
    String::from_utf8_lossy(&version[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_packages() {
        assert_eq!(super::version(), env!("CARGO_PKG_VERSION"));
    }
}
