//! What the fuzzers run: one function a target, each of which takes any bytes and panics if a
//! promise of the core does not hold for them.
//!
//! The same functions run in three places: under libFuzzer (`fuzz/`, with nightly Rust), over the
//! committed corpus and seeded mutations of it in every test run (`tests/tests/fuzz.rs`, stable
//! Rust), and by hand on one input. A target checks properties, not only that nothing panics:
//! what was parsed is written and read again, a stream cut elsewhere gives the same, what comes
//! out is bounded by what went in.
//!
//! A new target is a function and a line in [`TARGETS`]; `docs/FUZZING.md` says what goes with it.

pub mod input;
pub mod mutate;

mod bencode;
mod dht;
mod dht_saved;
mod engine;
mod exchange;
mod extension;
mod file_tree;
mod hash_request;
mod hashes;
mod http_client;
mod ip_filter;
mod krpc;
mod lsd;
mod magnet;
mod metadata;
mod metainfo;
mod mse;
mod pex;
mod piece_layers;
mod resume;
mod tracker_answer;
mod tracker_server;
mod udp_packet;
mod url;
mod utp;
mod wire;

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of the fuzzer's binary, and of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// Panics if a promise does not hold for these bytes.
    pub run: fn(&[u8]),
    /// Longest input that is worth trying, in bytes.
    pub max_len: usize,
    /// Mutated inputs in a test run. Fewer for those that take longer.
    pub mutations: u32,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "bencode", run: bencode::run, max_len: 4096, mutations: 20_000 },
    Target { name: "metainfo", run: metainfo::run, max_len: 4096, mutations: 20_000 },
    Target { name: "file_tree", run: file_tree::run, max_len: 4096, mutations: 20_000 },
    Target { name: "piece_layers", run: piece_layers::run, max_len: 4096, mutations: 5_000 },
    Target { name: "hash_request", run: hash_request::run, max_len: 1024, mutations: 5_000 },
    Target { name: "hashes", run: hashes::run, max_len: 1024, mutations: 2_000 },
    Target { name: "wire", run: wire::run, max_len: 4096, mutations: 20_000 },
    Target { name: "extension", run: extension::run, max_len: 4096, mutations: 20_000 },
    Target { name: "metadata", run: metadata::run, max_len: 4096, mutations: 5_000 },
    Target { name: "pex", run: pex::run, max_len: 4096, mutations: 5_000 },
    Target { name: "magnet", run: magnet::run, max_len: 4096, mutations: 20_000 },
    Target { name: "krpc", run: krpc::run, max_len: 4200, mutations: 20_000 },
    Target { name: "dht", run: dht::run, max_len: 4096, mutations: 2_000 },
    Target { name: "dht_saved", run: dht_saved::run, max_len: 20_000, mutations: 1_000 },
    Target { name: "lsd", run: lsd::run, max_len: 4096, mutations: 10_000 },
    Target { name: "ip_filter", run: ip_filter::run, max_len: 4096, mutations: 20_000 },
    Target { name: "mse", run: mse::run, max_len: 2048, mutations: 300 },
    Target { name: "utp", run: utp::run, max_len: 4096, mutations: 1_000 },
    Target { name: "http_client", run: http_client::run, max_len: 4096, mutations: 20_000 },
    Target { name: "url", run: url::run, max_len: 4096, mutations: 20_000 },
    Target { name: "tracker_answer", run: tracker_answer::run, max_len: 4096, mutations: 20_000 },
    Target { name: "udp_packet", run: udp_packet::run, max_len: 4096, mutations: 20_000 },
    Target { name: "tracker_http", run: tracker_server::http, max_len: 4096, mutations: 20_000 },
    Target { name: "tracker_udp", run: tracker_server::udp, max_len: 4096, mutations: 20_000 },
    Target { name: "exchange", run: exchange::run, max_len: 4096, mutations: 20_000 },
    Target { name: "resume", run: resume::run, max_len: 4096, mutations: 20_000 },
    Target { name: "engine", run: engine::run, max_len: 4096, mutations: 5_000 },
];

/// Runs one target. For the fuzzers' binaries, which know their names.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("no fuzz target is called {name}")).run)(data);
}
