//! Torrents got over HTTPS: whose certificate is trusted, and which host is excepted.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::sandbox::{Ended, Sandbox};

/// A server on loopback that gives one torrent to everyone, with a certificate for `localhost` of an
/// authority that nobody knows.
struct Server {
    sandbox: Sandbox,
    port: u16,
    /// The authority's certificate.
    authority: PathBuf,
}

/// A certificate of the server, and what to trust.
struct Certified {
    certificate: Certificate,
    key: KeyPair,
    trusted: String,
}

/// What stands in a server's certificate.
fn params() -> CertificateParams {
    CertificateParams::new(vec!["localhost".to_owned()]).unwrap()
}

/// The same, of one that says that it is an authority's, as `openssl req -x509` has it.
fn as_authority() -> CertificateParams {
    let mut params = params();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// Signed by an authority.
fn by_authority() -> Certified {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let trusted = authority.self_signed(&authority_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let certificate = params().signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
    Certified { certificate, key, trusted }
}

/// Signed by itself.
fn by_itself(params: CertificateParams) -> Certified {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Certified { trusted: certificate.pem(), certificate, key }
}

impl Server {
    fn start() -> Self {
        Server::with(by_authority())
    }

    fn with(certified: Certified) -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("content", 50_000, 1);
        let torrent = fs::read(sandbox.torrent("content", "")).unwrap();
        let authority = sandbox.path("authority.pem");
        fs::write(&authority, certified.trusted).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certified.certificate.der().clone()],
                PrivateKeyDer::try_from(certified.key.serialize_der()).unwrap(),
            )
            .unwrap();
        let config = Arc::new(config);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(session, stream);
                let mut asked = Vec::new();
                let mut byte = [0];
                // Who does not trust us hangs up.
                while !asked.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                    asked.push(byte[0]);
                }
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", torrent.len());
                let _ = stream.write_all(&[head.as_bytes(), &torrent].concat());
                let _ = stream.flush();
            }
        });
        Server { sandbox, port, authority }
    }

    fn run(&self, args: &str, trusts: bool) -> Ended {
        let mut command = self.sandbox.command(args.split_whitespace());
        if trusts {
            command.env("SSL_CERT_FILE", &self.authority);
        }
        let output = command.output().unwrap();
        Ended {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[test]
fn a_torrent_comes_over_https_if_its_servers_certificate_is_trusted() {
    let server = Server::start();
    let url = format!("https://localhost:{}/content.torrent", server.port);
    for line in ["info", "magnet", "lint", "verify --data .", "download --list", "seed --list"] {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let line = format!("{command} {url} {rest}");
        let ended = server.run(&line, true);
        assert_eq!(ended.code, 0, "{line}: {}", ended.stderr);
        server.run(&line, false).fails(6, &["localhost is not trusted", "SSL_CERT_FILE"]);
    }
    // The certificate names the host, not its address.
    let other = format!("info https://127.0.0.1:{}/content.torrent", server.port);
    server.run(&other, true).fails(6, &["127.0.0.1 is not trusted"]);
}

#[test]
fn a_servers_own_certificate_may_be_what_is_trusted() {
    let of_nobody = by_authority();
    let of_nobody = Certified { trusted: of_nobody.certificate.pem(), ..of_nobody };
    for certified in [by_itself(as_authority()), by_itself(params()), of_nobody] {
        let server = Server::with(certified);
        let url = |host: &str| format!("info https://{host}:{}/content.torrent", server.port);
        let ended = server.run(&url("localhost"), true);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        // It stands for its own name alone, and only where it is trusted.
        server.run(&url("127.0.0.1"), true).fails(6, &["127.0.0.1 is not trusted"]);
        server.run(&url("localhost"), false).fails(6, &["localhost is not trusted"]);
    }
}

#[test]
fn a_trusted_certificate_stands_for_no_other_and_not_for_ever() {
    let refused = |certified| {
        let server = Server::with(certified);
        let line = format!("info https://localhost:{}/content.torrent", server.port);
        server.run(&line, true).fails(6, &["localhost is not trusted"]);
    };
    refused(Certified { trusted: by_itself(as_authority()).trusted, ..by_itself(as_authority()) });
    for mut expired in [as_authority(), params()] {
        (expired.not_before, expired.not_after) =
            (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        refused(by_itself(expired));
    }
}

#[test]
fn a_host_is_excepted_from_checking_by_its_name() {
    let server = Server::start();
    let url = format!("https://localhost:{}/content.torrent", server.port);
    let line = format!("download {url} --list --tracker-insecure");
    assert_eq!(server.run(&format!("{line} localhost"), false).code, 0);
    server.run(&format!("{line} 127.0.0.1"), false).fails(6, &["not trusted"]);
}

#[test]
fn a_server_without_tls_is_no_https_server() {
    let server = Server::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let ended = server.run(&format!("info https://localhost:{port}/x.torrent"), true);
    ended.fails(6, &["connection lost", "TLS"]);
    // Nor the other way round.
    let ended = server.run(&format!("info http://localhost:{}/x.torrent", server.port), true);
    assert!([4, 6].contains(&ended.code), "{}", ended.stderr);
}
