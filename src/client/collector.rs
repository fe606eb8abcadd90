//! The transport to a collector of traces and metrics: HTTP, or gRPC, whose status stands in
//! trailers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, StatusCode};
use url::Url;

use super::bounded_body::BoundedBody;
use super::{error, grpc_answer};
use crate::model::TrustBundle;
use crate::telemetry::otlp::{
    ExportAnswer, ExportError, ExportResult, OtlpEndpoint, OtlpProtocol, OtlpTransport,
};
use crate::tls::{self, MinTlsVersion, SystemRoots};

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
        let response = sent.map_err(|error| send_error(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(export_error(status, response.headers()));
        }
        match endpoint.protocol {
            OtlpProtocol::HttpProtobuf | OtlpProtocol::Stdout => read_answer(response).await,
            OtlpProtocol::Grpc => grpc_answer::read_answer(response).await,
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

/// Reads the answer of a collector that took a request over HTTP. One that ends too early is none.
async fn read_answer(response: reqwest::Response) -> ExportResult {
    let mut body = BoundedBody::new(response);
    while body.next_trailers().await?.is_some() {}
    Ok(match body.content() {
        Some(message) => ExportAnswer::decode(message),
        None => ExportAnswer::too_long(),
    })
}

/// Returns the error of a request without a response. One that was cut off is sent again, as OTLP
/// asks; a collector that cannot be reached is tried with the next export.
fn send_error(error: &reqwest::Error) -> ExportError {
    let is_cut_off = !error.is_connect() && !error.is_builder();
    ExportError {
        reason: error::root_cause(error),
        retry_after: is_cut_off.then_some(Duration::ZERO),
    }
}

/// Returns the error for this status. The statuses that OTLP lists as retryable have a
/// `retry_after`, which is what `Retry-After` asks for, or zero without that field.
fn export_error(status: StatusCode, headers: &HeaderMap) -> ExportError {
    let again = matches!(status.as_u16(), 429 | 502 | 503 | 504)
        .then(|| requested_wait(headers, SystemTime::now()).unwrap_or_default());
    ExportError {
        reason: format!("it answered {status}"),
        retry_after: again,
    }
}

/// Reads `Retry-After`, which is a number of seconds or a date. A number that is too large for a
/// duration is the longest there is.
fn requested_wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    date.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cannot be read asks for no wait, and a date that is over neither.
    #[test]
    fn waits_that_are_asked_for() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let later = httpdate::fmt_http_date(now + Duration::from_secs(4));
        let before = httpdate::fmt_http_date(now - Duration::from_secs(4));
        for (text, seconds) in [
            ("3", Some(3)),
            (&*later, Some(4)),
            (&*before, None),
            ("99999999999999999999", Some(u64::MAX)),
            ("-5", None),
            ("soon", None),
            ("", None),
        ] {
            let value = http::HeaderValue::from_str(text).expect("a value");
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value)]);
            let wait = requested_wait(&headers, now).map(|wait| wait.as_secs());
            assert_eq!(wait, seconds, "{text}");
        }
    }
}
