//! HTTP/1.1 as far as a BitTorrent engine needs it, without I/O.
//!
//! - [`url`]: addresses of trackers and web seeds, parsed, joined and shown without secrets.
//! - [`fetch`]: a resource from its URL to its bytes: names, addresses, redirects, ranges.
//! - [`kept`]: connections that wait for further requests.
//! - [`client`]: one exchange on one connection, from the client's side; [`server`]: requests and
//!   responses from the server's.
//! - [`response`]: a response in parts, as they come; [`range`]: which part of a file it holds.
//! - [`body`]: how bodies are delimited; `head`: headers.
//! - [`error`]: what a server can do wrong.
//! - [`percent`]: percent-encoding of binary values in queries.
//! - [`origin`]: where a redirect may lead (server-side request forgery); [`reach`]: which of a
//!   host's addresses a fetch may ask.
//!
//! Every length that a remote decides is bounded before it sizes anything. There is no TLS here:
//! a machine speaks to a stream of bytes, whatever carries it. No cookies, no caches, no HTTP/2.

pub mod body;
pub mod client;
pub mod error;
pub mod fetch;
mod head;
pub mod kept;
pub mod origin;
pub mod percent;
pub mod range;
pub mod reach;
pub mod response;
pub mod server;
pub mod url;

pub use client::{ClientExchange, MAX_REDIRECTS, Progress, Request, Response};
pub use error::HttpError;
pub use head::Headers;
pub use url::{Scheme, Url, UrlError, UrlHost};
