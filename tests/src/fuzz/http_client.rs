//! An HTTP response, as a tracker or web seed sends it: however the stream is cut, the same comes
//! out of it; what is kept of it is bounded, inflated or not; a redirect is a URL that is safe to
//! follow. Body decoders alone give no more than they get.
//!
//! The first byte decides the limits and where to cut; the rest is the stream.

use bitswarm_core::http::body::{BodyDecoder, Framing};
use bitswarm_core::http::client::Limits;
use bitswarm_core::http::{ClientExchange, HttpError, Progress, Request, Response, Url};

use super::input::{Input, cut};

/// See the module.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let seed = input.byte();
    let limits = Limits {
        head: [256, 2048][usize::from(seed & 1)],
        body: [64, 4096][usize::from(seed >> 1 & 1)],
    };
    let stream = input.rest();
    let whole = exchange(&[stream], limits);
    check(&whole, limits);
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    for portions in [cut(stream, seed), bytes] {
        assert_eq!(exchange(&portions, limits), whole, "cut in {} portions", portions.len());
    }
    for framing in [Framing::Chunked, Framing::Length(u64::from(seed)), Framing::UntilClose] {
        let whole = body(framing, &[stream]);
        assert_eq!(body(framing, &cut(stream, seed)), whole, "{framing:?}");
        if let Ok(body) = whole {
            assert!(body.len() <= stream.len());
        }
    }
}

/// What comes of a response.
#[derive(PartialEq, Debug)]
enum Outcome {
    Response(Response),
    Redirect(Url),
    Error(HttpError),
}

/// Takes a stream in portions, and its end.
fn exchange(portions: &[&[u8]], limits: Limits) -> Outcome {
    let url = Url::parse("http://user:pass@tracker.example/a/announce?k=v").expect("it is a URL");
    let mut exchange = ClientExchange::new(&Request::get(url), limits);
    for portion in portions {
        if let Some(outcome) = outcome(exchange.handle(portion)) {
            if !matches!(outcome, Outcome::Error(_)) {
                assert_eq!(exchange.handle(portion), Ok(Progress::More), "it is over");
            }
            return outcome;
        }
    }
    outcome(exchange.handle_close()).expect("at its end there is something to say")
}

fn outcome(progress: Result<Progress, HttpError>) -> Option<Outcome> {
    match progress {
        Ok(Progress::More) => None,
        // Whether something follows the response is known only if it came with it.
        Ok(Progress::Response(response)) => {
            Some(Outcome::Response(Response { keep_alive: false, ..response }))
        }
        Ok(Progress::Redirect(url)) => Some(Outcome::Redirect(url)),
        Err(error) => Some(Outcome::Error(error)),
    }
}

fn check(outcome: &Outcome, limits: Limits) {
    match outcome {
        Outcome::Response(response) => {
            assert!(response.body.len() <= limits.body);
            assert!(response.status < 1000 && !(100..200).contains(&response.status));
            assert!(response.headers.get("Content-Type").is_none(), "names are in lower case");
        }
        Outcome::Redirect(url) => {
            assert!(url.target().bytes().all(|byte| byte.is_ascii_graphic()));
            let request = ClientExchange::new(&Request::get(url.clone()), limits).request();
            assert!(request.ends_with(b"\r\n\r\n"));
            let lines = request.split(|byte| *byte == b'\n').count();
            assert!((6..=7).contains(&lines), "nothing is smuggled in: {request:?}");
        }
        Outcome::Error(error) => drop(error.to_string()),
    }
}

/// The body out of a stream in portions.
fn body(framing: Framing, portions: &[&[u8]]) -> Result<Vec<u8>, HttpError> {
    let mut decoder = BodyDecoder::new(framing);
    let mut body = Vec::new();
    for mut portion in portions.iter().copied() {
        while let Some(part) = decoder.decode(&mut portion)? {
            assert!(!part.is_empty(), "each part gets on");
            body.extend_from_slice(part);
        }
        assert!(portion.is_empty() || decoder.is_done(), "what is wanted is used up");
    }
    decoder.handle_close()?;
    Ok(body)
}
