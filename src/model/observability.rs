//! Where traces and numbers are to go, as `config-observability` says (contract OB-1).

use std::time::Duration;

/// A collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterEndpoint {
    /// `http/protobuf` or `grpc`.
    pub protocol: String,
    /// Its URL, or host and port; empty if only the environment names it.
    pub endpoint: String,
}

/// What `config-observability` asks for. Whoever started the process may have said otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservabilityConfig {
    /// Where traces go, if they do.
    pub traces: Option<ExporterEndpoint>,
    /// The part of traces that is recorded.
    pub sampling_rate: Option<f64>,
    /// Where numbers go, if they do.
    pub metrics: Option<ExporterEndpoint>,
    /// How often numbers go.
    pub metrics_export_interval: Option<Duration>,
}
