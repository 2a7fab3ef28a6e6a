//! URLs of trackers and web seeds: `http`, `https` and `udp`, the subset of RFC 3986 they use.
//!
//! A parsed URL is safe to put into a request: its host has only the characters of a host name, and
//! its target (path and query) only visible ASCII, everything else percent-encoded. International
//! names must come in their ASCII form (`xn--`), so that look-alikes cannot hide. Shown to a user
//! or a log, credentials and passkeys are left out (defence 34).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::percent;

/// Longest URL accepted, in bytes (chosen: longer than any signed redirect target seen in use).
pub const MAX_URL_LEN: usize = 8 << 10;

/// Longest host name accepted, in bytes (RFC 1035, section 2.3.4).
const MAX_NAME_LEN: usize = 253;

/// A path segment at least this long may be a passkey and is not shown (chosen).
const SECRET_LEN: usize = 16;

/// The address of a tracker or web seed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    scheme: Scheme,
    /// `user:password` as written, without the `@`.
    userinfo: Option<Box<str>>,
    host: UrlHost,
    port: u16,
    /// Path and query; begins with `/`.
    target: Box<str>,
}

/// The protocol that a URL names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scheme {
    /// HTTP over TCP.
    Http,
    /// HTTP over TLS.
    Https,
    /// The UDP tracker protocol (BEP 15).
    Udp,
}

/// The host that a URL names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum UrlHost {
    /// A name, in lower case; to be resolved.
    Name(Box<str>),
    /// An address.
    Ip(IpAddr),
}

impl UrlHost {
    /// As TLS names it: no brackets around an address.
    pub fn to_tls_name(&self) -> Box<str> {
        match self {
            UrlHost::Name(name) => name.clone(),
            UrlHost::Ip(ip) => ip.to_string().into(),
        }
    }
}

/// Why a text is not a URL that can be used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UrlError {
    /// Longer than [`MAX_URL_LEN`].
    TooLong,
    /// Not `http://`, `https://` or `udp://`.
    UnknownScheme,
    /// The host is missing or is neither a name nor an address.
    BadHost,
    /// The port is not a number from 1 to 65535.
    BadPort,
    /// A `udp://` URL names no port, and BEP 15 has no default.
    MissingPort,
    /// It contains a control character.
    BadCharacter,
}

impl Url {
    /// Parses a URL; white space around it is ignored.
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        let text = text.trim();
        if text.len() > MAX_URL_LEN {
            return Err(UrlError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(UrlError::BadCharacter);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::UnknownScheme)?;
        let scheme = Scheme::parse(scheme).ok_or(UrlError::UnknownScheme)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (userinfo, host_port) = match authority.rsplit_once('@') {
            Some((userinfo, host_port)) => (Some(userinfo.into()), host_port),
            None => (None, authority),
        };
        let (host, port) = parse_host_port(host_port)?;
        let port = port.or(scheme.default_port()).ok_or(UrlError::MissingPort)?;
        Ok(Url { scheme, userinfo, host, port, target: normalize_target(target) })
    }

    /// What `location` means when this URL answers with it as a redirect (RFC 3986, section 5.2).
    ///
    /// Credentials go along only within the same origin.
    pub fn join(&self, location: &str) -> Result<Url, UrlError> {
        let location = location.trim();
        if has_scheme(location) {
            return Url::parse(location);
        }
        if location.starts_with("//") {
            return Url::parse(&format!("{}:{location}", self.scheme));
        }
        if location.len() > MAX_URL_LEN {
            return Err(UrlError::TooLong);
        }
        if location.chars().any(char::is_control) {
            return Err(UrlError::BadCharacter);
        }
        let path = self.path();
        let target = match location.chars().next() {
            None | Some('#') => self.target.to_string(),
            Some('/') => location.to_owned(),
            Some('?') => format!("{path}{location}"),
            Some(_) => {
                let (folder, _) = path.rsplit_once('/').unwrap_or_default();
                format!("{folder}/{location}")
            }
        };
        Ok(Url { target: normalize_target(&target), ..self.clone() })
    }

    /// The protocol.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, as a name or an address.
    pub fn host(&self) -> &UrlHost {
        &self.host
    }

    /// The port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, percent-encoded; begins with `/`. The request target of HTTP, and the
    /// URLData of BEP 41.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&*self.target, |(path, _)| path)
    }

    /// The query, without the question mark.
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The same URL with another path.
    pub fn with_path(&self, path: &str) -> Url {
        let target = match self.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        Url { target: normalize_target(&target), ..self.clone() }
    }

    /// The same URL with `query` (percent-encoded already) after the query it has.
    pub fn with_query(&self, query: &str) -> Url {
        let joint = match self.query() {
            None => "?",
            Some("") => "",
            Some(_) => "&",
        };
        let target = format!("{}{joint}{query}", self.target).into();
        Url { target, ..self.clone() }
    }

    /// The value of an `Authorization` header, if the URL has credentials (RFC 7617).
    pub fn authorization(&self) -> Option<String> {
        let decoded = percent::decode(self.userinfo.as_ref()?.as_bytes())?;
        Some(format!("Basic {}", base64(&decoded)))
    }

    /// The whole of it, secrets included, as [`Url::parse`] reads it.
    fn to_text(&self) -> String {
        let (at, userinfo) = match &self.userinfo {
            Some(userinfo) => ("@", &**userinfo),
            None => ("", ""),
        };
        format!("{}://{userinfo}{at}{}:{}{}", self.scheme, self.host, self.port, self.target)
    }

    /// The value of a `Host` header.
    pub fn authority(&self) -> String {
        match self.scheme.default_port() {
            Some(port) if port == self.port => self.host.to_string(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

impl Scheme {
    fn parse(text: &str) -> Option<Scheme> {
        [Scheme::Http, Scheme::Https, Scheme::Udp]
            .into_iter()
            .find(|scheme| text.eq_ignore_ascii_case(scheme.name()))
    }

    fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Udp => "udp",
        }
    }

    fn default_port(self) -> Option<u16> {
        match self {
            Scheme::Http => Some(80),
            Scheme::Https => Some(443),
            Scheme::Udp => None,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for UrlHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UrlHost::Name(name) => f.write_str(name),
            UrlHost::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            UrlHost::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

impl fmt::Display for Url {
    /// Without credentials, and with `***` for what may be a passkey: long path segments and the
    /// values of the query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())?;
        for segment in self.path().split('/').skip(1) {
            write!(f, "/{}", if looks_secret(segment) { "***" } else { segment })?;
        }
        let Some(query) = self.query() else { return Ok(()) };
        for (number, pair) in query.split('&').enumerate() {
            f.write_str(if number == 0 { "?" } else { "&" })?;
            match pair.split_once('=') {
                Some((name, _)) => write!(f, "{name}=***")?,
                None if pair.is_empty() => {}
                None => f.write_str("***")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// For recordings: with all secrets.
impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Url::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UrlError::TooLong => "the URL is longer than 8 KiB",
            UrlError::UnknownScheme => "the URL does not start with http://, https:// or udp://",
            UrlError::BadHost => {
                "the URL's host is neither a name nor an address (write international names as xn--)"
            }
            UrlError::BadPort => "the URL's port is not a number from 1 to 65535",
            UrlError::MissingPort => "the udp:// URL names no port",
            UrlError::BadCharacter => "the URL contains a control character",
        })
    }
}

impl std::error::Error for UrlError {}

/// Whether a reference is absolute: a scheme and a colon come before any path or query.
fn has_scheme(reference: &str) -> bool {
    let end = reference.find(['/', '?', '#']).unwrap_or(reference.len());
    reference.find(':').is_some_and(|colon| colon < end)
}

fn parse_host_port(text: &str) -> Result<(UrlHost, Option<u16>), UrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(UrlError::BadHost)?;
            let address: Ipv6Addr = address.parse().map_err(|_| UrlError::BadHost)?;
            (UrlHost::Ip(address.into()), port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (parse_name(host)?, port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        None => return Err(UrlError::BadHost),
        Some("") => None,
        Some(digits) => Some(parse_port(digits)?),
    };
    Ok((host, port))
}

fn parse_port(digits: &str) -> Result<u16, UrlError> {
    match digits.parse() {
        Ok(port) if port != 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(UrlError::BadPort),
    }
}

fn parse_name(name: &str) -> Result<UrlHost, UrlError> {
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        return Ok(UrlHost::Ip(address.into()));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if name.is_empty() || name.len() > MAX_NAME_LEN || !name.bytes().all(allowed) {
        return Err(UrlError::BadHost);
    }
    Ok(UrlHost::Name(name.to_ascii_lowercase().into()))
}

/// A request target: without fragment and dot segments, begins with `/`, only visible ASCII.
fn normalize_target(text: &str) -> Box<str> {
    let text = text.split_once('#').map_or(text, |(text, _)| text);
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let mut target = String::with_capacity(text.len() + 1);
    push_visible(&mut target, &without_dot_segments(path));
    if let Some(query) = query {
        target.push('?');
        push_visible(&mut target, query);
    }
    target.into()
}

/// RFC 3986, section 5.2.4.
fn without_dot_segments(path: &str) -> String {
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let mut kept: Vec<&str> = Vec::with_capacity(segments.len());
    for (number, &segment) in segments.iter().enumerate() {
        let last = number + 1 == segments.len();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

fn push_visible(out: &mut String, text: &str) {
    for byte in text.bytes() {
        let unsafe_byte = matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{'..=b'}');
        if byte.is_ascii_graphic() && !unsafe_byte {
            out.push(char::from(byte));
        } else {
            percent::push_escape(out, byte);
        }
    }
}

/// Passkeys are long, without dots, and contain digits.
fn looks_secret(segment: &str) -> bool {
    segment.len() >= SECRET_LEN
        && segment.bytes().any(|byte| byte.is_ascii_digit())
        && segment.bytes().all(|byte| byte != b'.')
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, &byte| group << 8 | u32::from(byte))
            << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let digit = (group >> (18 - 6 * position)) & 0x3f;
            let digit = ALPHABET.get(digit as usize).copied().unwrap_or(b'=');
            text.push(if position > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn url_with_everything_is_taken_apart() {
        let url = url(" HTTP://us%65r:p%40ss@Tracker.Example:8080/a/announce?x=1&y#frag ");
        assert_eq!(url.scheme(), Scheme::Http);
        assert_eq!(url.host(), &UrlHost::Name("tracker.example".into()));
        assert_eq!(url.port(), 8080);
        assert_eq!(url.target(), "/a/announce?x=1&y");
        assert_eq!((url.path(), url.query()), ("/a/announce", Some("x=1&y")));
        assert_eq!(url.authority(), "tracker.example:8080");
        assert_eq!(url.authorization().as_deref(), Some("Basic dXNlcjpwQHNz"));
    }

    #[test]
    fn the_whole_text_is_read_as_the_same_url() {
        for text in [
            "HTTP://us%65r:p%40ss@Tracker.Example:8080/a/announce?x=1&y#frag",
            "https://tracker.example/0123456789abcdef0123456789abcdef/announce?key=secret",
            "udp://[fd00::1]:80",
        ] {
            assert_eq!(Url::parse(&url(text).to_text()), Ok(url(text)));
        }
    }

    #[test]
    fn url_without_path_or_port_gets_the_defaults() {
        let plain = url("http://h");
        assert_eq!((plain.port(), plain.target(), &*plain.authority()), (80, "/", "h"));
        assert_eq!(url("https://h:/").port(), 443);
        assert_eq!(url("http://h?q").target(), "/?q");
        assert_eq!(url("http://h#f").target(), "/");
    }

    #[test]
    fn url_with_an_address_as_host_needs_no_lookup() {
        assert_eq!(url("udp://1.2.3.4:5").host(), &UrlHost::Ip([1, 2, 3, 4].into()));
        let v6 = url("http://[2001:db8::1]:6969/announce");
        assert_eq!(v6.host(), &UrlHost::Ip("2001:db8::1".parse().unwrap()));
        assert_eq!(v6.authority(), "[2001:db8::1]:6969");
    }

    #[test]
    fn broken_urls_are_refused_each_for_its_reason() {
        let error = |text: &str| Url::parse(text).unwrap_err();
        assert_eq!(error("ftp://h/"), UrlError::UnknownScheme);
        assert_eq!(error("tracker.example/announce"), UrlError::UnknownScheme);
        assert_eq!(error("http:///x"), UrlError::BadHost);
        assert_eq!(error("http://[::1/x"), UrlError::BadHost);
        assert_eq!(error("http://[::1]x/"), UrlError::BadHost);
        assert_eq!(error("http://a b/"), UrlError::BadHost);
        assert_eq!(error("http://b\u{fc}cher.example/"), UrlError::BadHost);
        assert_eq!(error("http://h:0/"), UrlError::BadPort);
        assert_eq!(error("http://h:+80/"), UrlError::BadPort);
        assert_eq!(error("http://h:65536/"), UrlError::BadPort);
        assert_eq!(error("udp://h/announce"), UrlError::MissingPort);
        assert_eq!(error("http://h/\r\nX: y"), UrlError::BadCharacter);
        assert_eq!(error(&format!("http://h/{}", "x".repeat(9000))), UrlError::TooLong);
    }

    #[test]
    fn target_is_made_safe_for_a_request_line() {
        assert_eq!(url("http://h/a b/\u{fc}\"").target(), "/a%20b/%C3%BC%22");
        assert_eq!(url("http://h/%41%2f").target(), "/%41%2f");
        assert_eq!(url("http://h/a/../../b/./c/..").target(), "/b/");
    }

    #[test]
    fn redirects_are_joined_as_in_rfc_3986() {
        let base = url("http://u:p@h:81/a/b?q");
        let join = |location: &str| base.join(location).unwrap();
        assert_eq!(join("/c").target(), "/c");
        assert_eq!(join("c?d").target(), "/a/c?d");
        assert_eq!(join("../c").target(), "/c");
        assert_eq!(join("?z").target(), "/a/b?z");
        assert_eq!(join("").target(), "/a/b?q");
        assert!(join("/c").authorization().is_some());
        assert_eq!(join("//other/x").authority(), "other");
        assert!(join("//other/x").authorization().is_none());
        assert!(join("http://h:81/x").authorization().is_none());
        assert_eq!(base.join("file:///etc/passwd"), Err(UrlError::UnknownScheme));
        assert_eq!(base.join("javascript:x"), Err(UrlError::UnknownScheme));
    }

    #[test]
    fn shown_url_keeps_secrets_to_itself() {
        let secret = url("http://me:pw@h/0123456789abcdef0123456789abcdef/announce?key=1&pass");
        assert_eq!(secret.to_string(), "http://h/***/announce?key=***&***");
        assert_eq!(format!("{secret:?}"), secret.to_string());
        assert_eq!(url("udp://h:80/announce").to_string(), "udp://h:80/announce");
    }

    #[test]
    fn query_is_appended_after_the_one_that_is_there() {
        assert_eq!(url("http://h/a").with_query("x=1").target(), "/a?x=1");
        assert_eq!(url("http://h/a?").with_query("x=1").target(), "/a?x=1");
        assert_eq!(url("http://h/a?k=v").with_query("x=1").target(), "/a?k=v&x=1");
    }

    #[test]
    fn base64_pads_as_rfc_4648_shows() {
        for (plain, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    quickcheck! {
        fn any_text_is_parsed_or_refused_without_panic(text: String, base: bool) -> bool {
            let text = if base { format!("http://{text}") } else { text };
            let joined = url("http://h/a/b").join(&text);
            Url::parse(&text).into_iter().chain(joined).all(|url| {
                url.target().starts_with('/')
                    && url.target().bytes().all(|byte| byte.is_ascii_graphic())
            })
        }
    }
}
