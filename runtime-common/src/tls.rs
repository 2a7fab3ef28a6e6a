//! TLS as a client, for connections to HTTPS servers, such as trackers: which certificates are trusted,
//! and one session over bytes.
//!
//! Trusted is what the platform trusts (or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name); where a
//! platform has no roots, those of Mozilla that are compiled in. A server's own certificate may stand
//! among them, as one that signed itself does. A host may be excepted by name, never all of them. Roots
//! are read when the first connection needs them: most sessions have no HTTPS tracker.
//!
//! The end of a stream without TLS's own farewell is an ordinary end here: how long an answer is,
//! HTTP says, and many servers just close.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bitswarm_core::Segments;
use bitswarm_core::event::NetError;
use bytes::{Bytes, BytesMut};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, OtherError,
    RootCertStore, SignatureScheme,
};

/// What is trusted, and for which hosts nothing is checked.
#[derive(Debug)]
pub struct Trust {
    insecure: Vec<String>,
    checked: Option<Arc<ClientConfig>>,
    unchecked: Option<Arc<ClientConfig>>,
}

impl Trust {
    /// Trusts what the platform trusts, and any certificate of the hosts of these names.
    pub fn new(insecure_hosts: &[String]) -> Self {
        let insecure = insecure_hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Trust { insecure, checked: None, unchecked: None }
    }

    /// Begins a session with a host, given by its name or address.
    pub fn begin(&mut self, host: &str) -> io::Result<Tls> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::other(format!("{host} is no name that TLS could check")))?;
        let config = self.config_for(host).map_err(tls_error)?;
        let mut session = ClientConnection::new(config, name).map_err(tls_error)?;
        session.set_buffer_limit(None);
        Ok(Tls { session, has_ended: false })
    }

    fn config_for(&mut self, host: &str) -> Result<Arc<ClientConfig>, Error> {
        let insecure = self.insecure.iter().any(|name| host.eq_ignore_ascii_case(name));
        let kept = if insecure { &mut self.unchecked } else { &mut self.checked };
        if let Some(config) = kept {
            return Ok(Arc::clone(config));
        }
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let trusted = match insecure {
            true => None,
            false => {
                let (roots, known) = trusted();
                let by_chain =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                        .build()
                        .map_err(|error| Error::General(error.to_string()))?;
                Some(Trusted { by_chain, known })
            }
        };
        let verifier = Arc::new(Verifier { provider, trusted });
        let config =
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        Ok(Arc::clone(kept.insert(Arc::new(config))))
    }
}

/// The platform's roots, or those compiled in if it has none; and the platform's certificates as they
/// are.
fn trusted() -> (Arc<RootCertStore>, Vec<CertificateDer<'static>>) {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "cannot read some of the platform's certificates");
    }
    let (used, ignored) = roots.add_parsable_certificates(found.certs.iter().cloned());
    tracing::debug!(used, ignored, "the platform's certificates");
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    (Arc::new(roots), found.certs)
}

/// What a server's certificate has to be. Its signatures are checked in any case.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// Any certificate if there is nothing, for hosts that the user excepts by name.
    trusted: Option<Trusted>,
}

/// Certificates that an authority stands for, or that are trusted themselves.
#[derive(Debug)]
struct Trusted {
    by_chain: Arc<WebPkiServerVerifier>,
    /// Certificates that are trusted, whatever they are of.
    known: Vec<CertificateDer<'static>>,
}

impl Trusted {
    /// Whether nothing but its issuer speaks against a certificate that is trusted itself: nobody stands
    /// for it, or it says that it is an authority's, as `openssl req -x509` makes them.
    fn is_trusted_itself(&self, end_entity: &CertificateDer<'_>, why: &Error) -> bool {
        let is_about_issuer = match why {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
            // One that is called as its issuer is counts as that.
            Error::InvalidCertificate(CertificateError::BadSignature) => true,
            Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => {
                matches!(why.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
            }
            _ => false,
        };
        is_about_issuer && self.known.iter().any(|known| known == end_entity)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        let chain = &trusted.by_chain;
        let verified =
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // Its dates were looked at before its issuer; its name was not.
            Err(why) if trusted.is_trusted_itself(end_entity, &why) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// One session: plain text on this side, what goes over the wire on the other. It touches no
/// socket.
pub struct Tls {
    session: ClientConnection,
    has_ended: bool,
}

impl Tls {
    /// Whether the two have not agreed yet.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether the other side has said farewell: no more plain text comes, though the connection may
    /// stay open until we close it.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Takes in what came over the wire.
    pub fn received(&mut self, mut wire: &[u8]) -> io::Result<()> {
        while !wire.is_empty() {
            // Takes as much as its buffer has room for; processing makes room.
            if self.session.read_tls(&mut wire)? == 0 {
                break;
            }
            let state = self.session.process_new_packets().map_err(tls_error)?;
            self.has_ended |= state.peer_has_closed();
        }
        Ok(())
    }

    /// The plain text that has come in so far.
    pub fn take_plain(&mut self) -> BytesMut {
        let mut plain = BytesMut::new();
        let mut chunk = [0; 4096];
        // It would block when there is no more, and ends when the other side said farewell.
        while let Ok(count @ 1..) = self.session.reader().read(&mut chunk) {
            plain.extend_from_slice(&chunk[..count]);
        }
        plain
    }

    /// Encrypts plain text.
    pub fn send(&mut self, plain: &mut Segments) -> io::Result<()> {
        plain.iter().try_for_each(|part| self.session.writer().write_all(part))
    }

    /// Appends what is to go over the wire.
    pub fn take_wire(&mut self, out: &mut Segments) -> io::Result<()> {
        let mut wire = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut wire)?;
        }
        if !wire.is_empty() {
            out.push(Bytes::from(wire));
        }
        Ok(())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("handshaking", &self.is_handshaking()).finish_non_exhaustive()
    }
}

fn tls_error(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The engine's word for an error that TLS had, if it was that.
pub(crate) fn net_error(error: &io::Error) -> Option<NetError> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => NetError::Certificate,
        _ => NetError::Tls,
    })
}
