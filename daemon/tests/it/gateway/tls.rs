//! TLS: on any address but loopback there is nothing without it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, crypto};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::serving::{Serving, with_model};
use crate::cli::{openledger, stderr};

/// A certificate for localhost that signs itself, and its key: for these tests alone.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/gateway/certificate").join(name)
}

#[test]
fn other_addresses_are_refused_without_certificates() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["--listen", "0.0.0.0:0"][..], &["--listen", "[::]:0"]] {
        let refused = openledger(dir.path(), &[&["serve"], args].concat());
        assert_eq!(refused.status.code(), Some(1));
        assert!(stderr(&refused).contains("--tls-cert"), "{}", stderr(&refused));
    }
    let half = openledger(dir.path(), &["serve", "--tls-cert", "x.pem"]);
    assert_eq!(half.status.code(), Some(2));
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let swapped = ["--tls-cert", key.to_str().unwrap(), "--tls-key", cert.to_str().unwrap()];
    let refused =
        openledger(dir.path(), &[&["serve", "--listen", "0.0.0.0:0"], &swapped[..]].concat());
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("PEM"), "{}", stderr(&refused));
    assert!(
        !dir.path().join("gateway").exists(),
        "no key is made for a gateway that does not start"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_certificates_any_address_is_served_and_a_silent_one_keeps_nobody_waiting() {
    let dir = with_model();
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let tls = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let serving = Serving::start(dir.path(), &tls);
    let address = serving.url.strip_prefix("https://").unwrap().strip_suffix("/v1").unwrap();
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&cert).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    // The certificate is for its names, so any may be in the head.
    let head = format!(
        "GET /v1/models HTTP/1.1\r\nHost: gateway.example\r\nAuthorization: Bearer {}\r\n\
         Connection: close\r\n\r\n",
        serving.key
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\"Tiny\""), "{answer}");
    // Without TLS nothing is said.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}
