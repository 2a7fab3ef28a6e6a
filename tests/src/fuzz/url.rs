//! URLs and percent-encoding: any text is refused or becomes a URL that is safe in a request, means
//! the same when it is parsed again, and shows no credentials. The second line is a redirect that
//! the URL of the first answers with, the third is put into its path and query.

use bitswarm_core::http::url::MAX_URL_LEN;
use bitswarm_core::http::{Scheme, Url, percent};
use bitswarm_core::tracker::scrape::scrape_url;

/// See the module.
pub(super) fn run(data: &[u8]) {
    check_percent(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(3, '\n');
    let Ok(url) = Url::parse(lines.next().unwrap_or_default()) else { return };
    check(&url, 1);
    if let Some(reference) = lines.next() {
        match url.join(reference) {
            Ok(joined) => {
                check(&joined, 2);
                let of = |url: &Url| (url.scheme(), url.authority());
                let names_its_own = reference.contains('@');
                let leaks = joined.authorization().is_some() && of(&joined) != of(&url);
                assert!(!leaks || names_its_own, "credentials leak");
            }
            Err(error) => drop(error.to_string()),
        }
    }
    if let Some(text) = lines.next() {
        check(&url.with_path(text), 2);
        let mut query = String::new();
        percent::encode_into(&mut query, text.as_bytes());
        let with_query = url.with_query(&query);
        check(&with_query, 5);
        assert!(with_query.query().is_some_and(|whole| whole.ends_with(&query)));
    }
    let infohash = bitswarm_core::piece::InfoHash([0xe5; 20]);
    if let Some(scrape) = scrape_url(&url, &[infohash]) {
        check(&scrape, 2);
        assert!(scrape.path().contains("/scrape"));
    }
}

/// `times` bounds its length, in longest URLs with every byte escaped.
fn check(url: &Url, times: usize) {
    let target = url.target();
    assert!(target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(target.len() <= 3 * times * (MAX_URL_LEN + 4), "{} bytes", target.len());
    assert!(url.port() != 0);
    let authority = url.authority();
    assert!(authority.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@\\".contains(&byte)));
    if let Some(value) = url.authorization() {
        let graphic = |byte: u8| byte.is_ascii_graphic();
        assert!(value.strip_prefix("Basic ").is_some_and(|rest| rest.bytes().all(graphic)));
    }
    let shown = url.to_string();
    assert!(!shown.contains('@') || target.contains('@'), "{shown}");

    let text = format!("{}://{authority}{target}", url.scheme());
    if text.len() <= MAX_URL_LEN {
        let again = Url::parse(&text).expect("what is written can be read");
        assert_eq!(
            (again.scheme(), again.host(), again.port()),
            (url.scheme(), url.host(), url.port())
        );
        assert_eq!(again.target(), target, "it is the same a second time");
    }
    assert!(matches!(url.scheme(), Scheme::Http | Scheme::Https | Scheme::Udp));
}

fn check_percent(data: &[u8]) {
    let mut text = String::new();
    percent::encode_into(&mut text, data);
    assert_eq!(percent::decode(text.as_bytes()).as_deref(), Some(data));
    if let Some(bytes) = percent::decode(data) {
        assert!(bytes.len() <= data.len());
    }
}
