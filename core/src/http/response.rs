//! A response out of a stream of bytes, in any cut: its head, the parts of its body, its end.
//!
//! The decoder holds the bytes of an incomplete head, bounded, and none of the body. What the head
//! and the body mean is for its callers: [`ClientExchange`](super::ClientExchange) collects a body,
//! [`Fetch`](super::fetch::Fetch) may pass it on as it comes.

use std::io::Read as _;

use super::HttpError;
use super::body::{BodyDecoder, Framing};
use super::head::{HeadBuffer, Headers, ResponseHead};

/// Interim responses (status 1xx) to skip before giving up (chosen).
const MAX_INTERIM: u32 = 8;

/// Takes one response out of a stream.
#[derive(Debug)]
pub struct ResponseDecoder {
    max_head: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Head {
        buffer: HeadBuffer,
        interim: u32,
    },
    Body {
        decoder: BodyDecoder,
        persistent: bool,
    },
    /// The head does not say how the body is delimited.
    Broken(HttpError),
    Done,
}

/// A part of a response.
#[derive(Debug)]
pub enum Part<'a> {
    /// Status and headers. Comes once, first.
    Head(Head),
    /// Some bytes of the body, as they were sent; not empty.
    Body(&'a [u8]),
    /// The response is complete.
    End {
        /// Whether the connection can carry another request.
        keep_alive: bool,
    },
}

/// The status and the headers of a response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The status, such as 200; not an interim one.
    pub status: u16,
    /// Its headers.
    pub headers: Headers,
    /// The length of the body as it is sent, if the head says so.
    pub length: Option<u64>,
}

impl ResponseDecoder {
    /// A decoder at the start of a response, whose head may have `max_head` bytes.
    pub fn new(max_head: usize) -> Self {
        let state = State::Head { buffer: HeadBuffer::default(), interim: 0 };
        ResponseDecoder { max_head, state }
    }

    /// Takes the next part off the front of `data`. `None`: the response is complete, or all of
    /// `data` is used up. After an error nothing sensible follows.
    ///
    /// A part of the body is the last that was taken off.
    pub fn next<'a>(&mut self, data: &mut &'a [u8]) -> Result<Option<Part<'a>>, HttpError> {
        loop {
            match &mut self.state {
                State::Done => return Ok(None),
                State::Broken(why) => return Err(*why),
                State::Head { buffer, interim } => {
                    // Its beginning is judged first, so that any cut ends in the same error.
                    let filled = buffer.fill(data, self.max_head);
                    check_start(buffer.bytes())?;
                    if !filled? {
                        return Ok(None);
                    }
                    let head = ResponseHead::parse(buffer.bytes())?;
                    if !(100..200).contains(&head.status) {
                        return Ok(Some(Part::Head(self.begin_body(head))));
                    }
                    // 101 would be the answer to an upgrade that was not asked for.
                    *interim += 1;
                    if head.status == 101 || *interim > MAX_INTERIM {
                        return Err(HttpError::MalformedHead);
                    }
                    buffer.clear();
                }
                State::Body { decoder, persistent } => {
                    if let Some(part) = decoder.decode(data)? {
                        return Ok(Some(Part::Body(part)));
                    }
                    if !decoder.is_done() {
                        return Ok(None);
                    }
                    // Bytes after the end belong to no request.
                    let keep_alive = *persistent && data.is_empty();
                    self.state = State::Done;
                    return Ok(Some(Part::End { keep_alive }));
                }
            }
        }
    }

    /// The connection has ended in order. An error, unless that completes the response.
    pub fn handle_close(&mut self) -> Result<(), HttpError> {
        match &mut self.state {
            State::Done => Ok(()),
            State::Broken(why) => Err(*why),
            State::Head { .. } => Err(HttpError::UnexpectedEnd),
            State::Body { decoder, .. } => decoder.handle_close(),
        }
    }

    /// Whether nothing has come yet.
    pub fn is_untouched(&self) -> bool {
        matches!(&self.state, State::Head { buffer, interim: 0 } if buffer.bytes().is_empty())
    }

    fn begin_body(&mut self, head: ResponseHead) -> Head {
        let framing = head.framing();
        let ResponseHead { status, headers, persistent } = head;
        let persistent = persistent && !headers.has_token("connection", "close");
        self.state = match framing {
            Ok(framing) => State::Body { decoder: BodyDecoder::new(framing), persistent },
            Err(why) => State::Broken(why),
        };
        let length = match framing {
            Ok(Framing::Length(length)) => Some(length),
            _ => None,
        };
        Head { status, headers, length }
    }
}

/// What does not begin like HTTP will not become it: no need to wait for an empty line.
fn check_start(bytes: &[u8]) -> Result<(), HttpError> {
    let start = b"HTTP/1.";
    if bytes.iter().zip(start).all(|(given, wanted)| given == wanted) {
        Ok(())
    } else {
        Err(HttpError::MalformedHead)
    }
}

/// Whether a body comes without a content coding.
pub(super) fn is_plain(headers: &Headers) -> bool {
    let coding = headers.get("content-encoding").unwrap_or_default().trim_ascii();
    coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
}

/// The body without its content coding (RFC 9110, section 8.4.1), at most `limit` bytes of it.
pub(super) fn decompress(
    headers: &Headers,
    body: Vec<u8>,
    limit: usize,
) -> Result<Vec<u8>, HttpError> {
    if is_plain(headers) {
        return Ok(body);
    }
    let coding = headers.get("content-encoding").unwrap_or_default().trim_ascii();
    match coding.to_ascii_lowercase().as_slice() {
        b"gzip" | b"x-gzip" if body.is_empty() => Ok(body),
        b"gzip" | b"x-gzip" => inflate(&body, limit),
        _ => Err(HttpError::UnknownContentCoding),
    }
}

/// Inflates to at most `limit` bytes.
fn inflate(packed: &[u8], limit: usize) -> Result<Vec<u8>, HttpError> {
    let mut plain = Vec::new();
    let bound = (limit as u64).saturating_add(1);
    flate2::bufread::GzDecoder::new(packed)
        .take(bound)
        .read_to_end(&mut plain)
        .map_err(|_| HttpError::BadCompression)?;
    if plain.len() > limit {
        return Err(HttpError::BodyTooLong(limit));
    }
    Ok(plain)
}
