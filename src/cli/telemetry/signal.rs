//! The collector of one of the two signals, traces and metrics: that of its flags, else of
//! OpenTelemetry's variables, else of `config-observability`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use url::Url;

use super::{parse_protocol, parse_tracing_protocol};
use crate::cli::VariableLookup;
use crate::model::{ExporterEndpoint, TrustBundle, parse_collector_url};
use crate::telemetry::otlp::{OtlpEndpoint, OtlpProtocol};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The limit of a request where OpenTelemetry's variable, with 0, asks for none.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);
/// The form of pairs in variables.
const PAIRS: &str = "write name=value,name=value, percent-encoded in UTF-8";
/// The fields that belong to the message or its connection, not to who configures it.
const RESERVED: [&str; 15] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "grpc-encoding",
    "grpc-timeout",
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
        let Some(protocol) = self.resolve_protocol(exporter, variable)? else {
            return Ok(None);
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

    /// Returns true if a flag or a variable names where the signal goes, whatever the ConfigMap
    /// says.
    pub(super) fn is_switched_on(&self, variable: VariableLookup<'_>) -> Result<bool, String> {
        Ok(self.endpoint.is_some()
            || self.protocol == Some(OtlpProtocol::Stdout)
            || self
                .signal_or_common_variable("ENDPOINT", variable)
                .is_some()
            || self.exporter(variable)? == Some(NamedExporter::Console))
    }

    /// The exporter that OpenTelemetry's variable names; `None` without it. Several that send
    /// something are too many. Metrics are always there for Prometheus.
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
            if exporter != NamedExporter::Nowhere && named != NamedExporter::Nowhere {
                return Err(format!("{name}: write one, since one is sent to"));
            }
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
    /// default; `None` if the ConfigMap names a collector and nothing its protocol.
    fn resolve_protocol(
        &self,
        exporter: Option<NamedExporter>,
        variable: VariableLookup<'_>,
    ) -> Result<Option<OtlpProtocol>, String> {
        if let Some(protocol) = self.protocol {
            return Ok(Some(protocol));
        }
        if self.endpoint.is_none() && exporter == Some(NamedExporter::Console) {
            return Ok(Some(OtlpProtocol::Stdout));
        }
        if let Some(named) = self.signal_or_common_variable("PROTOCOL", variable) {
            let protocol = parse_otlp_protocol(&named.text);
            return protocol
                .map(Some)
                .map_err(|remedy| format!("{}: {remedy}", named.name));
        }
        let is_switched_on = self.is_switched_on(variable)?;
        match self.configured.map(|export| &*export.protocol) {
            // A collector that is named elsewhere is one, whatever the ConfigMap would print.
            Some("" | "stdout") | None if is_switched_on => Ok(Some(OtlpProtocol::default())),
            Some("") | None => Ok(None),
            Some(protocol) => parse_tracing_protocol(protocol).map(Some),
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

    /// The header fields of each request: those for this signal, else those for both. A signal with
    /// fields of its own has a collector of its own, which the others are not for: they may hold
    /// secrets.
    fn header_fields(&self, variable: VariableLookup<'_>) -> Result<HeaderMap, String> {
        let Some(NamedVariable { name, text }) =
            self.signal_or_common_variable("HEADERS", variable)
        else {
            return Ok(HeaderMap::new());
        };
        parse_header_fields(&text).map_err(|error| format!("{name}: {error}"))
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
    let bad = || PAIRS.to_owned();
    let mut headers = HeaderMap::new();
    for (name, value) in parse_pairs(text)? {
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

/// Reads pairs as OpenTelemetry writes them: `name=value,name=value`, percent-encoded. No message
/// has what they say.
pub(super) fn parse_pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((decode_text(name)?, decode_text(value)?)).filter(|(name, _)| !name.is_empty())
        })
        .collect::<Option<_>>()
        .ok_or_else(|| PAIRS.to_owned())
}

/// Decodes a percent-encoded text; `None` if it has a `%` that encodes nothing, or is not UTF-8
/// then, or has control characters.
fn decode_text(text: &str) -> Option<String> {
    let is_encoded = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let text = text.trim();
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    (text.split('%').skip(1).all(is_encoded) && !decoded.contains(char::is_control))
        .then(|| decoded.into_owned())
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
