//! Senders: an ordinary HTTP client, and raw bytes where a client would be too polite.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use reqwest::{Client, RequestBuilder};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A client configuration that trusts this CA only.
pub(crate) fn tls(
    ca: &str,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots
            .add(certificate.expect("a certificate"))
            .expect("a root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// A client that trusts this CA, over HTTP/2 or HTTP/1.1. Nothing is kept alive, so each request is
/// a new handshake.
pub(crate) fn trusting(ca: &str) -> Client {
    let config = tls(ca, rustls::ALL_VERSIONS, &[b"h2", b"http/1.1"]);
    client(config)
        .pool_max_idle_per_host(0)
        .build()
        .expect("a client")
}

/// A client's builder for this TLS configuration.
pub(crate) fn client(config: ClientConfig) -> reqwest::ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
}

/// A client for plain HTTP/1.1.
pub(crate) fn plain() -> Client {
    static PLAIN: LazyLock<ClientConfig> = LazyLock::new(|| tls("", rustls::ALL_VERSIONS, &[]));
    client(PLAIN.clone()).build().expect("a client")
}

/// A binary event.
pub(crate) fn event(client: &Client, url: impl AsRef<str>, id: &str) -> RequestBuilder {
    client
        .post(url.as_ref())
        .header("ce-specversion", "1.0")
        .header("ce-id", id)
        .header("ce-source", "/test")
        .header("ce-type", "test.event")
        .header("content-type", "application/json")
        .body(r#"{"a":"b"}"#)
}

/// Sends a binary event; the status of its answer.
pub(crate) async fn send(client: &Client, url: impl AsRef<str>, id: &str) -> u16 {
    event(client, url, id)
        .send()
        .await
        .expect("an answer")
        .status()
        .as_u16()
}

/// Writes these bytes, and reads the answer until the peer closes or has sent a whole response
/// without body.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(bytes).await.expect("written");
    read_response(&mut stream).await
}

/// Reads one response's head, and its body as far as it is announced.
pub(crate) async fn read_response(stream: &mut TcpStream) -> String {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = tokio::time::timeout(super::SOON, stream.read(&mut buffer))
            .await
            .expect("an answer soon");
        let read = read.unwrap_or(0);
        text.extend_from_slice(&buffer[..read]);
        let so_far = String::from_utf8_lossy(&text).into_owned();
        if read == 0 || is_whole(&so_far) {
            return so_far;
        }
    }
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")
            .map(str::to_owned)
    });
    length.is_none_or(|length| body.len() >= length.parse().unwrap_or(0))
}
