//! Lists for the IP filter, in any format: refused or read within bounds; of text, each line says what it
//! says alone, in whatever order and with whatever line ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bitswarm_core::ip_filter::IpFilter;
use bitswarm_core::ip_filter::file::{MOST_DESCRIBED, read};

/// See the module.
pub(super) fn run(data: &[u8]) {
    let list = match read(data) {
        Ok(list) => list,
        Err(error) => return drop(error.to_string()),
    };
    // The shortest range of a list takes two bytes: `::`, and a line end.
    let is_packed = data.starts_with(&[0x1f, 0x8b]);
    assert!(is_packed || list.filter.len() <= data.len() / 2 + 1, "ranges from nowhere");
    assert!(list.bad.len() <= MOST_DESCRIBED && list.bad.len() as u64 <= list.bad_lines);
    assert!(list.bad.iter().all(|bad| bad.line >= 1));
    let is_binary = is_packed || data.starts_with(b"\xff\xff\xff\xff");
    if is_binary {
        return;
    }
    let text = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let mut alone = Vec::new();
    let mut bad = 0;
    for line in &lines {
        match read(&[b"#\n", *line].concat()) {
            Ok(one) => {
                assert!(one.filter.len() <= 1, "a line is a range");
                alone.push(one.filter);
            }
            Err(_) => bad += 1,
        }
    }
    assert_eq!(bad, list.bad_lines);
    let together = IpFilter::union(alone);
    assert_eq!(together, list.filter);
    let mut backwards: Vec<&[u8]> = lines;
    backwards.reverse();
    let backwards = [b"#\r\n".to_vec(), backwards.join(&b"\r\n"[..])].concat();
    assert_eq!(read(&backwards).map(|list| list.filter), Ok(list.filter.clone()));
    for at in data.windows(4).take(64) {
        let v4 = Ipv4Addr::from([at[0], at[1], at[2], at[3]]);
        let mapped = IpAddr::V6(v4.to_ipv6_mapped());
        assert_eq!(list.filter.refuses(v4.into()), list.filter.refuses(mapped));
        let v6 = Ipv6Addr::from_bits(u128::from(v4.to_bits()) << 96 | 7);
        // Whatever it is: an answer.
        let _ = list.filter.refuses(v6.into());
    }
}
