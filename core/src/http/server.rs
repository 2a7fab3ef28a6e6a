//! The server's side of HTTP/1.1, as far as a tracker needs it: requests without a body out of a
//! stream, and responses into it.
//!
//! Only GET is served. A head is bounded; requests may be pipelined, and are handed out one by one,
//! so that nothing but the head of one is ever held. After an error the stream has no defined
//! continuation: the error is answered and the connection closed.

use super::head::{HeadBuffer, Headers};

/// Longest head of a request, in bytes (chosen: an announce is below 1 KiB).
const MAX_HEAD: usize = 8 << 10;

/// Most headers of a request (chosen).
const MAX_HEADERS: usize = 64;

/// Takes requests out of a stream, in any cut.
#[derive(Debug, Default)]
pub struct RequestParser {
    buffer: HeadBuffer,
}

/// A GET request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IncomingRequest {
    /// Path and query as sent; begins with `/`.
    pub target: String,
    /// Whether the connection stays open after the answer.
    pub keep_alive: bool,
}

/// Why a request is not served.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RequestError {
    /// It is not HTTP, or has a body.
    Malformed,
    /// Its head is longer than is read.
    TooLong,
    /// Its method is not GET.
    NotGet,
}

/// The status of a response.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// 200
    Ok,
    /// 400
    BadRequest,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 431
    HeadTooLong,
}

impl RequestParser {
    /// Takes the next request off the front of `data`; `None` when all of it is used up.
    pub fn next(&mut self, data: &mut &[u8]) -> Result<Option<IncomingRequest>, RequestError> {
        if self.buffer.bytes().is_empty() {
            skip_empty_lines(data);
        }
        if !self.buffer.fill(data, MAX_HEAD).map_err(|_| RequestError::TooLong)? {
            return Ok(None);
        }
        let request = parse(self.buffer.bytes());
        self.buffer.clear();
        request.map(Some)
    }
}

impl RequestError {
    /// The status to answer with.
    pub fn status(self) -> Status {
        match self {
            RequestError::Malformed => Status::BadRequest,
            RequestError::TooLong => Status::HeadTooLong,
            RequestError::NotGet => Status::MethodNotAllowed,
        }
    }
}

impl Status {
    /// The number and its words.
    pub fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::HeadTooLong => "431 Request Header Fields Too Large",
        }
    }
}

/// Appends a response with a body of plain text (which bencoding is called too).
pub fn write_response(out: &mut Vec<u8>, status: Status, body: &[u8], keep_alive: bool) {
    let allow = if status == Status::MethodNotAllowed { "Allow: GET\r\n" } else { "" };
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let head = format!(
        "HTTP/1.1 {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{allow}\
         X-Content-Type-Options: nosniff\r\nConnection: {connection}\r\n\r\n",
        status.line(),
        body.len(),
    );
    out.reserve(head.len() + body.len());
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body);
}

/// RFC 9112, section 2.2: empty lines before a request are ignored.
fn skip_empty_lines(data: &mut &[u8]) {
    while let [b'\r' | b'\n', rest @ ..] = data {
        *data = rest;
    }
}

fn parse(head: &[u8]) -> Result<IncomingRequest, RequestError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(RequestError::TooLong),
        Ok(httparse::Status::Partial) | Err(_) => return Err(RequestError::Malformed),
    }
    if request.method != Some("GET") {
        return Err(RequestError::NotGet);
    }
    let headers = Headers::collect(request.headers);
    let no_body = matches!(headers.content_length(), Ok(None | Some(0)))
        && headers.get("transfer-encoding").is_none();
    let target = request.path.filter(|target| target.starts_with('/') && no_body);
    let persistent = request.version == Some(1) && !headers.has_token("connection", "close");
    Ok(IncomingRequest {
        target: target.ok_or(RequestError::Malformed)?.to_owned(),
        keep_alive: persistent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn requests(mut data: &[u8]) -> Result<Vec<(String, bool)>, RequestError> {
        let mut parser = RequestParser::default();
        let mut found = Vec::new();
        while let Some(request) = parser.next(&mut data)? {
            found.push((request.target, request.keep_alive));
        }
        Ok(found)
    }

    #[test]
    fn pipelined_requests_come_out_one_by_one() {
        let data =
            b"GET /a?x HTTP/1.1\r\nHost: h\r\n\r\n\r\nGET /b HTTP/1.1\r\nConnection: close\r\n\r\n\
            GET /c HTTP/1.0\n\nGET /half";
        let expected =
            [("/a?x".to_owned(), true), ("/b".to_owned(), false), ("/c".to_owned(), false)];
        assert_eq!(requests(data).unwrap(), expected);
    }

    #[test]
    fn what_is_not_served_is_refused_with_its_status() {
        let status = |data: &[u8]| requests(data).unwrap_err().status().line();
        assert_eq!(&status(b"POST / HTTP/1.1\r\n\r\n")[..3], "405");
        assert_eq!(&status(b"HEAD / HTTP/1.1\r\n\r\n")[..3], "405");
        assert_eq!(&status(b"\x16\x03\x01\n\n")[..3], "400");
        assert_eq!(&status(b"GET http://h/ HTTP/1.1\r\n\r\n")[..3], "400");
        assert_eq!(&status(b"GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\n")[..3], "400");
        assert_eq!(&status(b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")[..3], "400");
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(9000));
        assert_eq!(&status(long.as_bytes())[..3], "431");
    }

    #[test]
    fn response_says_its_length_and_what_becomes_of_the_connection() {
        let mut out = Vec::new();
        write_response(&mut out, Status::Ok, b"body", true);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("Content-Length: 4\r\n"));
        assert!(text.ends_with("Connection: keep-alive\r\n\r\nbody"));
    }

    quickcheck! {
        fn any_cut_gives_the_same_requests(paths: Vec<u8>, cuts: Vec<u8>) -> bool {
            let data: String = paths.iter().map(|p| format!("GET /{p} HTTP/1.1\r\nA: b\r\n\r\n")).collect();
            let mut parser = RequestParser::default();
            let mut found = Vec::new();
            let mut rest = data.as_bytes();
            let mut cuts = cuts.iter().map(|cut| usize::from(*cut) + 1);
            while !rest.is_empty() {
                let (mut part, left) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
                rest = left;
                while let Some(request) = parser.next(&mut part).unwrap() {
                    found.push(request.target);
                }
            }
            found == paths.iter().map(|p| format!("/{p}")).collect::<Vec<_>>()
        }

        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) -> bool {
            let _ = requests(&[b"GET /", &bytes[..], b"\r\n\r\n"].concat());
            let _ = requests(&bytes);
            true
        }
    }
}
