//! Getting a torrent file from a web server, by the rules that hold for trackers: how long an answer
//! may be, where a redirect may lead, whose certificates are trusted, which addresses connections
//! come from.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use bitswarm_core::Segments;
use bitswarm_core::event::NetError;
use bitswarm_core::http::client::Limits;
use bitswarm_core::http::{
    ClientExchange, MAX_REDIRECTS, Progress, Request, Response, Scheme, Url, UrlHost, origin,
};
use bitswarm_core::metainfo::MAX_METAINFO_LEN;
use bitswarm_core::socket::Local;
use bitswarm_runtime_common::net::{net_error, stream_to};
use bitswarm_runtime_common::tls::{Tls, Trust};
use bytes::Bytes;

use crate::args::Transfer;
use crate::exit::{Code, Failure};

/// How we name ourselves to servers.
const USER_AGENT: &str = concat!("bitswarm/", env!("CARGO_PKG_VERSION"));

/// Time for one address to react before the next is tried (as for trackers).
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest silence in an exchange, and longest time for all of it (chosen: a torrent of the longest
/// kind comes through at 300 KiB/s).
const SILENCE: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(300);

/// Addresses of a host that are tried (as for trackers).
const MAX_ADDRESSES: usize = 16;

/// From where and to whom connections are made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    /// The addresses that connections come from. With some, hosts of a family that none is of are
    /// not reached.
    pub(crate) bind: Vec<IpAddr>,
    /// Hosts whose certificates are not checked.
    pub(crate) insecure: Vec<String>,
}

impl Reach {
    /// That of a transfer's options.
    pub(crate) fn of(transfer: &Transfer) -> Self {
        Reach { bind: transfer.network.bind.clone(), insecure: transfer.insecure_trackers.clone() }
    }
}

/// Whether a text is meant as an address on the web.
pub(crate) fn is_web_address(text: &str) -> bool {
    ["http://", "https://"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme)))
}

/// What lies at an address on the web: the body of the answer, which may be the beginning of what is
/// too long for a torrent.
pub(crate) fn fetch(address: &str, reach: &Reach) -> Result<Bytes, Failure> {
    let url = Url::parse(address)
        .map_err(|error| Failure::new(Code::Usage, format!("cannot get {address}: {error}")))?;
    let mut fetch =
        Fetch { first: url.clone(), reach, until: Instant::now() + DEADLINE, from: None };
    let mut url = url;
    for _ in 0..=MAX_REDIRECTS {
        match fetch.get(&url)? {
            Progress::Redirect(to) if to.scheme() == Scheme::Udp => {
                return Err(fetch.failed(Code::BadInput, "redirected to what is no web address"));
            }
            Progress::Redirect(to) => url = to,
            Progress::Response(response) => return fetch.body(response),
            Progress::More => {
                return Err(fetch.failed(Code::NoPeers, "the connection ended before the answer"));
            }
        }
    }
    Err(fetch.failed(Code::BadInput, "too many redirects"))
}

/// One torrent on its way.
struct Fetch<'a> {
    /// What the user named.
    first: Url,
    reach: &'a Reach,
    until: Instant,
    /// The address that sent us on.
    from: Option<IpAddr>,
}

impl Fetch<'_> {
    /// Names what was to be got. Secrets in its address are not shown.
    fn failed(&self, code: Code, why: impl std::fmt::Display) -> Failure {
        Failure::new(code, format!("cannot get {}: {why}", self.first))
    }

    fn body(&self, response: Response) -> Result<Bytes, Failure> {
        match response.status {
            200 => Ok(response.body),
            404 | 410 => {
                Err(self.failed(Code::BadInput, "there is nothing (HTTP 404); check the address"))
            }
            401 | 403 => Err(self.failed(
                Code::BadInput,
                format!("the server refuses it (HTTP {}); it may want a login", response.status),
            )),
            status @ 500.. => Err(self.failed(
                Code::NoPeers,
                format!("the server has trouble (HTTP {status}); try later"),
            )),
            status => Err(self.failed(Code::BadInput, format!("the server answers HTTP {status}"))),
        }
    }

    /// One exchange with the host of `url`, at the first of its addresses that takes a connection.
    fn get(&mut self, url: &Url) -> Result<Progress, Failure> {
        let mut last = None;
        for to in self.addresses(url)? {
            match self.connect(to) {
                Ok(stream) => {
                    self.from = Some(to.ip());
                    return self.exchange(url, stream);
                }
                Err(error) => last = Some((to, error)),
            }
        }
        let (to, error) = last.expect("there is an address, or an error before");
        let why = net_error(&error);
        Err(self.failed(Code::NoPeers, format!("cannot connect to {to}: {why}; check the network")))
    }

    /// Where a connection to the host may go; at least one.
    fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, Failure> {
        let found: Vec<SocketAddr> = match url.host() {
            UrlHost::Ip(ip) => vec![SocketAddr::new(*ip, url.port())],
            UrlHost::Name(name) => (&**name, url.port())
                .to_socket_addrs()
                .map_err(|error| {
                    let advice = "check its spelling and the network";
                    self.failed(Code::NoPeers, format!("no such host {name} ({error}); {advice}"))
                })?
                .collect(),
        };
        let Some(first) = found.first().copied() else {
            return Err(self.failed(Code::NoPeers, "its host has no address"));
        };
        let allowed = |ip: IpAddr| self.from.is_none_or(|from| origin::redirect_allowed(from, ip));
        let mut allowed: Vec<SocketAddr> =
            found.into_iter().filter(|addr| allowed(addr.ip())).take(MAX_ADDRESSES).collect();
        if allowed.is_empty() {
            let why =
                format!("redirected into a private network ({}), which is refused", first.ip());
            return Err(self.failed(Code::BadInput, why));
        }
        if !self.reach.bind.is_empty() {
            allowed.retain(|addr| self.local(*addr).is_some());
            if allowed.is_empty() {
                let why = "its host has no address of the family that --bind names";
                return Err(self.failed(Code::NoPeers, why));
            }
        }
        Ok(allowed)
    }

    /// The local address to use for this one.
    fn local(&self, to: SocketAddr) -> Option<IpAddr> {
        self.reach.bind.iter().find(|ip| ip.is_ipv4() == to.is_ipv4()).copied()
    }

    fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let from = Local { address: self.local(to), ..Local::default() };
        let socket = stream_to(to, Some(&from))?;
        socket.connect_timeout(&to.into(), self.left(ADDRESS_TIMEOUT)?)?;
        Ok(socket.into())
    }

    /// At most this long, and not beyond the deadline.
    fn left(&self, most: Duration) -> io::Result<Duration> {
        match self.until.saturating_duration_since(Instant::now()).min(most) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }

    fn exchange(&self, url: &Url, stream: TcpStream) -> Result<Progress, Failure> {
        let request = Request::get(url.clone()).header("User-Agent", USER_AGENT);
        let limits = Limits { body: MAX_METAINFO_LEN, ..Limits::default() };
        let mut http = ClientExchange::new(&request, limits);
        let broken = |error: io::Error| self.broken(&error, url);
        let mut wire = Wire::begin(stream, url, self.reach, http.request()).map_err(broken)?;
        loop {
            let timeout = self.left(SILENCE).map_err(broken)?;
            let heard = wire.hear(timeout).map_err(broken)?;
            let progress = match &heard {
                Some(bytes) => http.handle(bytes),
                None => http.handle_close(),
            };
            let progress = progress.map_err(|error| self.failed(Code::BadInput, error))?;
            if progress != Progress::More || heard.is_none() {
                return Ok(progress);
            }
        }
    }

    /// What went wrong on a connection.
    fn broken(&self, error: &io::Error, url: &Url) -> Failure {
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            return self.failed(Code::NoPeers, "the server does not answer in time; try later");
        }
        match net_error(error) {
            NetError::Certificate => {
                let host = url.host().to_tls_name();
                let why = format!("the certificate of {host} is not trusted");
                let advice = "SSL_CERT_FILE names certificates to trust";
                self.failed(Code::NoPeers, format!("{why}; {advice}"))
            }
            why => self.failed(Code::NoPeers, format!("connection lost: {why}; try again")),
        }
    }
}

/// A connection, with or without TLS.
struct Wire {
    stream: TcpStream,
    tls: Option<Tls>,
    /// What is to be sent.
    waiting: Segments,
}

impl Wire {
    fn begin(stream: TcpStream, url: &Url, reach: &Reach, request: Bytes) -> io::Result<Self> {
        let mut plain = Segments::new();
        plain.push(request);
        if url.scheme() != Scheme::Https {
            return Ok(Wire { stream, tls: None, waiting: plain });
        }
        let mut tls = Trust::new(&reach.insecure).begin(&url.host().to_tls_name())?;
        tls.send(&mut plain)?;
        Ok(Wire { stream, tls: Some(tls), waiting: Segments::new() })
    }

    /// What the server says next; `None` when it has hung up.
    fn hear(&mut self, timeout: Duration) -> io::Result<Option<Vec<u8>>> {
        self.stream.set_read_timeout(Some(timeout))?;
        self.stream.set_write_timeout(Some(timeout))?;
        let mut chunk = vec![0; 64 << 10];
        loop {
            if let Some(tls) = &mut self.tls {
                if tls.has_ended() {
                    return Ok(None);
                }
                tls.take_wire(&mut self.waiting)?;
            }
            self.stream.write_all(&self.waiting.take_all())?;
            let count = match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                count => count?,
            };
            let Some(tls) = &mut self.tls else {
                chunk.truncate(count);
                return Ok(Some(chunk).filter(|chunk| !chunk.is_empty()));
            };
            if count == 0 {
                return match tls.is_handshaking() {
                    true => Err(io::ErrorKind::UnexpectedEof.into()),
                    false => Ok(None),
                };
            }
            tls.received(&chunk[..count])?;
            let plain = tls.take_plain();
            if !plain.is_empty() {
                return Ok(Some(plain.to_vec()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server on loopback that gives each connection the next of these answers; its address.
    fn server(answers: Vec<Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    asked.push(byte[0]);
                }
                // Who has heard enough hangs up.
                let _ = stream.write_all(&answer);
            }
        });
        address
    }

    fn answer(head: &str, body: &[u8]) -> Vec<u8> {
        [format!("HTTP/1.1 {head}\r\n\r\n").as_bytes(), body].concat()
    }

    fn get(address: &str) -> Result<Bytes, Failure> {
        fetch(address, &Reach::default())
    }

    #[test]
    fn a_body_is_fetched_over_redirects() {
        let end = server(vec![answer("200 OK\r\nContent-Length: 3", b"abc")]);
        let to = answer(&format!("302 Found\r\nLocation: {end}/x"), b"");
        let start = server(vec![to]);
        assert_eq!(get(&format!("{start}/a.torrent")).unwrap(), "abc");
    }

    #[test]
    fn what_is_no_torrent_there_is_an_error_of_its_kind() {
        let failure = |head: &str, body: &[u8]| {
            let address = server(vec![answer(head, body)]);
            get(&format!("{address}/t?passkey=secret")).unwrap_err()
        };
        let missing = failure("404 Not Found\r\nContent-Length: 0", b"");
        assert_eq!(missing.code, Code::BadInput);
        assert!(missing.to_string().contains("404"), "{missing}");
        assert!(!missing.to_string().contains("secret"), "{missing}");
        assert_eq!(failure("503 Busy\r\nContent-Length: 0", b"").code, Code::NoPeers);
        let cut = failure("200 OK\r\nContent-Length: 9", b"abc");
        assert!(cut.to_string().contains("ended before"), "{cut}");
        let long = failure("200 OK\r\nContent-Length: 99999999999", b"");
        assert_eq!(long.code, Code::BadInput);
        assert!(long.to_string().contains("longer than"), "{long}");
        let elsewhere = failure("302 Found\r\nLocation: file:///etc/passwd", b"");
        assert!(elsewhere.to_string().contains("redirected"), "{elsewhere}");
    }

    #[test]
    fn redirects_do_not_go_on_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/x", listener.local_addr().unwrap());
        let to = answer(&format!("301 Moved\r\nLocation: {address}"), b"");
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]).unwrap();
                let _ = stream.write_all(&to);
            }
        });
        let failure = get(&address).unwrap_err();
        assert!(failure.to_string().contains("too many redirects"), "{failure}");
    }

    #[test]
    fn nobody_there_is_a_matter_of_the_network() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let failure = get(&format!("http://{free}/t")).unwrap_err();
        assert_eq!(failure.code, Code::NoPeers);
        assert!(failure.to_string().contains("connection refused"), "{failure}");
        let other = Reach { bind: vec!["::1".parse().unwrap()], insecure: Vec::new() };
        let failure = fetch(&format!("http://{free}/t"), &other).unwrap_err();
        assert!(failure.to_string().contains("--bind"), "{failure}");
        assert_eq!(get("http://").unwrap_err().code, Code::Usage);
    }

    #[test]
    fn a_redirect_never_leads_from_the_internet_into_a_private_network() {
        let url = Url::parse("http://192.168.0.1/x").unwrap();
        let reach = Reach::default();
        let until = Instant::now() + DEADLINE;
        let from = Some("1.1.1.1".parse().unwrap());
        let fetch = Fetch { first: url.clone(), reach: &reach, until, from };
        let failure = fetch.addresses(&url).unwrap_err();
        assert!(failure.to_string().contains("private network"), "{failure}");
        // What the user names is asked wherever it is.
        assert!(Fetch { from: None, ..fetch }.addresses(&url).is_ok());
    }

    #[test]
    fn web_addresses_are_told_from_files() {
        assert!(is_web_address("HTTPS://x/y.torrent") && is_web_address("http://x"));
        assert!(!is_web_address("http:/x") && !is_web_address("a/http://x"));
    }
}
