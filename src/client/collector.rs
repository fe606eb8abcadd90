//! The way to a collector of traces and numbers: HTTP, or gRPC, whose status stands in trailers.

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
use crate::telemetry::otlp::{Answer, Endpoint, Protocol, Refusal, Wire};
use crate::tls::{self, MinVersion, SystemRoots};
use crate::wire_text::WireText;

/// Bytes of an answer that are read at most.
const LONGEST: usize = 64 * 1024;

/// Sends to collectors, by one client for each trust and protocol.
pub struct Collectors {
    roots: SystemRoots,
    min_version: MinVersion,
    clients: Mutex<HashMap<(Option<String>, bool), reqwest::Client>>,
}

impl Collectors {
    /// Trusts these roots, and what an endpoint names.
    #[must_use]
    pub fn new(roots: SystemRoots, min_version: MinVersion) -> Self {
        Self { roots, min_version, clients: Mutex::default() }
    }

    fn client(&self, endpoint: &Endpoint) -> Result<reqwest::Client, String> {
        let in_the_clear = endpoint.protocol == Protocol::Grpc && endpoint.url.scheme() == "http";
        let key = (endpoint.ca.clone(), in_the_clear);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let trust = endpoint.ca.as_deref().map(TrustBundle::from_pem).transpose().map_err(|error| error.to_string())?;
        let tls = tls::client_config(&trust.unwrap_or_default(), &self.roots, self.min_version)
            .map_err(|error| error.to_string())?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("sealpost/", env!("CARGO_PKG_VERSION")));
        if in_the_clear {
            builder = builder.http2_prior_knowledge();
        }
        let client = builder.build().map_err(|error| error::root_cause(&error))?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    async fn exchange(&self, endpoint: &Endpoint, request: Request<Bytes>) -> Answer {
        let client = self.client(endpoint)?;
        let (parts, body) = request.into_parts();
        let url = target(endpoint, &parts.uri)?;
        let sent = client.post(url).headers(parts.headers).body(body).send().await;
        let response = sent.map_err(|error| error::root_cause(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(refused(status, response.headers()));
        }
        match endpoint.protocol {
            Protocol::HttpProtobuf | Protocol::Stdout => Ok(()),
            Protocol::Grpc => grpc_status(response).await,
        }
    }
}

impl Wire for Collectors {
    fn post<'a>(&'a self, endpoint: &'a Endpoint, request: Request<Bytes>) -> BoxFuture<'a, Answer> {
        async move {
            let answer = tokio::time::timeout(endpoint.timeout, self.exchange(endpoint, request)).await;
            answer.unwrap_or_else(|_elapsed| Err(format!("no answer within {:?}", endpoint.timeout).into()))
        }
        .boxed()
    }
}

/// Over HTTP the endpoint itself, else a method of it.
fn target(endpoint: &Endpoint, method: &http::Uri) -> Result<Url, String> {
    match endpoint.protocol {
        Protocol::HttpProtobuf | Protocol::Stdout => Ok(endpoint.url.clone()),
        Protocol::Grpc => endpoint.url.join(method.path()).map_err(|error| error.to_string()),
    }
}

/// By OTLP's list of what is sent again; not before the seconds that `Retry-After` says.
fn refused(status: StatusCode, headers: &HeaderMap) -> Refusal {
    let seconds = || headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok();
    let again = matches!(status.as_u16(), 429 | 502 | 503 | 504).then(|| Duration::from_secs(seconds().unwrap_or(0)));
    Refusal { reason: format!("it answered {status}"), again }
}

/// What a call came to: in the headers if there is no message, else in the trailers.
async fn grpc_status(response: reqwest::Response) -> Answer {
    if let Some(status) = status_in(response.headers()) {
        return status;
    }
    let mut body = std::pin::pin!(reqwest::Body::from(response));
    let mut read = 0;
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let frame = frame.map_err(|error| error::root_cause(&error))?;
        if let Some(status) = frame.trailers_ref().and_then(status_in) {
            return status;
        }
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > LONGEST {
            break;
        }
    }
    Err("it did not tell how the call ended".to_owned().into())
}

fn status_in(headers: &HeaderMap) -> Option<Answer> {
    let status = headers.get("grpc-status")?.to_str().unwrap_or_default();
    // Cancelled, deadline exceeded, aborted, out of range, unavailable, data loss.
    let again = matches!(status, "1" | "4" | "10" | "11" | "14" | "15").then_some(Duration::ZERO);
    let refused = || Refusal { reason: format!("it answered gRPC status {}", WireText::of(status)), again };
    Some(if status == "0" { Ok(()) } else { Err(refused()) })
}
