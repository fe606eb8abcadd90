//! What others make of the same answers.

use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::Verdict;
use super::peer::Peer;
use super::rows::Row;
use crate::support::sender::tls;

/// As long as others are waited for.
const WAIT: Duration = Duration::from_secs(2);

/// hyper's client, as it is without options.
pub(crate) async fn hyper(peer: &Peer, row: &Row) -> String {
    match tokio::time::timeout(WAIT, by_hyper(peer, row)).await {
        Ok(Ok(verdict)) => verdict.to_string(),
        Ok(Err(())) => Verdict::None.to_string(),
        Err(_elapsed) => "waits".to_owned(),
    }
}

async fn by_hyper(peer: &Peer, row: &Row) -> Result<Verdict, ()> {
    let port: u16 = peer
        .url
        .rsplit(':')
        .next()
        .and_then(|end| end.trim_end_matches('/').parse().ok())
        .ok_or(())?;
    let stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .map_err(drop)?;
    let mut driver = JoinSet::new();
    let mut sender = if peer.ca.is_empty() {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(drop)?;
        driver.spawn(async move { drop(connection.await) });
        sender
    } else {
        let tls = TlsConnector::from(std::sync::Arc::new(tls(
            &peer.ca,
            rustls::ALL_VERSIONS,
            &[b"http/1.1"],
        )));
        let name = ServerName::try_from("localhost").map_err(drop)?;
        let stream = TokioIo::new(tls.connect(name, stream).await.map_err(drop)?);
        let (sender, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .map_err(drop)?;
        driver.spawn(async move { drop(connection.await) });
        sender
    };
    let request = Request::post("/")
        .header("host", "localhost")
        .body(Full::new(Bytes::from_static(b"x")))
        .map_err(drop)?;
    let answer = sender.send_request(request).await.map_err(drop)?;
    let status = answer.status().as_u16();
    let Verdict::Event(_, expected) = row.verdict else {
        // Whether the body breaks off is what its callers stumble over.
        return match Limited::new(answer.into_body(), 65536).collect().await {
            Ok(_) => Ok(Verdict::Status(status)),
            Err(_) => Ok(Verdict::Unread(status)),
        };
    };
    let body = Limited::new(answer.into_body(), 65536)
        .collect()
        .await
        .map(|body| body.to_bytes());
    Ok(if body.is_ok_and(|body| body == expected) {
        Verdict::Event(status, expected)
    } else {
        Verdict::Unread(status)
    })
}

/// curl, if it is there: its status, and what it ends with.
pub(crate) async fn curl(peer: &Peer, _row: &Row) -> String {
    let mut curl = tokio::process::Command::new("curl");
    curl.args([
        "-sk",
        "--http1.1",
        "--max-time",
        "2",
        "-o",
        "/dev/null",
        "-d",
        "x",
        "-w",
        "%{http_code}",
        &peer.url,
    ]);
    let Ok(output) = curl.stdin(Stdio::null()).output().await else {
        return "not there".to_owned();
    };
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.code() {
        Some(0) => status,
        Some(28) => format!("{status}, waits"),
        Some(code) if status == "000" => format!("no answer ({code})"),
        Some(code) => format!("{status}, error {code}"),
        None => "ended".to_owned(),
    }
}
