//! Where traces and numbers are to go, as `config-observability` says (contract OB-1).

use std::time::Duration;

/// A collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// `http/protobuf` or `grpc`.
    pub protocol: String,
    /// Its URL, or host and port; empty if only the environment names it.
    pub endpoint: String,
}

/// What `config-observability` asks for. Whoever started the process may have said otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observability {
    /// Where traces go, if they do.
    pub traces: Option<Export>,
    /// The part of traces that is recorded.
    pub sampling_rate: Option<f64>,
    /// Where numbers go, if they do.
    pub metrics: Option<Export>,
    /// How often numbers go.
    pub interval: Option<Duration>,
}
