//! A list of addresses as bytes, in any format that lists come in, packed with gzip or not. The format is
//! told from the content, not from a name.
//!
//! | format | a line, or a record |
//! |---|---|
//! | eMule `.dat` | `1.2.3.0 - 1.2.3.255 , 100 , label`; an access level above 127 is not blocked |
//! | PeerGuardian `.p2p` | `label:1.2.3.0-1.2.3.255` |
//! | PeerGuardian `.p2b`, versions 1 to 3 | binary |
//! | networks | `1.2.3.0/24`, `2001:db8::/32` |
//! | ranges and addresses | `1.2.3.0-1.2.3.255`, `1.2.3.4` |
//!
//! A line that is none of that is left out and counted. What ends too early is refused as a whole: the part
//! that is missing would be let through.

use std::io::Read as _;

use super::{Builder, MOST_RANGES, p2b, text};

pub use super::list::{BadLine, BadLineReason, List, ListError, MAX_UNPACKED, MOST_DESCRIBED};

/// Reads a list.
pub fn read(bytes: &[u8]) -> Result<List, ListError> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return read_unpacked(&unpack(bytes)?);
    }
    read_unpacked(bytes)
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, ListError> {
    let mut unpacked = Vec::new();
    let reader = flate2::bufread::MultiGzDecoder::new(bytes);
    let read = reader.take(MAX_UNPACKED + 1).read_to_end(&mut unpacked);
    read.map_err(|_| ListError::Gzip)?;
    if unpacked.len() as u64 > MAX_UNPACKED { Err(ListError::TooLong) } else { Ok(unpacked) }
}

fn read_unpacked(bytes: &[u8]) -> Result<List, ListError> {
    if bytes.len() as u64 > MAX_UNPACKED {
        return Err(ListError::TooLong);
    }
    match p2b::body(bytes) {
        Some((version, body)) => p2b::read(version, body),
        None => read_text(bytes),
    }
}

fn read_text(bytes: &[u8]) -> Result<List, ListError> {
    // Some editors begin a file of UTF-8 with a mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (mut ranges, mut list) = (Builder::default(), List::default());
    let mut has_any = false;
    for (line, bytes) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        match text::line(bytes) {
            Ok(None) => {}
            Ok(Some(text::Entry { range, is_blocked })) => {
                has_any = true;
                if is_blocked {
                    ranges.push(range);
                }
                if ranges.len() > MOST_RANGES {
                    return Err(ListError::TooManyRanges);
                }
            }
            Err(why) => {
                list.bad_lines += 1;
                if list.bad.len() < MOST_DESCRIBED {
                    list.bad.push(BadLine { line, why });
                }
            }
        }
    }
    match list.bad.first() {
        Some(&BadLine { line, why }) if !has_any => Err(ListError::NoList { line, why }),
        _ => Ok(List { filter: ranges.build(), ..list }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn refuses(list: &List, ip: &str) -> bool {
        list.filter.refuses(ip.parse().unwrap())
    }

    #[test]
    fn formats_may_be_mixed_and_bad_lines_are_counted() {
        let text = "\u{feff}# a list\r\n\r\n001.002.003.000 - 001.002.003.255 , 000 , bogon\r\n\
                    1.2.9.0 - 1.2.9.255 , 128 , allowed\r\n\
                    Some: org, Inc:4.5.6.7-4.5.6.9\n// more\n10.0.0.0/8\n2001:db8::/32 # doc\n7.7.7.7\n\
                    nonsense\n1.2.3.4/33\n1.2.3.4-::1\n1.1.1.1-1.1.1.2,high,x\n";
        let list = read(text.as_bytes()).unwrap();
        for ip in ["1.2.3.4", "4.5.6.8", "10.9.9.9", "2001:db8::5", "7.7.7.7"] {
            assert!(refuses(&list, ip), "{ip}");
        }
        assert!(!refuses(&list, "1.2.9.4") && !refuses(&list, "1.1.1.1"));
        let bad: Vec<_> = list.bad.iter().map(|bad| (bad.line, bad.why)).collect();
        use BadLineReason as Why;
        let expected =
            [(10, Why::NoRange), (11, Why::Prefix), (12, Why::MixedFamilies), (13, Why::Level)];
        assert_eq!((bad, list.bad_lines), (expected.to_vec(), 4));
    }

    #[test]
    fn what_is_no_list_is_refused_and_says_why() {
        let why = BadLineReason::NoRange;
        assert_eq!(read(b"\n<html>\n</html>\n"), Err(ListError::NoList { line: 2, why }));
        assert!(read(b"").unwrap().filter.is_empty(), "an empty list is one");
        assert!(read(b"1.1.1.1 - 1.1.1.2 , 200 , x").unwrap().filter.is_empty());
    }

    #[test]
    fn packed_lists_are_unpacked_and_damaged_ones_refused() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"a:1.1.1.1-1.1.1.9\n").unwrap();
        let packed = packed.finish().unwrap();
        assert!(refuses(&read(&packed).unwrap(), "1.1.1.5"));
        let twice = [&packed[..], &packed[..]].concat();
        assert!(refuses(&read(&twice).unwrap(), "1.1.1.5"), "in several members");
        for cut in 2..packed.len() {
            assert_eq!(read(&packed[..cut]), Err(ListError::Gzip), "{cut}");
        }
    }

    #[test]
    fn binary_lists_of_each_version_are_read() {
        let range = [1, 1, 1, 1, 1, 1, 1, 9];
        let head = |version: u8| [&b"\xff\xff\xff\xffP2B"[..], &[version]].concat();
        let named = |version| [&head(version)[..], b"na\xe4me\0", &range].concat();
        let indexed =
            [&head(3)[..], &[0, 0, 0, 1], b"n\0", &[0, 0, 0, 1], &[0, 0, 0, 0], &range].concat();
        for bytes in [named(1), named(2), indexed.clone()] {
            let list = read(&bytes).unwrap();
            assert!(refuses(&list, "1.1.1.5") && !refuses(&list, "1.1.1.10"));
            for cut in 9..bytes.len() {
                assert_eq!(read(&bytes[..cut]), Err(ListError::CutOff { after: 0 }), "{cut}");
            }
        }
        let mut wrong = indexed;
        wrong[21] = 1;
        assert_eq!(read(&wrong), Err(ListError::NoLabel { range: 1 }));
        assert_eq!(read(&head(4)), Err(ListError::Version(4)));
        assert!(read(&head(1)).unwrap().filter.is_empty());
    }
}
