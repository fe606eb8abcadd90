//! What three HTTP clients cost to send events with: reqwest, hyper's, and the one of sealpost.
//!
//! Each measurement is a process of its own on the first processor; the sink is on the second. A
//! closed loop of 64 requests under way tells processor time for each of them, and 1,000 clients
//! that trust different certificates, with a connection each, tell memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::ValueEnum;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client as HyperUtilClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sealpost::client::{ClientCache, ClientLimits, HttpTransport};
use sealpost::model::{Addressable, DestinationRoute, TrustBundle};
use sealpost::tls::{MinTlsVersion, SystemRoots};

use crate::Wire;
use crate::process::{Process, cpu_of};
use crate::sink::{Sink, certificate};

/// Requests under way.
const CONCURRENCY: usize = 64;
/// Clients that trust different certificates.
const CLIENTS: usize = 1000;
/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Reqwest,
    /// hyper-util's pool over hyper, with hyper-rustls.
    Hyper,
    Sealpost,
}

/// Measures all of them in turn, so many rounds, and prints a line for each measurement.
pub(crate) async fn run(rounds: u16, time: Duration) {
    println!(
        "{:<10} {:<8} {:>16} {:>12} {:>20}",
        "client", "wire", "CPU µs a request", "requests/s", "KiB a client of 1000"
    );
    for _ in 0..rounds {
        for wire in [Wire::Plain, Wire::TlsHttp1] {
            for kind in Kind::value_variants() {
                let sink = Sink::start(wire).await;
                let name = kind
                    .to_possible_value()
                    .expect("a name")
                    .get_name()
                    .to_owned();
                let mut command = Process::pinned(&std::env::current_exe().expect("this program"));
                command.args([
                    "--client",
                    &name,
                    "--client-url",
                    sink.url(),
                    "--seconds",
                    &time.as_secs().to_string(),
                ]);
                if let Some(ca) = sink.ca() {
                    command.arg(format!("--client-ca={ca}"));
                }
                let output = tokio::process::Command::from(command)
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::inherit())
                    .output()
                    .await;
                let output = output.expect("a program that ends");
                assert!(output.status.success(), "{name} failed");
                println!(
                    "{name:<10} {:<8} {}",
                    wire.name(),
                    String::from_utf8_lossy(&output.stdout).trim()
                );
            }
        }
    }
}

/// A client of one kind, which trusts these certificates.
#[derive(Clone)]
enum AnyClient {
    Reqwest(reqwest::Client),
    Hyper(Box<HyperUtilClient<hyper_rustls::HttpsConnector<HttpConnector>, Full<Bytes>>>),
    Sealpost(Arc<ClientCache>, Arc<Addressable>),
}

impl AnyClient {
    fn new(kind: Kind, url: &str, ca: Option<&str>, cache: &Arc<ClientCache>) -> Self {
        match kind {
            Kind::Reqwest => {
                let builder =
                    reqwest::Client::builder().tls_certs_only(ca.iter().flat_map(|pem| {
                        reqwest::Certificate::from_pem_bundle(pem.as_bytes()).expect("certificates")
                    }));
                Self::Reqwest(builder.build().expect("a client"))
            }
            Kind::Hyper => {
                let mut roots = rustls::RootCertStore::empty();
                for certificate in ca
                    .iter()
                    .flat_map(|pem| CertificateDer::pem_slice_iter(pem.as_bytes()))
                {
                    roots
                        .add(certificate.expect("a certificate"))
                        .expect("a root");
                }
                let config = rustls::ClientConfig::builder()
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                let connector = hyper_rustls::HttpsConnectorBuilder::new()
                    .with_tls_config(config)
                    .https_or_http()
                    .enable_http1()
                    .build();
                Self::Hyper(Box::new(
                    HyperUtilClient::builder(TokioExecutor::new()).build(connector),
                ))
            }
            Kind::Sealpost => {
                let trust = ca.map_or_else(TrustBundle::default, |pem| {
                    TrustBundle::from_pem(pem).expect("trust")
                });
                let url = url.parse().expect("a URL");
                let to = Addressable {
                    url,
                    route: DestinationRoute::Remote { connect: None },
                    trust: Arc::new(trust),
                    audience: None,
                };
                Self::Sealpost(Arc::clone(cache), Arc::new(to))
            }
        }
    }

    /// Sends an event, and reads the answer to its end.
    async fn send(&self, event: &Request<Bytes>) {
        match self {
            Self::Reqwest(client) => {
                let request = reqwest::Request::try_from(event.clone()).expect("a request");
                let answer = client.execute(request).await.expect("an answer");
                assert!(answer.bytes().await.is_ok());
            }
            Self::Hyper(client) => {
                let answer = client
                    .request(event.clone().map(Full::new))
                    .await
                    .expect("an answer");
                assert!(answer.into_body().collect().await.is_ok());
            }
            Self::Sealpost(cache, to) => {
                drop(
                    cache
                        .send(|| event.clone(), to, TIMEOUT)
                        .await
                        .expect("an answer"),
                );
            }
        }
    }
}

fn event(url: &str) -> Request<Bytes> {
    let request = Request::post(url)
        .header("content-type", "application/json")
        .header("ce-specversion", "1.0");
    let request = request
        .header("ce-id", "1")
        .header("ce-source", "/bench")
        .header("ce-type", "dev.sealpost.bench");
    request
        .body(Bytes::from(vec![b'x'; 1024]))
        .expect("a request")
}

/// The measurement of one client, a process of its own; prints processor time and requests a second
/// of a closed loop, and the memory of a thousand clients.
pub(crate) async fn measure(kind: Kind, url: &str, ca: Option<&str>, time: Duration) {
    let limits = ClientLimits {
        max_connections: usize::MAX,
        ..ClientLimits::default()
    };
    let cache = Arc::new(ClientCache::new(
        SystemRoots::load(),
        MinTlsVersion::Tls12,
        limits,
    ));
    let (client, event) = (AnyClient::new(kind, url, ca, &cache), event(url));
    let (cpu, sent, elapsed) = closed_loop(&client, &event, time).await;
    drop(client);
    let before = resident_kib();
    let many = (0..CLIENTS).map(|_| {
        // Each trusts another certificate besides, so that no two are the same.
        let ca = ca.map(|ca| ca.to_owned() + &certificate().0.pem());
        AnyClient::new(kind, url, ca.as_deref(), &cache)
    });
    let many: Vec<AnyClient> = many.collect();
    for some in many.chunks(CONCURRENCY) {
        join_all(some.iter().map(|client| client.send(&event))).await;
    }
    // Without certificates, all that is ours is one client.
    let each = resident_kib().saturating_sub(before) as f64 / CLIENTS as f64;
    let each = if ca.is_some() {
        format!("{each:.1}")
    } else {
        "-".to_owned()
    };
    let per = cpu.as_secs_f64() * 1e6 / sent as f64;
    println!(
        "{per:>16.1} {:>12.0} {each:>20}",
        sent as f64 / elapsed.as_secs_f64()
    );
}

async fn closed_loop(
    client: &AnyClient,
    event: &Request<Bytes>,
    time: Duration,
) -> (Duration, usize, Duration) {
    let sent = AtomicUsize::new(0);
    let until = async |end: Instant| {
        join_all((0..CONCURRENCY).map(async |_| {
            while Instant::now() < end {
                client.send(event).await;
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }))
        .await;
    };
    until(Instant::now() + Duration::from_millis(500)).await;
    sent.store(0, Ordering::Relaxed);
    let (cpu, started) = (cpu_of(Path::new("/proc/self")), Instant::now());
    until(started + time).await;
    (
        cpu_of(Path::new("/proc/self")).saturating_sub(cpu),
        sent.load(Ordering::Relaxed),
        started.elapsed(),
    )
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process");
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .expect("a line of this name");
    line.split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number")
}
