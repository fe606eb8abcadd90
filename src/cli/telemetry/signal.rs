//! The collector of one of the two signals, traces and metrics: that of its flags, else of
//! OpenTelemetry's variables, else of `config-observability`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use url::Url;

use super::parse_protocol;
use crate::cli::VariableLookup;
use crate::model::ExporterEndpoint;
use crate::telemetry::otlp::{OtlpEndpoint, OtlpProtocol};

const TIMEOUT: Duration = Duration::from_secs(10);

/// The flags and the configuration of one of the two signals, traces and metrics.
pub(super) struct SignalOptions<'a> {
    /// The name of the signal within variables.
    pub(super) name: &'static str,
    /// The path of the signal below an endpoint for all signals.
    pub(super) path: &'static str,
    /// The endpoint of the flag.
    pub(super) endpoint: Option<&'a str>,
    /// The protocol of the flag.
    pub(super) protocol: Option<OtlpProtocol>,
    /// The collector that `config-observability` names.
    pub(super) configured: Option<&'a ExporterEndpoint>,
}

/// The variable `OTEL_EXPORTER_OTLP_…` that is for both signals.
fn common_variable(what: &str, variable: VariableLookup<'_>) -> Option<String> {
    variable(&format!("OTEL_EXPORTER_OTLP_{what}"))
}

impl SignalOptions<'_> {
    /// The endpoint of the signal; `None` if it is not exported.
    pub(super) fn resolve_endpoint(
        &self,
        variable: VariableLookup<'_>,
    ) -> Result<Option<OtlpEndpoint>, String> {
        let off = variable(&format!("OTEL_{}_EXPORTER", self.name))
            .is_some_and(|exporter| exporter == "none");
        if self.endpoint.is_none() && off {
            return Ok(None);
        }
        let protocol = self.resolve_protocol(variable)?;
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

    fn timeout(&self, variable: VariableLookup<'_>) -> Result<Duration, String> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_TIMEOUT", self.name);
        let own = parse_milliseconds(variable, &own)?;
        let common = parse_milliseconds(variable, "OTEL_EXPORTER_OTLP_TIMEOUT")?;
        Ok(own.or(common).unwrap_or(TIMEOUT))
    }

    fn read_ca(&self, variable: VariableLookup<'_>) -> Result<Option<String>, String> {
        let Some(file) = self.signal_or_common_variable("CERTIFICATE", variable) else {
            return Ok(None);
        };
        std::fs::read_to_string(&file)
            .map(Some)
            .map_err(|error| format!("OTEL_EXPORTER_OTLP_CERTIFICATE: {file}: {error}"))
    }

    /// The variable that is for this signal alone.
    fn signal_variable(&self, what: &str, variable: VariableLookup<'_>) -> Option<String> {
        variable(&format!("OTEL_EXPORTER_OTLP_{}_{what}", self.name))
    }

    /// The variable that is for this signal alone, else the one for both.
    fn signal_or_common_variable(
        &self,
        what: &str,
        variable: VariableLookup<'_>,
    ) -> Option<String> {
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
            (None, Some(text), _) => parse_otlp_protocol(&text)
                .map_err(|remedy| format!("OTEL_EXPORTER_OTLP_PROTOCOL: {remedy}")),
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
        let written = self
            .endpoint
            .map(str::to_owned)
            .or_else(|| self.signal_variable("ENDPOINT", variable));
        let configured = || self.configured.map(|export| export.endpoint.clone());
        match (written, common_variable("ENDPOINT", variable)) {
            (Some(url), _) => self.signal_url(&url, protocol).map(Some),
            (None, Some(base)) => self.url_with_signal_path(&base, protocol).map(Some),
            (None, None) => configured()
                .map(|url| self.signal_url(&url, protocol))
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
        for (name, value) in texts
            .into_iter()
            .flatten()
            .flat_map(|text| parse_pairs(&text))
        {
            let bad = || "OTEL_EXPORTER_OTLP_HEADERS: write name=value,name=value".to_owned();
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_name| bad())?;
            let mut value = HeaderValue::from_str(&value).map_err(|_value| bad())?;
            value.set_sensitive(true);
            headers.insert(name, value);
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
        let mut url = parse_absolute_url(text)?;
        if protocol == OtlpProtocol::HttpProtobuf && matches!(url.path(), "" | "/") {
            url.set_path(&format!("/{}", self.path));
        }
        Ok(url)
    }

    /// The URL of the endpoint for all signals, with the path of this signal added.
    fn url_with_signal_path(&self, text: &str, protocol: OtlpProtocol) -> Result<Url, String> {
        let mut url = parse_absolute_url(text)?;
        if protocol == OtlpProtocol::HttpProtobuf {
            let path = format!("{}/{}", url.path().trim_end_matches('/'), self.path);
            url.set_path(&path);
        }
        Ok(url)
    }
}

/// Reads a protocol by which a collector is reached.
fn parse_otlp_protocol(text: &str) -> Result<OtlpProtocol, String> {
    match parse_protocol(text)? {
        OtlpProtocol::Stdout => Err("stdout is no OTLP: write http/protobuf or grpc".to_owned()),
        otlp => Ok(otlp),
    }
}

/// Reads a URL; a host and a port alone mean HTTPS (contract OB-3).
fn parse_absolute_url(text: &str) -> Result<Url, String> {
    let whole = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    // The text may hold a password, so that it is not part of the message.
    let url = Url::parse(&whole)
        .map_err(|error| format!("the endpoint of a collector is no URL: {error}"))?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err("the endpoint of a collector is neither http nor https".to_owned())
    }
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
