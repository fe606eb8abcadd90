//! OTLP, OpenTelemetry's protocol: spans and numbers leave by it, as protobuf over HTTP or gRPC. Off unless a collector
//! is named. Nobody waits for a collector: what it does not take is dropped and counted.
//!
//! The exporter knows requests and answers, not how they travel: that is [`OtlpTransport`].

mod encode;
mod exporter;
mod message;
mod stdout;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request};
use url::Url;

pub use exporter::OtlpExporter;

use super::tracer::Sampler;

/// How requests are framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// One `POST` for each export.
    #[default]
    HttpProtobuf,
    /// One unary call for each export.
    Grpc,
    /// No collector: spans are written to standard output.
    Stdout,
}

impl OtlpProtocol {
    /// By OpenTelemetry's name, which is Knative's, too (contract OB-1); `None` if it is another one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "http/protobuf" => Some(Self::HttpProtobuf),
            "grpc" => Some(Self::Grpc),
            "stdout" => Some(Self::Stdout),
            _ => None,
        }
    }
}

/// A collector.
#[derive(Clone, PartialEq)]
pub struct OtlpEndpoint {
    /// Where it is; over HTTP the whole URL.
    pub url: Url,
    /// What it speaks.
    pub protocol: OtlpProtocol,
    /// Sent with each request; they may hold secrets.
    pub headers: HeaderMap,
    /// How long an export may take.
    pub timeout: Duration,
    /// What it is trusted by besides the system's roots, PEM.
    pub ca: Option<String>,
}

impl fmt::Debug for OtlpEndpoint {
    /// Without headers, and of the URL only where it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpEndpoint")
            .field("at", &self.origin())
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

impl OtlpEndpoint {
    /// Scheme, host and port, for logs.
    #[must_use]
    pub fn origin(&self) -> String {
        if self.protocol == OtlpProtocol::Stdout {
            "stdout".to_owned()
        } else {
            self.url.origin().ascii_serialization()
        }
    }
}

/// How spans leave.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceExport {
    /// Where to.
    pub endpoint: OtlpEndpoint,
    /// Which.
    pub sampler: Sampler,
    /// The longest that a span waits for others to leave with.
    pub delay: Duration,
}

/// How numbers leave.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricExport {
    /// Where to.
    pub endpoint: OtlpEndpoint,
    /// How often.
    pub interval: Duration,
}

/// What leaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OtlpSettings {
    /// Spans, if they do.
    pub traces: Option<TraceExport>,
    /// Numbers, if they do.
    pub metrics: Option<MetricExport>,
    /// Who sends: OpenTelemetry's resource attributes (contract OB-5).
    pub resource: Vec<(String, String)>,
}

/// Why a collector did not take something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportError {
    /// For logs.
    pub reason: String,
    /// When to send it again: not before so long, but then as one likes; `None` if that is of no use.
    pub retry_after: Option<Duration>,
}

impl From<String> for ExportError {
    /// For good.
    fn from(reason: String) -> Self {
        Self { reason, retry_after: None }
    }
}

/// What a collector answered: nothing is left to say, or why not.
pub type ExportResult = Result<(), ExportError>;

/// Carries requests to collectors.
pub trait OtlpTransport: Send + Sync + 'static {
    /// Posts a request to a collector, and judges its answer; takes at most the endpoint's timeout.
    fn post<'a>(&'a self, endpoint: &'a OtlpEndpoint, request: Request<Bytes>) -> BoxFuture<'a, ExportResult>;
}
