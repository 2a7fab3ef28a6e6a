//! TLS in front of a tracker: a certificate authority of its own, and a door that speaks TLS outside
//! and plain HTTP inside.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Tracker;
use crate::interop::{Lab, Outcome};

/// Longest a client may take over its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A tracker's HTTPS door. Dropping it closes it.
#[derive(Debug)]
pub struct TlsDoor {
    addr: SocketAddr,
    ca_file: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl TlsDoor {
    /// Opens a door to a tracker at a seat of its own, with a certificate for the host of `name`:
    /// an address or a name.
    pub fn open(lab: &Lab, tracker: &Tracker, name: Option<&str>) -> Outcome<TlsDoor> {
        let listener = TcpListener::bind(lab.seat().addr())?;
        let addr = listener.local_addr()?;
        let name = name.map_or_else(|| addr.ip().to_string(), str::to_owned);

        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_file = lab.make_dir("authority")?.join("ca.pem");
        std::fs::write(&ca_file, authority.self_signed(&authority_key)?.pem())?;
        let issuer = Issuer::new(authority, authority_key);

        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![name])?.signed_by(&key, &issuer)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der())?;
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;

        let stop = Arc::new(AtomicBool::new(false));
        let (config, inside) = (Arc::new(config), tracker.addr);
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let config = Arc::clone(&config);
                    thread::spawn(move || pass(stream, config, inside));
                }
            }
        });
        Ok(TlsDoor { addr, ca_file, stop, thread: Some(thread) })
    }

    /// The announce URL with the door's address.
    pub fn url(&self) -> String {
        format!("https://{}/announce", self.addr)
    }

    /// The door's address without its port.
    pub fn ip(&self) -> IpAddr {
        self.addr.ip()
    }

    /// The certificate of the authority that vouches for the door.
    pub fn ca_file(&self) -> &PathBuf {
        &self.ca_file
    }
}

impl Drop for TlsDoor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread from its accept.
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Passes one request in and its answer out.
fn pass(stream: TcpStream, config: Arc<ServerConfig>, inside: SocketAddr) -> io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    let session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut outside = StreamOwned::new(session, stream);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        outside.read_exact(&mut byte)?;
        request.extend(byte);
    }
    let mut tracker = TcpStream::connect(inside)?;
    tracker.write_all(&request)?;
    let mut answer = Vec::new();
    tracker.read_to_end(&mut answer)?;
    outside.write_all(&answer)?;
    outside.conn.send_close_notify();
    outside.flush()
}
