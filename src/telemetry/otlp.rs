//! OTLP, the protocol of OpenTelemetry: spans and metrics are exported by it, as protobuf over HTTP
//! or gRPC. Export is off unless a collector is configured. Nothing waits for a collector: what it
//! does not take is dropped and counted.
//!
//! The exporter knows requests and responses, but not how they travel: that is the job of an
//! [`OtlpTransport`].

mod collector_log;
mod collector_requests;
mod encode;
mod export_answer;
mod export_request;
mod exporter;
mod metric_exporter;
mod retry_delay;
mod span_exporter;
mod stdout;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request};
use opentelemetry_sdk::Resource;
use tokio::time::Instant;
use url::Url;

pub(crate) use export_answer::ExportAnswer;
pub(crate) use exporter::OtlpExporter;
pub(crate) use retry_delay::decode_retry_delay;

use super::tracer::Sampler;

/// The protocols by which telemetry is exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// Protobuf over HTTP: one `POST` for each export. This is the default.
    #[default]
    HttpProtobuf,
    /// gRPC: one unary call for each export.
    Grpc,
    /// No collector: spans are written to standard output.
    Stdout,
}

impl OtlpProtocol {
    /// Parses the name that OpenTelemetry and Knative use (contract OB-1); `None` for another name.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "http/protobuf" => Some(Self::HttpProtobuf),
            "grpc" => Some(Self::Grpc),
            "stdout" => Some(Self::Stdout),
            _ => None,
        }
    }
}

/// A collector and how it is reached.
#[derive(Clone, PartialEq)]
pub(crate) struct OtlpEndpoint {
    /// The URL of the collector: the whole URL over HTTP, the base of the methods for gRPC.
    pub url: Url,
    /// The protocol that the collector speaks.
    pub protocol: OtlpProtocol,
    /// Header fields that are sent with each request; they may hold secrets.
    pub headers: HeaderMap,
    /// Longest time that one request of an export may take.
    pub timeout: Duration,
    /// Certificates in PEM by which the collector is verified, besides the system's roots.
    pub ca: Option<String>,
}

impl fmt::Debug for OtlpEndpoint {
    /// Shows no header fields, and of the URL only the origin, since the rest may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpEndpoint")
            .field("at", &self.origin())
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

impl OtlpEndpoint {
    /// Returns scheme, host and port, for logs.
    #[must_use]
    pub(crate) fn origin(&self) -> String {
        if self.protocol == OtlpProtocol::Stdout {
            "stdout".to_owned()
        } else {
            self.url.origin().ascii_serialization()
        }
    }
}

/// The settings for the export of spans.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TraceExport {
    /// The collector that spans are sent to.
    pub endpoint: OtlpEndpoint,
    /// The sampler that decides which traces are recorded.
    pub sampler: Sampler,
    /// Longest time for which a span waits for others, to be sent together with them.
    pub delay: Duration,
}

/// The settings for the export of metrics.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MetricExport {
    /// The collector that metrics are sent to.
    pub endpoint: OtlpEndpoint,
    /// Time from one export to the next.
    pub interval: Duration,
}

/// The settings of both exports, as one configuration has them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OtlpSettings {
    /// The export of spans; `None` if it is off.
    pub traces: Option<TraceExport>,
    /// The export of metrics; `None` if it is off.
    pub metrics: Option<MetricExport>,
    /// OpenTelemetry's resource attributes, which say who sends (contract OB-5).
    pub resource: Resource,
}

impl Default for OtlpSettings {
    fn default() -> Self {
        Self {
            traces: None,
            metrics: None,
            resource: Resource::builder_empty().build(),
        }
    }
}

impl OtlpSettings {
    fn trace_endpoint(&self) -> Option<&OtlpEndpoint> {
        self.traces.as_ref().map(|traces| &traces.endpoint)
    }

    fn metric_endpoint(&self) -> Option<&OtlpEndpoint> {
        self.metrics.as_ref().map(|metrics| &metrics.endpoint)
    }
}

/// The reason for which a collector did not take an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExportError {
    /// The reason as text for logs.
    pub reason: String,
    /// Least time before the same request may be sent again; `None` if that would be useless.
    pub retry_after: Option<Duration>,
}

impl From<String> for ExportError {
    /// Makes an error after which nothing is sent again.
    fn from(reason: String) -> Self {
        Self {
            reason,
            retry_after: None,
        }
    }
}

/// The result of an export: what the collector that took it said, or the reason why it did not.
pub(crate) type ExportResult = Result<ExportAnswer, ExportError>;

/// Carries requests to collectors.
pub(crate) trait OtlpTransport: Send + Sync + 'static {
    /// Posts a request to a collector and judges the response; takes at most the endpoint's
    /// timeout.
    fn post<'a>(
        &'a self,
        endpoint: &'a OtlpEndpoint,
        request: Request<Bytes>,
    ) -> BoxFuture<'a, ExportResult>;
}

/// Waits until this time, not at all if it is over, or for ever.
async fn wait_until(time: Option<Instant>) {
    match time {
        Some(time) if time <= Instant::now() => {}
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
