//! The collector of one of the two signals, traces and metrics: that of its flags, else of
//! OpenTelemetry's variables, else of `config-observability`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use url::Url;

use super::parse_protocol;
use crate::cli::VariableLookup;
use crate::model::{ExporterEndpoint, TrustBundle, parse_collector_url};
use crate::telemetry::otlp::{OtlpEndpoint, OtlpProtocol};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The limit of a request where OpenTelemetry's variable, with 0, asks for none.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);
/// The fields that belong to the message or its connection, not to who configures it.
const RESERVED: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The flags and the configuration of one of the two signals, traces and metrics.
pub(super) struct SignalOptions<'a> {
    /// The name of the signal within variables.
    pub(super) name: &'static str,
    /// The path of the signal below an endpoint for all signals.
    pub(super) path: &'static str,
    /// The flag of the endpoint, for messages.
    pub(super) flag: &'static str,
    /// The endpoint of the flag.
    pub(super) endpoint: Option<&'a str>,
    /// The protocol of the flag.
    pub(super) protocol: Option<OtlpProtocol>,
    /// The collector that `config-observability` names.
    pub(super) configured: Option<&'a ExporterEndpoint>,
}

/// The variable `OTEL_EXPORTER_OTLP_…` that is for both signals.
fn common_variable(what: &str, variable: VariableLookup<'_>) -> Option<NamedVariable> {
    NamedVariable::find(format!("OTEL_EXPORTER_OTLP_{what}"), variable)
}

/// A variable that is set, or a flag: its name, for messages, and what it says.
struct NamedVariable {
    name: String,
    text: String,
}

impl NamedVariable {
    fn find(name: String, variable: VariableLookup<'_>) -> Option<Self> {
        let text = variable(&name)?;
        Some(Self { name, text })
    }
}

/// What `OTEL_TRACES_EXPORTER` or `OTEL_METRICS_EXPORTER` names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NamedExporter {
    /// A collector.
    Otlp,
    /// Standard output.
    Console,
    /// Nothing is sent.
    Nowhere,
}

impl SignalOptions<'_> {
    /// The endpoint of the signal; `None` if it is not exported.
    pub(super) fn resolve_endpoint(
        &self,
        variable: VariableLookup<'_>,
    ) -> Result<Option<OtlpEndpoint>, String> {
        let exporter = self.exporter(variable)?;
        if self.endpoint.is_none() && exporter == Some(NamedExporter::Nowhere) {
            return Ok(None);
        }
        let is_console = self.endpoint.is_none() && exporter == Some(NamedExporter::Console);
        let protocol = match (is_console, self.protocol) {
            (true, None) => OtlpProtocol::Stdout,
            _ => self.resolve_protocol(variable)?,
        };
        if protocol == OtlpProtocol::Stdout {
            return self.stdout_endpoint().map(Some);
        }
        let Some(url) = self.resolve_url(protocol, variable)? else {
            return Ok(None);
        };
        Ok(Some(OtlpEndpoint {
            url,
            protocol,
            timeout: self.timeout(variable)?,
            headers: self.header_fields(variable)?,
            ca: self.read_ca(variable)?,
        }))
    }

    /// The exporter that OpenTelemetry's variable names; `None` without it. Of several, the first
    /// that sends something counts. Metrics are always there for Prometheus.
    fn exporter(&self, variable: VariableLookup<'_>) -> Result<Option<NamedExporter>, String> {
        let name = format!("OTEL_{}_EXPORTER", self.name);
        let Some(text) = variable(&name) else {
            return Ok(None);
        };
        let mut exporter = NamedExporter::Nowhere;
        for word in text.split(',') {
            let named = match (&*word.trim().to_ascii_lowercase(), self.name) {
                ("otlp", _) => NamedExporter::Otlp,
                ("console", "TRACES") => NamedExporter::Console,
                ("none", _) | ("prometheus", "METRICS") => NamedExporter::Nowhere,
                (_, "TRACES") => return Err(format!("{name}: write otlp, console or none")),
                _ => return Err(format!("{name}: write otlp, prometheus or none")),
            };
            if exporter == NamedExporter::Nowhere {
                exporter = named;
            }
        }
        Ok(Some(exporter))
    }

    fn timeout(&self, variable: VariableLookup<'_>) -> Result<Duration, String> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_TIMEOUT", self.name);
        let own = parse_milliseconds(variable, &own)?;
        let common = parse_milliseconds(variable, "OTEL_EXPORTER_OTLP_TIMEOUT")?;
        let timeout = own.or(common).unwrap_or(TIMEOUT);
        Ok(if timeout.is_zero() {
            LONGEST_TIMEOUT
        } else {
            timeout
        })
    }

    fn read_ca(&self, variable: VariableLookup<'_>) -> Result<Option<String>, String> {
        let Some(NamedVariable { name, text: file }) =
            self.signal_or_common_variable("CERTIFICATE", variable)
        else {
            return Ok(None);
        };
        let pem =
            std::fs::read_to_string(&file).map_err(|error| format!("{name}: {file}: {error}"))?;
        TrustBundle::from_pem(&pem).map_err(|error| format!("{name}: {file}: {error}"))?;
        Ok(Some(pem))
    }

    /// The variable that is for this signal alone.
    fn signal_variable(&self, what: &str, variable: VariableLookup<'_>) -> Option<NamedVariable> {
        NamedVariable::find(format!("OTEL_EXPORTER_OTLP_{}_{what}", self.name), variable)
    }

    /// The variable that is for this signal alone, else the one for both.
    fn signal_or_common_variable(
        &self,
        what: &str,
        variable: VariableLookup<'_>,
    ) -> Option<NamedVariable> {
        self.signal_variable(what, variable)
            .or_else(|| common_variable(what, variable))
    }

    /// The protocol of the signal: that of the flag, of a variable, of the ConfigMap, else the
    /// default.
    fn resolve_protocol(&self, variable: VariableLookup<'_>) -> Result<OtlpProtocol, String> {
        match (
            self.protocol,
            self.signal_or_common_variable("PROTOCOL", variable),
            self.configured,
        ) {
            (Some(protocol), ..) => Ok(protocol),
            (None, Some(NamedVariable { name, text }), _) => {
                parse_otlp_protocol(&text).map_err(|remedy| format!("{name}: {remedy}"))
            }
            (None, None, Some(export)) => parse_protocol(&export.protocol),
            (None, None, None) => Ok(OtlpProtocol::default()),
        }
    }

    /// The URL of the collector; `None` if nothing names one.
    fn resolve_url(
        &self,
        protocol: OtlpProtocol,
        variable: VariableLookup<'_>,
    ) -> Result<Option<Url>, String> {
        let flag = self.endpoint.map(|endpoint| NamedVariable {
            name: self.flag.to_owned(),
            text: endpoint.to_owned(),
        });
        let written = flag.or_else(|| self.signal_variable("ENDPOINT", variable));
        let at = |name: &str, url: Result<Url, String>| {
            url.map_err(|error| format!("{name}: {error}")).map(Some)
        };
        match (written, common_variable("ENDPOINT", variable)) {
            (Some(own), _) => at(&own.name, self.signal_url(&own.text, protocol)),
            (None, Some(base)) => at(&base.name, self.url_with_signal_path(&base.text, protocol)),
            (None, None) => self
                .configured
                .filter(|export| !export.endpoint.is_empty())
                .map(|export| self.signal_url(&export.endpoint, protocol))
                .transpose(),
        }
    }

    /// The header fields of each request: those for both signals, then those for this one, which
    /// replace them.
    fn header_fields(&self, variable: VariableLookup<'_>) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let texts = [
            common_variable("HEADERS", variable),
            self.signal_variable("HEADERS", variable),
        ];
        for NamedVariable { name, text } in texts.into_iter().flatten() {
            let fields = parse_header_fields(&text).map_err(|error| format!("{name}: {error}"))?;
            headers.extend(fields);
        }
        Ok(headers)
    }

    /// The endpoint that is standard output, which only traces may have.
    fn stdout_endpoint(&self) -> Result<OtlpEndpoint, String> {
        if self.name != "TRACES" {
            return Err(
                "metrics are not written to standard output: name a collector, or read them \
                 from the admin port"
                    .to_owned(),
            );
        }
        let url = Url::parse("stdout:").map_err(|error| error.to_string())?;
        Ok(OtlpEndpoint {
            url,
            protocol: OtlpProtocol::Stdout,
            headers: HeaderMap::new(),
            timeout: TIMEOUT,
            ca: None,
        })
    }

    /// The URL of the signal's own endpoint: as it is, with the usual path if it has none.
    fn signal_url(&self, text: &str, protocol: OtlpProtocol) -> Result<Url, String> {
        let mut url = parse_collector_url(text)?;
        if protocol == OtlpProtocol::HttpProtobuf && matches!(url.path(), "" | "/") {
            url.set_path(&format!("/{}", self.path));
        }
        Ok(url)
    }

    /// The URL of the endpoint for all signals, with the path of this signal added.
    fn url_with_signal_path(&self, text: &str, protocol: OtlpProtocol) -> Result<Url, String> {
        let mut url = parse_collector_url(text)?;
        if protocol == OtlpProtocol::HttpProtobuf {
            let path = format!("{}/{}", url.path().trim_end_matches('/'), self.path);
            url.set_path(&path);
        }
        Ok(url)
    }
}

/// Reads a protocol by which a collector is reached.
fn parse_otlp_protocol(text: &str) -> Result<OtlpProtocol, String> {
    match parse_protocol(&text.to_ascii_lowercase())? {
        OtlpProtocol::Stdout => Err("stdout is no OTLP: write http/protobuf or grpc".to_owned()),
        otlp => Ok(otlp),
    }
}

/// Reads header fields, as OpenTelemetry writes them. Their texts are secrets, so that no message
/// has them.
fn parse_header_fields(text: &str) -> Result<HeaderMap, String> {
    let bad = || "write name=value,name=value".to_owned();
    let mut headers = HeaderMap::new();
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    if pairs.clone().any(|pair| !pair.contains('=')) {
        return Err(bad());
    }
    for (name, value) in parse_pairs(text) {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_name| bad())?;
        if RESERVED.contains(&name.as_str()) {
            return Err(format!("{name} is not for others to set"));
        }
        let mut value = HeaderValue::from_str(&value).map_err(|_value| bad())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Reads pairs as OpenTelemetry writes them: `name=value,name=value`, percent-encoded.
pub(super) fn parse_pairs(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        percent_decode_str(text.trim())
            .decode_utf8_lossy()
            .into_owned()
    };
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

pub(super) fn parse_milliseconds(
    variable: VariableLookup<'_>,
    name: &str,
) -> Result<Option<Duration>, String> {
    let Some(text) = variable(name) else {
        return Ok(None);
    };
    let millis = text
        .parse::<u64>()
        .map_err(|_text| format!("{name}: write milliseconds, such as 5000"))?;
    Ok(Some(Duration::from_millis(millis)))
}
