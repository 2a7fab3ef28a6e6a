//! One HTTP/1.1 exchange from the client's side: the bytes of a request, and the response out of
//! what comes back, in any cut.
//!
//! Head and body are bounded, and so is what the body inflates to (defences 10 and 11). A redirect
//! ends the exchange as soon as its head is there; whether and how often it is followed is for the
//! caller, as are all deadlines.

use std::ops::Range;

use bytes::Bytes;

use super::head::Headers;
use super::response::{Head, Part, ResponseDecoder, decompress};
use super::{HttpError, Url, UrlError};

/// Redirects to follow before giving up (defence 10).
pub const MAX_REDIRECTS: u32 = 5;

/// A GET request.
#[derive(Clone, Debug)]
pub struct Request {
    url: Url,
    headers: Vec<(&'static str, String)>,
    keep_alive: bool,
    range: Option<Range<u64>>,
}

/// How much of a response is accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of status line and headers.
    pub head: usize,
    /// Bytes of the body, as sent and as decompressed.
    pub body: usize,
}

/// An exchange under way.
#[derive(Debug)]
pub struct ClientExchange {
    url: Url,
    request: Bytes,
    limits: Limits,
    decoder: ResponseDecoder,
    head: Option<Head>,
    body: Vec<u8>,
    is_over: bool,
}

/// How far an exchange has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// More bytes are needed.
    More,
    /// The response is complete. Nothing more comes out of the exchange.
    Response(Response),
    /// The server sends us elsewhere. Nothing more comes out of the exchange.
    Redirect(Url),
}

/// A complete response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// The status, such as 200. Not a redirect that could be followed.
    pub status: u16,
    /// Its headers.
    pub headers: Headers,
    /// Its body, decompressed.
    pub body: Bytes,
    /// Whether the connection can carry another request.
    pub keep_alive: bool,
}

impl Request {
    /// A request for what `url` names.
    pub fn get(url: Url) -> Self {
        Request { url, headers: Vec::new(), keep_alive: false, range: None }
    }

    /// Adds a header. Characters of the value that cannot stand in one are left out.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let allowed = |c: &char| c.is_ascii_graphic() || *c == ' ';
        self.headers.push((name, value.chars().filter(allowed).collect()));
        self
    }

    /// Asks the server to keep the connection open for another request.
    pub fn keep_alive(mut self) -> Self {
        self.keep_alive = true;
        self
    }

    /// Asks for these bytes only, without a content coding. The range is not empty.
    pub fn range(mut self, range: Range<u64>) -> Self {
        self.range = Some(range);
        self
    }

    /// The request as it is sent.
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut text =
            format!("GET {} HTTP/1.1\r\nHost: {}\r\n", self.url.target(), self.url.authority());
        match &self.range {
            None => text.push_str("Accept-Encoding: gzip\r\n"),
            Some(range) => {
                let last = range.end.saturating_sub(1);
                text.push_str("Accept-Encoding: identity\r\n");
                text.push_str(&format!("Range: bytes={}-{last}\r\n", range.start));
            }
        }
        let authorization = self.url.authorization().map(|value| ("Authorization", value));
        let connection = (!self.keep_alive).then(|| ("Connection", "close".to_owned()));
        for (name, value) in self.headers.iter().cloned().chain(authorization).chain(connection) {
            text.extend([name, ": ", &value, "\r\n"]);
        }
        text.push_str("\r\n");
        text.into()
    }
}

impl Default for Limits {
    /// 64 KiB of headers, 4 MiB of body (defence 10).
    fn default() -> Self {
        Limits { head: 64 << 10, body: 4 << 20 }
    }
}

impl ClientExchange {
    /// Begins an exchange; [`ClientExchange::request`] is to be sent.
    pub fn new(request: &Request, limits: Limits) -> Self {
        ClientExchange {
            url: request.url.clone(),
            request: request.to_bytes(),
            limits,
            decoder: ResponseDecoder::new(limits.head),
            head: None,
            body: Vec::new(),
            is_over: false,
        }
    }

    /// The bytes of the request.
    pub fn request(&self) -> Bytes {
        self.request.clone()
    }

    /// Bytes came in. After an error or anything but [`Progress::More`], the exchange is over.
    pub fn handle(&mut self, mut data: &[u8]) -> Result<Progress, HttpError> {
        while !self.is_over {
            let Some(part) = self.decoder.next(&mut data)? else { break };
            match part {
                Part::Head(head) => {
                    if let Some(location) = redirect(&self.url, &head)? {
                        self.is_over = true;
                        return Ok(Progress::Redirect(location));
                    }
                    if head.length.is_some_and(|length| length > self.limits.body as u64) {
                        return Err(HttpError::BodyTooLong(self.limits.body));
                    }
                    self.head = Some(head);
                }
                Part::Body(part) => {
                    if part.len() > self.limits.body.saturating_sub(self.body.len()) {
                        return Err(HttpError::BodyTooLong(self.limits.body));
                    }
                    self.body.extend_from_slice(part);
                }
                Part::End { keep_alive } => return self.finish(keep_alive),
            }
        }
        Ok(Progress::More)
    }

    /// The connection has ended in order: the end of some bodies.
    pub fn handle_close(&mut self) -> Result<Progress, HttpError> {
        if self.is_over {
            return Ok(Progress::More);
        }
        self.decoder.handle_close()?;
        self.finish(false)
    }

    /// The response is complete.
    fn finish(&mut self, keep_alive: bool) -> Result<Progress, HttpError> {
        self.is_over = true;
        let Some(Head { status, headers, .. }) = self.head.take() else {
            return Ok(Progress::More);
        };
        let body = decompress(&headers, std::mem::take(&mut self.body), self.limits.body)?;
        Ok(Progress::Response(Response { status, headers, body: body.into(), keep_alive }))
    }
}

/// Where a response sends its client, if it is a redirect of a request for `url`.
pub(super) fn redirect(url: &Url, head: &Head) -> Result<Option<Url>, HttpError> {
    if !matches!(head.status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = head.headers.get_str("location");
    let location = location.ok_or(HttpError::BadRedirect(UrlError::BadHost))?;
    url.join(location).map(Some).map_err(HttpError::BadRedirect)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use quickcheck::quickcheck;

    fn exchange() -> ClientExchange {
        exchange_with(Limits { head: 1000, body: 1000 })
    }

    fn exchange_with(limits: Limits) -> ClientExchange {
        let url = Url::parse("http://u:p@t.example:81/a/announce?x").unwrap();
        ClientExchange::new(&Request::get(url).header("User-Agent", "bs\r\n1"), limits)
    }

    /// Hands everything in at once, then the end of the connection.
    fn run(data: &[u8]) -> Result<Progress, HttpError> {
        let mut exchange = exchange();
        match exchange.handle(data)? {
            Progress::More => exchange.handle_close(),
            done => Ok(done),
        }
    }

    fn response(data: &[u8]) -> Response {
        match run(data) {
            Ok(Progress::Response(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn with_body(head: &str, body: &[u8]) -> Vec<u8> {
        let mut data = format!("HTTP/1.1 200 OK\r\n{head}\r\n").into_bytes();
        data.extend_from_slice(body);
        data
    }

    #[test]
    fn request_has_what_a_server_needs_and_nothing_injected() {
        assert_eq!(
            exchange().request(),
            "GET /a/announce?x HTTP/1.1\r\nHost: t.example:81\r\nAccept-Encoding: gzip\r\n\
             User-Agent: bs1\r\nAuthorization: Basic dTpw\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn request_for_a_range_names_its_last_byte_and_no_coding() {
        let url = Url::parse("http://s.example/f").unwrap();
        let request = Request::get(url).range(100..300).keep_alive();
        assert_eq!(
            request.to_bytes(),
            "GET /f HTTP/1.1\r\nHost: s.example\r\nAccept-Encoding: identity\r\n\
             Range: bytes=100-299\r\n\r\n"
        );
    }

    #[test]
    fn body_by_length_chunks_and_end_of_connection_is_the_same() {
        for (data, keep_alive) in [
            (with_body("Content-Length: 3\r\n", b"abc"), true),
            (with_body("Connection: x, Close\r\nContent-Length: 3\r\n", b"abc"), false),
            (with_body("Content-Length: 3\r\n", b"abcx"), false),
            (with_body("Transfer-Encoding: Chunked\r\n", b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"), true),
            (with_body("", b"abc"), false),
        ] {
            let response = response(&data);
            assert_eq!((response.status, &*response.body), (200, &b"abc"[..]));
            assert_eq!(response.keep_alive, keep_alive, "{}", data.escape_ascii());
        }
        assert_eq!(&*response(b"HTTP/1.0 404 No\n\ngone").body, b"gone");
    }

    #[test]
    fn gzip_is_unpacked_up_to_the_limit() {
        let head = "Content-Encoding: gzip\r\n";
        assert_eq!(&*response(&with_body(head, &gzip(b"hello"))).body, b"hello");
        let bomb = gzip(&vec![0; 300_000]);
        assert!(bomb.len() < 1000);
        assert_eq!(run(&with_body(head, &bomb)), Err(HttpError::BodyTooLong(1000)));
        let cut = gzip(b"hello");
        assert_eq!(run(&with_body(head, &cut[..12])), Err(HttpError::BadCompression));
        let other = with_body("Content-Encoding: br\r\n", b"x");
        assert_eq!(run(&other), Err(HttpError::UnknownContentCoding));
    }

    #[test]
    fn redirect_ends_the_exchange_at_its_head() {
        let data = b"HTTP/1.1 302 Found\r\nLocation: /b?y\r\nContent-Length: 999999\r\n\r\n";
        let Ok(Progress::Redirect(url)) = exchange().handle(data) else { panic!() };
        assert_eq!((url.target(), &*url.authority()), ("/b?y", "t.example:81"));
        let bad = b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n";
        assert_eq!(run(bad), Err(HttpError::BadRedirect(UrlError::UnknownScheme)));
        let none = b"HTTP/1.1 302 Found\r\n\r\n";
        assert_eq!(run(none), Err(HttpError::BadRedirect(UrlError::BadHost)));
    }

    #[test]
    fn interim_responses_are_skipped_but_not_forever() {
        let mut data = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
        data.extend(with_body("Content-Length: 1\r\n", b"x"));
        assert_eq!(&*response(&data).body, b"x");
        let endless = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100);
        assert_eq!(run(&endless), Err(HttpError::MalformedHead));
    }

    #[test]
    fn responses_without_a_body_end_with_their_head() {
        let mut exchange = exchange();
        let progress = exchange.handle(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        assert!(matches!(progress, Progress::Response(Response { status: 204, .. })));
    }

    #[test]
    fn limits_hold_before_anything_is_stored() {
        let head = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(2000));
        assert_eq!(run(head.as_bytes()), Err(HttpError::HeadTooLong));
        let many = with_body(&"A: b\r\n".repeat(150), b"");
        assert_eq!(run(&many), Err(HttpError::HeadTooLong));
        let long = with_body("Content-Length: 1001\r\n", b"");
        assert_eq!(exchange().handle(&long), Err(HttpError::BodyTooLong(1000)));
        let chunks = with_body("Transfer-Encoding: chunked\r\n", b"64\r\n");
        let chunk = [&b"x".repeat(100)[..], b"\r\n64\r\n"].concat();
        let mut exchange = exchange();
        assert_eq!(exchange.handle(&chunks), Ok(Progress::More));
        let result = (0..11).map(|_| exchange.handle(&chunk)).find(Result::is_err);
        assert_eq!(result, Some(Err(HttpError::BodyTooLong(1000))));
    }

    #[test]
    fn malformed_answers_are_errors_each_of_its_kind() {
        let error = |data: &[u8]| run(data).unwrap_err();
        assert_eq!(error(b"SSH-2.0-OpenSSH\r\n"), HttpError::MalformedHead);
        assert_eq!(error(b"HTTP/1.1 abc\r\n\r\n"), HttpError::MalformedHead);
        assert_eq!(error(b"HTTP/1.1 200 OK\r\n"), HttpError::UnexpectedEnd);
        assert_eq!(error(&with_body("Content-Length: 3\r\n", b"ab")), HttpError::UnexpectedEnd);
        assert_eq!(error(&with_body("Content-Length: -1\r\n", b"")), HttpError::BadLength);
        assert_eq!(error(&with_body("Content-Length: +1\r\n", b"")), HttpError::BadLength);
        let twice = with_body("Content-Length: 1\r\nContent-Length: 2\r\n", b"");
        assert_eq!(error(&twice), HttpError::BadLength);
        let coding = with_body("Transfer-Encoding: gzip, chunked\r\n", b"");
        assert_eq!(error(&coding), HttpError::UnknownTransferCoding);
    }

    #[test]
    fn dripped_head_is_parsed_once_its_end_is_there() {
        let data = with_body("Content-Length: 1\r\n", b"x");
        let mut exchange = exchange();
        let (last, drip) = data.split_last().unwrap();
        for byte in drip {
            assert_eq!(exchange.handle(&[*byte]), Ok(Progress::More));
        }
        assert!(matches!(exchange.handle(&[*last]), Ok(Progress::Response(_))));
    }

    #[test]
    fn what_does_not_begin_like_http_is_refused_in_any_cut() {
        let early = b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
        let long = b"x".repeat(2000);
        for data in [&early[..], &long] {
            assert_eq!(run(data), Err(HttpError::MalformedHead));
            let mut bytewise = exchange();
            let first = data.chunks(1).find_map(|byte| bytewise.handle(byte).err());
            assert_eq!(first, Some(HttpError::MalformedHead));
        }
    }

    quickcheck! {
        fn any_cut_of_a_response_gives_the_same(body: Vec<u8>, chunks: Vec<u8>, cuts: Vec<u8>) -> bool {
            let mut data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\
                Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n".to_vec();
            let packed = gzip(&body);
            let mut rest = &packed[..];
            for len in chunks.iter().map(|len| usize::from(*len)).chain([packed.len()]) {
                let (part, left) = rest.split_at(len.min(rest.len()));
                rest = left;
                if !part.is_empty() {
                    data.extend(format!("{:x}\r\n", part.len()).bytes());
                    data.extend(part);
                    data.extend(b"\r\n");
                }
            }
            data.extend(b"0\r\nT: r\r\n\r\n");
            let mut exchange = exchange_with(Limits::default());
            let mut rest = &data[..];
            let mut cuts = cuts.iter().map(|cut| usize::from(*cut) + 1).cycle();
            loop {
                let cut = cuts.next().unwrap_or(usize::MAX).min(rest.len());
                let (part, left) = rest.split_at(cut);
                rest = left;
                match exchange.handle(part) {
                    Ok(Progress::More) if !rest.is_empty() => {}
                    Ok(Progress::Response(response)) => {
                        return rest.is_empty() && response.body == body && response.keep_alive;
                    }
                    _ => return false,
                }
            }
        }

        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, kind: u8) -> bool {
            let start: &[u8] = match kind % 4 {
                0 => b"",
                1 => b"HTTP/1.1 200 OK\r\n",
                2 => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                _ => b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08",
            };
            let _ = run(&[start, &bytes].concat());
            true
        }
    }
}
