//! The head of a message: where it ends, its headers, and what they say about the body.
//!
//! A head is parsed once, when its empty line has come: a sender that drips bytes costs no more
//! than one that sends them at once. The parser proper is `httparse`.

use super::HttpError;
use super::body::Framing;

/// Most headers in a head (chosen: servers send 10 to 30).
const MAX_HEADERS: usize = 100;

/// Collects bytes until a head is complete.
#[derive(Debug, Default)]
pub(super) struct HeadBuffer {
    bytes: Vec<u8>,
    /// Up to where no empty line was found.
    scanned: usize,
}

/// The status line and headers of a response.
#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    pub(super) headers: Headers,
    /// Whether the protocol version keeps connections open unless a header says otherwise.
    pub(super) persistent: bool,
}

/// The headers of a message, in order, names in lower case.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Headers(Vec<(Box<str>, Box<[u8]>)>);

impl HeadBuffer {
    /// Takes bytes off the front of `data` up to the end of the head; true when it is complete.
    /// Past `limit` bytes it is an error.
    pub(super) fn fill(&mut self, data: &mut &[u8], limit: usize) -> Result<bool, HttpError> {
        let before = self.bytes.len();
        let room = limit.saturating_sub(before);
        self.bytes.extend_from_slice(data.get(..room).unwrap_or(data));
        if let Some(end) = self.find_end() {
            self.bytes.truncate(end);
            *data = data.get(end.saturating_sub(before)..).unwrap_or_default();
            return Ok(true);
        }
        if data.len() >= room {
            return Err(HttpError::HeadTooLong);
        }
        *data = &[];
        Ok(false)
    }

    /// The bytes so far; the head, if [`HeadBuffer::fill`] said true.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Empties it for the next head.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.scanned = 0;
    }

    /// Where the empty line after the headers ends.
    fn find_end(&mut self) -> Option<usize> {
        // The line feed of the last header line may have come before.
        let from = self.scanned.saturating_sub(3);
        let rest = self.bytes.get(from..).unwrap_or_default();
        for (at, &byte) in rest.iter().enumerate() {
            let after = rest.get(at + 1..).unwrap_or_default();
            match (byte, after) {
                (b'\n', [b'\n', ..]) => return Some(from + at + 2),
                (b'\n', [b'\r', b'\n', ..]) => return Some(from + at + 3),
                _ => {}
            }
        }
        self.scanned = self.bytes.len();
        None
    }
}

impl ResponseHead {
    /// Parses a complete head.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, HttpError> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(HttpError::HeadTooLong),
            Ok(httparse::Status::Partial) | Err(_) => return Err(HttpError::MalformedHead),
        }
        Ok(ResponseHead {
            status: response.code.ok_or(HttpError::MalformedHead)?,
            headers: Headers::collect(response.headers),
            persistent: response.version == Some(1),
        })
    }

    /// How the body is delimited (RFC 9112, section 6.3).
    pub(super) fn framing(&self) -> Result<Framing, HttpError> {
        if matches!(self.status, 100..=199 | 204 | 304) {
            return Ok(Framing::Length(0));
        }
        let mut codings = self.headers.all("transfer-encoding");
        if let Some(coding) = codings.next() {
            let chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
            return match codings.next() {
                None if chunked => Ok(Framing::Chunked),
                _ => Err(HttpError::UnknownTransferCoding),
            };
        }
        Ok(self.headers.content_length()?.map_or(Framing::UntilClose, Framing::Length))
    }
}

impl Headers {
    pub(super) fn collect(fields: &[httparse::Header<'_>]) -> Self {
        let field = |field: &httparse::Header<'_>| {
            (field.name.to_ascii_lowercase().into(), field.value.into())
        };
        Headers(fields.iter().map(field).collect())
    }

    /// The value of the first header of this name (in lower case).
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(given, _)| **given == *name).map(|(_, value)| &**value)
    }

    /// The value of the first header of this name (in lower case), if it is text.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// Whether one of the comma-separated values of this header is `token`.
    pub(super) fn has_token(&self, name: &'static str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|value| value.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The content length; several must agree.
    pub(super) fn content_length(&self) -> Result<Option<u64>, HttpError> {
        let mut length = None;
        for value in self.all("content-length") {
            let value = decimal(value.trim_ascii()).ok_or(HttpError::BadLength)?;
            if *length.get_or_insert(value) != value {
                return Err(HttpError::BadLength);
            }
        }
        Ok(length)
    }

    fn all(&self, name: &'static str) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(given, _)| **given == *name).map(|(_, value)| &**value)
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    // Unlike `str::parse`, no sign.
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
