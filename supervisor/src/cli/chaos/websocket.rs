//! A short WebSocket conversation (RFC 6455): a handshake, text frames that the server must send
//! back, and the closing frame.

use crate::cli::trial::exchange::{Connection, Fail, wrong};
use crate::cli::trial::site::Site;

/// Frames of one conversation.
const FRAMES: u8 = 3;
/// Any 16 bytes in base64; the client does not depend on what the server makes of them.
const KEY: &str = "c3VwZXJ2aXNvci1jaGFvcw==";
/// A client must mask what it sends.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x3c, 0xa5];
/// What frames begin with: a last fragment of text, the last of a closing.
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

/// Has the conversation.
pub(super) fn echo(site: &Site, connection: &mut Connection) -> Result<(), Fail> {
    let handshake = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n",
        site.socket.as_ref().unwrap_or(&site.path),
        site.address
    );
    connection.send(handshake.as_bytes())?;
    let answer = connection.answer()?;
    if answer.status != 101 {
        return Err(wrong(&format!("status {} instead of 101", answer.status)));
    }
    for number in 0..FRAMES {
        let text = format!("chaos {number}");
        connection.send(&frame(TEXT, text.as_bytes()))?;
        let head = connection.exactly(2)?;
        let length = usize::from(head[1]);
        let body = connection.exactly(length.min(125))?;
        if head[0] != TEXT || body != text.as_bytes() {
            return Err(wrong("a frame came back otherwise than it was sent"));
        }
    }
    connection.send(&frame(CLOSE, &[]))
}

/// A masked frame of at most 125 bytes.
fn frame(begins: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).unwrap_or(125).min(125);
    let masked = body.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [begins, 0x80 | length].into_iter().chain(MASK).chain(masked.take(125)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_masked() {
        let bytes = frame(TEXT, b"hi");
        assert_eq!(bytes[..6], [0x81, 0x82, 0x5a, 0xc3, 0x3c, 0xa5]);
        assert_eq!([bytes[6] ^ MASK[0], bytes[7] ^ MASK[1]], *b"hi");
        assert_eq!(frame(CLOSE, &[]), [0x88, 0x80, 0x5a, 0xc3, 0x3c, 0xa5]);
    }
}
