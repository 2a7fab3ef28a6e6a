//! Which part of a file a response holds, if one was asked for (RFC 9110, section 14).

use std::ops::Range;

use super::HttpError;
use super::response::Head;

/// What a server gives of the bytes that it was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Served {
    /// These bytes, which begin where they were to (status 206). There may be fewer of them.
    Part {
        /// The bytes.
        range: Range<u64>,
        /// The length of the file, if the server says so.
        total: Option<u64>,
    },
    /// The whole file: the server gives no parts (status 200).
    Whole,
    /// Nothing: the file has no such bytes (status 416).
    Unsatisfiable {
        /// The length of the file, if the server says so.
        total: Option<u64>,
    },
}

/// Judges the answer to a request for these bytes. `None`: its status is of another kind.
pub(super) fn judge(head: &Head, asked: &Range<u64>) -> Result<Option<Served>, HttpError> {
    let content_range = head.headers.get_str("content-range");
    match head.status {
        200 => Ok(Some(Served::Whole)),
        206 => {
            let (range, total) = content_range.and_then(parse).ok_or(HttpError::BadRange)?;
            let range = range.ok_or(HttpError::BadRange)?;
            let begins = range.start == asked.start && range.end <= asked.end;
            let fits = total.is_none_or(|total| range.end <= total)
                && head.length.is_none_or(|length| length == range.end - range.start);
            if begins && fits {
                Ok(Some(Served::Part { range, total }))
            } else {
                Err(HttpError::BadRange)
            }
        }
        416 => {
            let total = content_range.and_then(parse).and_then(|(_, total)| total);
            Ok(Some(Served::Unsatisfiable { total }))
        }
        _ => Ok(None),
    }
}

/// The bytes and the total length in the value of `Content-Range`; `*` stands for none.
fn parse(value: &str) -> Option<(Option<Range<u64>>, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let total = match total.trim() {
        "*" => None,
        total => Some(decimal(total)?),
    };
    let range = match range.trim() {
        "*" => None,
        range => {
            let (first, last) = range.split_once('-')?;
            let (first, last) = (decimal(first)?, decimal(last)?);
            (first <= last).then_some(())?;
            Some(first..last.checked_add(1)?)
        }
    };
    Some((range, total))
}

/// A number of decimal digits; unlike `str::parse`, without a sign.
fn decimal(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::response::{Part, ResponseDecoder};

    fn judged(status: u16, headers: &str) -> Result<Option<Served>, HttpError> {
        let text = format!("HTTP/1.1 {status} X\r\n{headers}\r\n");
        let mut decoder = ResponseDecoder::new(1000);
        let Ok(Some(Part::Head(head))) = decoder.next(&mut text.as_bytes()) else { panic!() };
        judge(&head, &(100..200))
    }

    #[test]
    fn a_part_must_be_the_one_asked_for() {
        let part = |range, total| Ok(Some(Served::Part { range, total }));
        assert_eq!(
            judged(206, "Content-Range: bytes 100-199/1000\r\nContent-Length: 100\r\n"),
            part(100..200, Some(1000))
        );
        assert_eq!(judged(206, "Content-Range: bytes 100-149/*\r\n"), part(100..150, None));
        for bad in [
            "",
            "Content-Range: bytes */1000\r\n",
            "Content-Range: bytes 0-99/1000\r\n",
            "Content-Range: bytes 101-199/1000\r\n",
            "Content-Range: bytes 100-200/1000\r\n",
            "Content-Range: bytes 100-199/150\r\n",
            "Content-Range: bytes 100-99/1000\r\n",
            "Content-Range: bytes 100-18446744073709551615/*\r\n",
            "Content-Range: bytes +100-199/1000\r\n",
            "Content-Range: pages 100-199/1000\r\n",
            "Content-Range: bytes 100-199/1000\r\nContent-Length: 99\r\n",
            "Content-Type: multipart/byteranges; boundary=x\r\n",
        ] {
            assert_eq!(judged(206, bad), Err(HttpError::BadRange), "{bad}");
        }
    }

    #[test]
    fn a_server_may_give_the_whole_file_or_nothing_of_it() {
        assert_eq!(judged(200, ""), Ok(Some(Served::Whole)));
        let total = Some(50);
        let served = Ok(Some(Served::Unsatisfiable { total }));
        assert_eq!(judged(416, "Content-Range: bytes */50\r\n"), served);
        assert_eq!(judged(416, ""), Ok(Some(Served::Unsatisfiable { total: None })));
        assert_eq!(judged(404, ""), Ok(None));
    }
}
