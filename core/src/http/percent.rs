//! Percent-encoding (RFC 3986, section 2.1) of arbitrary bytes.
//!
//! Only the unreserved characters stay as they are: infohashes and peer ids are binary, and
//! trackers compare what they decode. A `+` is a plus sign and not a space, since the values are
//! not form data.

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Appends `bytes`, encoded.
pub fn encode_into(out: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            push_escape(out, byte);
        }
    }
}

/// How many bytes `bytes` take, encoded.
pub fn encoded_len(bytes: &[u8]) -> usize {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    bytes.iter().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum()
}

/// Appends `%XX`.
pub(super) fn push_escape(out: &mut String, byte: u8) {
    out.push('%');
    for nibble in [byte >> 4, byte & 0x0f] {
        out.push(HEX.get(usize::from(nibble)).map_or('0', |&digit| char::from(digit)));
    }
}

/// The bytes that `text` stands for; `None` if a `%` is not followed by two hex digits.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        if byte == b'%' {
            bytes.push(hex_digit(*rest.next()?)? << 4 | hex_digit(*rest.next()?)?);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    #[test]
    fn reserved_bytes_are_escaped_and_unreserved_ones_are_not() {
        let mut out = String::new();
        encode_into(&mut out, b"aZ09-._~ /\xff\0+");
        assert_eq!(out, "aZ09-._~%20%2F%FF%00%2B");
    }

    #[test]
    fn broken_escape_is_refused() {
        assert_eq!(decode(b"%4"), None);
        assert_eq!(decode(b"%zz"), None);
        assert_eq!(decode(b"%4a+%4A"), Some(b"J+J".to_vec()));
    }

    quickcheck! {
        fn any_bytes_survive_the_round_trip(bytes: Vec<u8>) -> bool {
            let mut text = String::new();
            encode_into(&mut text, &bytes);
            assert_eq!(text.len(), encoded_len(&bytes));
            decode(text.as_bytes()) == Some(bytes)
        }
    }
}
