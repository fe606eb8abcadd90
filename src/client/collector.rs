//! The transport to a collector of traces and metrics: HTTP, or gRPC, whose status stands in
//! trailers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, StatusCode};
use http_body::Body;
use url::Url;

use super::error;
use crate::model::TrustBundle;
use crate::telemetry::otlp::{
    ExportError, ExportResult, OtlpEndpoint, OtlpProtocol, OtlpTransport,
};
use crate::tls::{self, MinTlsVersion, SystemRoots};
use crate::wire_text::WireText;

/// Bytes of a gRPC response that are read at most while its trailers are waited for.
const LONGEST: usize = 64 * 1024;

/// Sends OTLP requests to collectors, by one client for each set of trusted certificates and
/// version of HTTP.
pub(crate) struct CollectorClients {
    roots: SystemRoots,
    min_version: MinTlsVersion,
    clients: Mutex<HashMap<(Option<String>, bool), reqwest::Client>>,
}

impl CollectorClients {
    /// Makes a transport without clients, which trusts these roots and the certificates that an
    /// endpoint names.
    #[must_use]
    pub(crate) fn new(roots: SystemRoots, min_version: MinTlsVersion) -> Self {
        Self {
            roots,
            min_version,
            clients: Mutex::default(),
        }
    }

    fn client(&self, endpoint: &OtlpEndpoint) -> Result<reqwest::Client, String> {
        let key = (endpoint.ca.clone(), is_http2_in_the_clear(endpoint));
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(endpoint)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn build(&self, endpoint: &OtlpEndpoint) -> Result<reqwest::Client, String> {
        let trust = endpoint
            .ca
            .as_deref()
            .map(TrustBundle::from_pem)
            .transpose()
            .map_err(|error| error.to_string())?;
        let tls = tls::client_config(&trust.unwrap_or_default(), &self.roots, self.min_version)
            .map_err(|error| error.to_string())?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("sealpost/", env!("CARGO_PKG_VERSION")));
        if is_http2_in_the_clear(endpoint) {
            builder = builder.http2_prior_knowledge();
        }
        builder.build().map_err(|error| error::root_cause(&error))
    }

    async fn send(&self, endpoint: &OtlpEndpoint, request: Request<Bytes>) -> ExportResult {
        let client = self.client(endpoint)?;
        let (parts, body) = request.into_parts();
        let url = request_url(endpoint, &parts.uri)?;
        let sent = client
            .post(url)
            .headers(parts.headers)
            .body(body)
            .send()
            .await;
        let response = sent.map_err(|error| error::root_cause(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(export_error(status, response.headers()));
        }
        match endpoint.protocol {
            OtlpProtocol::HttpProtobuf | OtlpProtocol::Stdout => Ok(()),
            OtlpProtocol::Grpc => read_grpc_status(response).await,
        }
    }
}

impl OtlpTransport for CollectorClients {
    fn post<'a>(
        &'a self,
        endpoint: &'a OtlpEndpoint,
        request: Request<Bytes>,
    ) -> BoxFuture<'a, ExportResult> {
        async move {
            let answer = tokio::time::timeout(endpoint.timeout, self.send(endpoint, request)).await;
            answer.unwrap_or_else(|_elapsed| {
                Err(format!("no answer within {:?}", endpoint.timeout).into())
            })
        }
        .boxed()
    }
}

/// Returns true if HTTP/2 is spoken without being negotiated: without TLS there is no ALPN, and gRPC
/// needs HTTP/2.
fn is_http2_in_the_clear(endpoint: &OtlpEndpoint) -> bool {
    endpoint.protocol == OtlpProtocol::Grpc && endpoint.url.scheme() == "http"
}

/// Returns the URL of the request: the endpoint itself for OTLP over HTTP, the path of the method
/// at the endpoint for gRPC.
fn request_url(endpoint: &OtlpEndpoint, method: &http::Uri) -> Result<Url, String> {
    match endpoint.protocol {
        OtlpProtocol::HttpProtobuf | OtlpProtocol::Stdout => Ok(endpoint.url.clone()),
        OtlpProtocol::Grpc => endpoint
            .url
            .join(method.path())
            .map_err(|error| error.to_string()),
    }
}

/// Returns the error for this status. The statuses that OTLP lists as retryable have a
/// `retry_after`, which is the seconds of `Retry-After`, or zero without that field.
fn export_error(status: StatusCode, headers: &HeaderMap) -> ExportError {
    let seconds = || headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok();
    let again = matches!(status.as_u16(), 429 | 502 | 503 | 504)
        .then(|| Duration::from_secs(seconds().unwrap_or(0)));
    ExportError {
        reason: format!("it answered {status}"),
        retry_after: again,
    }
}

/// Reads the status of a gRPC call: it stands in the header fields if the response has no message,
/// else in the trailers.
async fn read_grpc_status(response: reqwest::Response) -> ExportResult {
    if let Some(status) = parse_grpc_status(response.headers()) {
        return status;
    }
    let mut body = std::pin::pin!(reqwest::Body::from(response));
    let mut read = 0;
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
    {
        let frame = frame.map_err(|error| error::root_cause(&error))?;
        if let Some(status) = frame.trailers_ref().and_then(parse_grpc_status) {
            return status;
        }
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > LONGEST {
            break;
        }
    }
    Err("it did not tell how the call ended".to_owned().into())
}

fn parse_grpc_status(headers: &HeaderMap) -> Option<ExportResult> {
    let status = headers.get("grpc-status")?.to_str().unwrap_or_default();
    // The codes that OTLP lists as retryable: cancelled, deadline exceeded, aborted, out of range,
    // unavailable, data loss.
    let again = matches!(status, "1" | "4" | "10" | "11" | "14" | "15").then_some(Duration::ZERO);
    let refused = || ExportError {
        reason: format!("it answered gRPC status {}", WireText::new(status)),
        retry_after: again,
    };
    Some(if status == "0" {
        Ok(())
    } else {
        Err(refused())
    })
}
