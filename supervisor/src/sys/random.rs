//! Unguessable numbers.

/// 64 random bits, from getrandom(2).
pub(crate) fn number() -> u64 {
    let mut bytes = [0; 8];
    // This fails only before the kernel's pool is ready, early in boot; the clock is then the best
    // substitute.
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => u64::from_ne_bytes(bytes),
        Ok(_) | Err(_) => super::clock::now().0,
    }
}

/// 256 random bits as 64 hexadecimal digits, for secrets. Fails rather than return anything that
/// could be guessed.
pub(crate) fn secret() -> std::io::Result<String> {
    let mut bytes = [0; 32];
    let count = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if count != bytes.len() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
