//! What can be wrong with what an HTTP server sends.

use std::fmt;

use super::UrlError;

/// Why an HTTP exchange failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HttpError {
    /// The status line or a header is not HTTP.
    MalformedHead,
    /// Status line and headers are longer than the limit.
    HeadTooLong,
    /// The content length is not a number, or there are several.
    BadLength,
    /// The body, as sent or decompressed, is longer than this many bytes.
    BodyTooLong(usize),
    /// A chunk's size is not a number, or it does not end where it should.
    BadChunk,
    /// A transfer coding other than `chunked`.
    UnknownTransferCoding,
    /// A content coding other than `gzip`.
    UnknownContentCoding,
    /// The body is not what gzip makes.
    BadCompression,
    /// The connection ended before the response did.
    UnexpectedEnd,
    /// The bytes that a partial response says it has are not those that were asked for.
    BadRange,
    /// A redirect without a location, or to one that cannot be used.
    BadRedirect(UrlError),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HttpError::MalformedHead => "the answer is not HTTP",
            HttpError::HeadTooLong => "the answer's headers are too long",
            HttpError::BadLength => "the answer's content length makes no sense",
            HttpError::BodyTooLong(limit) => {
                return write!(f, "the answer is longer than {limit} bytes");
            }
            HttpError::BadChunk => "the answer's chunks are malformed",
            HttpError::UnknownTransferCoding => "the answer's transfer coding is not supported",
            HttpError::UnknownContentCoding => "the answer's content coding is not supported",
            HttpError::BadCompression => "the answer's compression is broken",
            HttpError::UnexpectedEnd => "the connection ended before the answer did",
            HttpError::BadRange => "the answer is another part of the file",
            HttpError::BadRedirect(why) => return write!(f, "redirected to nowhere: {why}"),
        })
    }
}

impl std::error::Error for HttpError {}
