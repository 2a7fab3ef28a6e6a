//! TLS on a connection that is open, as HTTPS trackers want it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bitswarm_core::TorrentNotice;
use bitswarm_core::torrent::AddTorrent;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Runtime;
use super::harness::beside_others;
use super::sample::Sample;
use super::session::{LONG, Session};

/// A tracker behind TLS says where the seed is; how its bytes are cut is not for the session to see.
pub fn tracker_is_asked_over_tls(runtime: Runtime) {
    let _turn = beside_others();
    let sample = Sample::new(1 << 20);
    let mut seed = Session::start(runtime);
    seed.seed(&sample);
    let (tracker, thread) = tracker(seed.addr());
    let mut leech = Session::with(runtime, |config| {
        // Its certificate is its own.
        config.insecure_trackers = vec!["127.0.0.1".to_owned()];
    });
    let mut add = AddTorrent::new(sample.metainfo.clone(), leech.root());
    add.trackers = vec![format!("https://{tracker}/announce")];
    leech.client.add_torrent(add).unwrap();
    leech.finish(&sample);
    let asked = thread.join().unwrap().unwrap();
    assert!(asked.starts_with("GET /announce?"), "{asked}");
    leech.stop();
    seed.stop();
}

/// A certificate that nobody vouches for ends the connection, with that as the reason.
pub fn certificate_that_is_not_trusted_is_refused(runtime: Runtime) {
    let _turn = beside_others();
    let sample = Sample::new(1 << 20);
    let (tracker, thread) = tracker(([127, 0, 0, 1], 1).into());
    let mut leech = Session::start(runtime);
    let mut add = AddTorrent::new(sample.metainfo.clone(), leech.root());
    add.trackers = vec![format!("https://{tracker}/announce")];
    leech.client.add_torrent(add).unwrap();
    let failed = leech.wait_for_torrent(|what| matches!(what, TorrentNotice::TrackerFailed { .. }));
    let TorrentNotice::TrackerFailed { why, .. } = &failed else { unreachable!("{failed:?}") };
    assert!(why.to_string().contains("certificate"), "{failed:?}");
    assert!(thread.join().unwrap().is_err(), "it was told the request");
    leech.stop();
}

/// Answers one announce over TLS with this peer, a byte at a time; what it was asked.
fn tracker(peer: SocketAddr) -> (SocketAddr, JoinHandle<io::Result<String>>) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(LONG))?;
        stream.set_nodelay(true)?;
        let session = ServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
        answer(StreamOwned::new(session, stream), peer)
    });
    (addr, thread)
}

fn answer(
    mut stream: StreamOwned<ServerConnection, TcpStream>,
    peer: SocketAddr,
) -> io::Result<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.extend(byte);
    }
    let mut body = b"d8:intervali1800e5:peers6:\x7f\0\0\x01".to_vec();
    body.extend(peer.port().to_be_bytes());
    body.push(b'e');
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    // A record for each byte.
    for byte in head.bytes().chain(body) {
        stream.write_all(&[byte])?;
        stream.flush()?;
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(String::from_utf8_lossy(&request).into_owned())
}
