//! The collectors of traces and metrics that `config-observability` names (contract OB-1).

use std::time::Duration;

use url::Url;

/// The address of a collector, and the protocol it is spoken to by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterEndpoint {
    /// The protocol of OTLP: `http/protobuf` or `grpc`.
    pub protocol: String,
    /// The collector's URL, or its host and port; empty if only the environment names it.
    pub endpoint: String,
}

/// The wishes of `config-observability`. Flags and variables of the process go before them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservabilityConfig {
    /// The collector of traces; `None` exports none.
    pub traces: Option<ExporterEndpoint>,
    /// The share of traces that is recorded, from 0 to 1; `None` leaves it to the flags.
    pub sampling_rate: Option<f64>,
    /// The collector of metrics; `None` exports none.
    pub metrics: Option<ExporterEndpoint>,
    /// The interval between two exports of metrics; `None` leaves it to the flags.
    pub metrics_export_interval: Option<Duration>,
}

/// Reads the URL of a collector; a host and a port alone mean HTTPS (contract OB-3).
///
/// # Errors
/// Says why there is none. The text may hold a password, so that it is not part of the message.
pub(crate) fn parse_collector_url(text: &str) -> Result<Url, String> {
    let whole = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let url = Url::parse(&whole)
        .map_err(|error| format!("the endpoint of a collector is no URL: {error}"))?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err("the endpoint of a collector is neither http nor https".to_owned())
    }
}
