//! The collectors of traces and metrics: those of flags, else of OpenTelemetry's variables, else of
//! `config-observability` (contract OB-1 to OB-5).

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_semantic_conventions::resource::{
    K8S_NAMESPACE_NAME, K8S_POD_NAME, SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION,
};
use percent_encoding::percent_decode_str;
use url::Url;
use uuid::Uuid;

use super::VariableLookup;
use super::{RunOptions, environment_variable, value};
use crate::model::{ExporterEndpoint, ObservabilityConfig, ProcessRole};
use crate::telemetry::otlp::{MetricExport, OtlpEndpoint, OtlpProtocol, OtlpSettings, TraceExport};
use crate::telemetry::tracer::Sampler;

const TIMEOUT: Duration = Duration::from_secs(10);
const DELAY: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_secs(60);
/// The id that tells the replicas of a service apart: one for each process.
static INSTANCE: LazyLock<String> = LazyLock::new(|| Uuid::new_v4().to_string());

/// The flags of traces and metrics.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Telemetry")]
pub struct TelemetryOptions {
    /// Where traces go by OTLP [default: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or
    /// OTEL_EXPORTER_OTLP_ENDPOINT, else as the ConfigMap config-observability says, else nowhere]
    #[arg(long, value_name = "URL", env = "SEALPOST_TRACING_ENDPOINT")]
    pub tracing_endpoint: Option<String>,

    /// http/protobuf or grpc; stdout writes traces to standard output instead, a line of JSON for
    /// each span [default: OTEL_EXPORTER_OTLP_TRACES_PROTOCOL or OTEL_EXPORTER_OTLP_PROTOCOL, else
    /// as the ConfigMap says, else http/protobuf]
    #[arg(long, value_name = "PROTOCOL", env = "SEALPOST_TRACING_PROTOCOL", value_parser = parse_tracing_protocol)]
    pub tracing_protocol: Option<OtlpProtocol>,

    /// Part of the traces that is recorded, 0 to 1; of traces that begin elsewhere those that are
    /// recorded there, and with 1 all [default: OTEL_TRACES_SAMPLER, else as the ConfigMap says,
    /// else parentbased_always_on]
    #[arg(long, value_name = "PART", env = "SEALPOST_TRACING_SAMPLING_RATE", value_parser = value::parse_fraction)]
    pub tracing_sampling_rate: Option<f64>,

    /// Where metrics go by OTLP; they are on the admin port as well [default:
    /// OTEL_EXPORTER_OTLP_METRICS_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT, else as the ConfigMap
    /// says, else nowhere]
    #[arg(long, value_name = "URL", env = "SEALPOST_METRICS_ENDPOINT")]
    pub metrics_endpoint: Option<String>,

    /// http/protobuf or grpc [default: OTEL_EXPORTER_OTLP_METRICS_PROTOCOL or
    /// OTEL_EXPORTER_OTLP_PROTOCOL, else as the ConfigMap says, else http/protobuf]
    #[arg(long, value_name = "PROTOCOL", env = "SEALPOST_METRICS_PROTOCOL", value_parser = parse_protocol)]
    pub metrics_protocol: Option<OtlpProtocol>,

    /// How often metrics go by OTLP [default: OTEL_METRIC_EXPORT_INTERVAL, else as the ConfigMap
    /// says, else PT1M]
    #[arg(long, value_name = "DURATION", env = "SEALPOST_METRICS_EXPORT_INTERVAL", value_parser = value::parse_nonzero_duration)]
    pub metrics_export_interval: Option<Duration>,
}

fn parse_protocol(text: &str) -> Result<OtlpProtocol, String> {
    OtlpProtocol::parse(text).ok_or_else(|| "write http/protobuf or grpc".to_owned())
}

fn parse_tracing_protocol(text: &str) -> Result<OtlpProtocol, String> {
    OtlpProtocol::parse(text).ok_or_else(|| "write http/protobuf, grpc or stdout".to_owned())
}

/// The variable `OTEL_EXPORTER_OTLP_…` that is for both signals.
fn common_variable(what: &str, variable: VariableLookup<'_>) -> Option<String> {
    variable(&format!("OTEL_EXPORTER_OTLP_{what}"))
}

/// The flags and the configuration of one of the two signals, traces and metrics.
struct SignalOptions<'a> {
    /// The name of the signal within variables.
    name: &'static str,
    /// The path of the signal below an endpoint for all signals.
    path: &'static str,
    /// The endpoint of the flag.
    endpoint: Option<&'a str>,
    /// The protocol of the flag.
    protocol: Option<OtlpProtocol>,
    /// The collector that `config-observability` names.
    configured: Option<&'a ExporterEndpoint>,
}

impl RunOptions {
    /// The settings of telemetry, if `config-observability` has this content.
    ///
    /// # Errors
    /// Says what cannot be used, and where it stands; without secrets.
    pub fn telemetry_settings(
        &self,
        configured: &ObservabilityConfig,
    ) -> Result<OtlpSettings, String> {
        self.telemetry_settings_from(configured, &environment_variable)
    }

    fn telemetry_settings_from(
        &self,
        configured: &ObservabilityConfig,
        variable: VariableLookup<'_>,
    ) -> Result<OtlpSettings, String> {
        let resource = self.resource(variable);
        // OpenTelemetry's switch for everything goes before all others.
        if variable("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(OtlpSettings {
                resource,
                ..OtlpSettings::default()
            });
        }
        let flags = &self.telemetry;
        let traces = SignalOptions {
            name: "TRACES",
            path: "v1/traces",
            endpoint: flags.tracing_endpoint.as_deref(),
            protocol: flags.tracing_protocol,
            configured: configured.traces.as_ref(),
        };
        let metrics = SignalOptions {
            name: "METRICS",
            path: "v1/metrics",
            endpoint: flags.metrics_endpoint.as_deref(),
            protocol: flags.metrics_protocol,
            configured: configured.metrics.as_ref(),
        };
        let millis = |name: &str| parse_milliseconds(variable, name);
        let sampler = self.sampler(configured, variable)?;
        let delay = millis("OTEL_BSP_SCHEDULE_DELAY")?.unwrap_or(DELAY);
        let interval = match flags.metrics_export_interval {
            Some(interval) => Some(interval),
            None => millis("OTEL_METRIC_EXPORT_INTERVAL")?.or(configured.metrics_export_interval),
        };
        let interval = interval
            .filter(|interval| !interval.is_zero())
            .unwrap_or(INTERVAL);
        Ok(OtlpSettings {
            traces: traces
                .resolve_endpoint(variable)?
                .map(|endpoint| TraceExport {
                    endpoint,
                    sampler,
                    delay,
                }),
            metrics: metrics
                .resolve_endpoint(variable)?
                .map(|endpoint| MetricExport { endpoint, interval }),
            resource,
        })
    }

    /// The sampler (contract OB-15), by OpenTelemetry's names. Traces that are on without a rate
    /// are recorded; if the ConfigMap switches them on, the default rate is 0.
    fn sampler(
        &self,
        configured: &ObservabilityConfig,
        variable: VariableLookup<'_>,
    ) -> Result<Sampler, String> {
        if let Some(rate) = self.telemetry.tracing_sampling_rate {
            return Ok(Sampler::from_rate(rate));
        }
        let Some(name) = variable("OTEL_TRACES_SAMPLER") else {
            return Ok(match (configured.sampling_rate, &configured.traces) {
                (Some(rate), _) => Sampler::from_rate(rate),
                (None, Some(_)) => Sampler::AlwaysOff,
                (None, None) => Sampler::ParentBased(1.0),
            });
        };
        let part = || {
            let text = variable("OTEL_TRACES_SAMPLER_ARG").unwrap_or_else(|| "1".to_owned());
            value::parse_fraction(&text)
                .map_err(|remedy| format!("OTEL_TRACES_SAMPLER_ARG: {remedy}"))
        };
        Ok(match name.as_str() {
            "always_on" => Sampler::AlwaysOn,
            "always_off" => Sampler::AlwaysOff,
            "traceidratio" => Sampler::TraceIdRatio(part()?),
            "parentbased_always_on" => Sampler::ParentBased(1.0),
            "parentbased_always_off" => Sampler::ParentBased(0.0),
            "parentbased_traceidratio" => Sampler::ParentBased(part()?),
            _ => {
                return Err(format!(
                    "OTEL_TRACES_SAMPLER: {name:?} is no sampler of OpenTelemetry's"
                ));
            }
        })
    }

    /// The resource of all telemetry (contract OB-5); what OpenTelemetry's variables say replaces
    /// what the process knows.
    fn resource(&self, variable: VariableLookup<'_>) -> Resource {
        let role = match self.role() {
            _ if !self.kubernetes => "sealpost",
            ProcessRole::Channel => "inmemorychannel-dispatcher",
            ProcessRole::Ingress => "broker.ingress",
            ProcessRole::Filter => "broker.filter",
        };
        let known = [
            KeyValue::new(SERVICE_NAME, role),
            KeyValue::new(SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
            KeyValue::new(SERVICE_INSTANCE_ID, INSTANCE.clone()),
        ];
        let pod = [
            (K8S_NAMESPACE_NAME, "SYSTEM_NAMESPACE"),
            (K8S_POD_NAME, "POD_NAME"),
        ];
        let pod = pod.into_iter().filter(|_| self.kubernetes);
        let pod = pod.filter_map(|(key, name)| Some(KeyValue::new(key, variable(name)?)));
        let said = parse_pairs(&variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default());
        let said = said
            .into_iter()
            .map(|(key, value)| KeyValue::new(key, value));
        let named = variable("OTEL_SERVICE_NAME").map(|name| KeyValue::new(SERVICE_NAME, name));
        Resource::builder_empty()
            .with_attributes(known.into_iter().chain(pod).chain(said).chain(named))
            .build()
    }
}

impl SignalOptions<'_> {
    /// The endpoint of the signal; `None` if it is not exported.
    fn resolve_endpoint(
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
        let ca = self
            .signal_or_common_variable("CERTIFICATE", variable)
            .map(PathBuf::from)
            .map(|file| {
                std::fs::read_to_string(&file).map_err(|error| {
                    format!(
                        "OTEL_EXPORTER_OTLP_CERTIFICATE: {}: {error}",
                        file.display()
                    )
                })
            });
        let timeout = parse_milliseconds(
            variable,
            &format!("OTEL_EXPORTER_OTLP_{}_TIMEOUT", self.name),
        )?
        .or(parse_milliseconds(variable, "OTEL_EXPORTER_OTLP_TIMEOUT")?)
        .unwrap_or(TIMEOUT);
        Ok(Some(OtlpEndpoint {
            url,
            protocol,
            headers: self.header_fields(variable)?,
            timeout,
            ca: ca.transpose()?,
        }))
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
            (None, Some(text), _) => {
                let otlp = parse_protocol(&text).and_then(|protocol| match protocol {
                    OtlpProtocol::Stdout => {
                        Err("stdout is no OTLP: write http/protobuf or grpc".to_owned())
                    }
                    otlp => Ok(otlp),
                });
                otlp.map_err(|remedy| format!("OTEL_EXPORTER_OTLP_PROTOCOL: {remedy}"))
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
fn parse_pairs(text: &str) -> Vec<(String, String)> {
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

fn parse_milliseconds(
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

#[cfg(test)]
mod tests;
