//! Where traces and numbers go: flags, else OpenTelemetry's variables, else `config-observability` (contract OB-1 to
//! OB-5).

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use url::Url;
use uuid::Uuid;

use super::{RunOptions, environment, value};
use crate::model::{Export, Observability, Role};
use crate::telemetry::otlp::{Endpoint, Metrics, Protocol, Settings, Traces};
use crate::telemetry::trace::Sampler;

const TIMEOUT: Duration = Duration::from_secs(10);
const DELAY: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_secs(60);
/// What tells the replicas of a service apart: one for each process.
static INSTANCE: LazyLock<String> = LazyLock::new(|| Uuid::new_v4().to_string());

/// The flags of traces and metrics.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Telemetry")]
pub struct TelemetryOptions {
    /// Where traces go by OTLP [default: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT, else as the
    /// ConfigMap config-observability says, else nowhere]
    #[arg(long, value_name = "URL", env = "SEALPOST_TRACING_ENDPOINT")]
    pub tracing_endpoint: Option<String>,

    /// http/protobuf or grpc; stdout writes traces to standard output instead, a line of JSON for each span [default: OTEL_EXPORTER_OTLP_TRACES_PROTOCOL or OTEL_EXPORTER_OTLP_PROTOCOL, else as the
    /// ConfigMap says, else http/protobuf]
    #[arg(long, value_name = "PROTOCOL", env = "SEALPOST_TRACING_PROTOCOL", value_parser = tracing_protocol)]
    pub tracing_protocol: Option<Protocol>,

    /// Part of the traces that is recorded, 0 to 1; of traces that begin elsewhere those that are recorded there, and with
    /// 1 all [default: OTEL_TRACES_SAMPLER, else as the ConfigMap says, else parentbased_always_on]
    #[arg(long, value_name = "PART", env = "SEALPOST_TRACING_SAMPLING_RATE", value_parser = value::part)]
    pub tracing_sampling_rate: Option<f64>,

    /// Where metrics go by OTLP; they are on the admin port as well [default: OTEL_EXPORTER_OTLP_METRICS_ENDPOINT or
    /// OTEL_EXPORTER_OTLP_ENDPOINT, else as the ConfigMap says, else nowhere]
    #[arg(long, value_name = "URL", env = "SEALPOST_METRICS_ENDPOINT")]
    pub metrics_endpoint: Option<String>,

    /// http/protobuf or grpc [default: OTEL_EXPORTER_OTLP_METRICS_PROTOCOL or OTEL_EXPORTER_OTLP_PROTOCOL, else as the
    /// ConfigMap says, else http/protobuf]
    #[arg(long, value_name = "PROTOCOL", env = "SEALPOST_METRICS_PROTOCOL", value_parser = protocol)]
    pub metrics_protocol: Option<Protocol>,

    /// How often metrics go by OTLP [default: OTEL_METRIC_EXPORT_INTERVAL, else as the ConfigMap says, else PT1M]
    #[arg(long, value_name = "DURATION", env = "SEALPOST_METRICS_EXPORT_INTERVAL", value_parser = value::some_duration)]
    pub metrics_export_interval: Option<Duration>,
}

fn protocol(text: &str) -> Result<Protocol, String> {
    Protocol::parse(text).ok_or_else(|| "write http/protobuf or grpc".to_owned())
}

fn tracing_protocol(text: &str) -> Result<Protocol, String> {
    Protocol::parse(text).ok_or_else(|| "write http/protobuf, grpc or stdout".to_owned())
}

/// Looks up a variable.
type Variable<'v> = &'v dyn Fn(&str) -> Option<String>;

/// The variable for both kinds.
fn common(what: &str, variable: Variable<'_>) -> Option<String> {
    variable(&format!("OTEL_EXPORTER_OTLP_{what}"))
}

/// One of the two kinds of what leaves.
struct Signal<'a> {
    /// As variables spell it.
    name: &'static str,
    path: &'static str,
    endpoint: Option<&'a str>,
    protocol: Option<Protocol>,
    configured: Option<&'a Export>,
}

impl RunOptions {
    /// What leaves the process, where `config-observability` says this.
    ///
    /// # Errors
    /// What cannot be used, and where it stands; without secrets.
    pub fn telemetry(&self, configured: &Observability) -> Result<Settings, String> {
        self.telemetry_by(configured, &environment)
    }

    fn telemetry_by(&self, configured: &Observability, variable: Variable<'_>) -> Result<Settings, String> {
        let resource = self.resource(variable);
        if variable("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(Settings { resource, ..Settings::default() });
        }
        let flags = &self.telemetry;
        let traces = Signal {
            name: "TRACES",
            path: "v1/traces",
            endpoint: flags.tracing_endpoint.as_deref(),
            protocol: flags.tracing_protocol,
            configured: configured.traces.as_ref(),
        };
        let metrics = Signal {
            name: "METRICS",
            path: "v1/metrics",
            endpoint: flags.metrics_endpoint.as_deref(),
            protocol: flags.metrics_protocol,
            configured: configured.metrics.as_ref(),
        };
        let millis = |name: &str| millis(variable, name);
        let sampler = self.sampler(configured, variable)?;
        let delay = millis("OTEL_BSP_SCHEDULE_DELAY")?.unwrap_or(DELAY);
        let interval = match flags.metrics_export_interval {
            Some(interval) => Some(interval),
            None => millis("OTEL_METRIC_EXPORT_INTERVAL")?.or(configured.interval),
        };
        let interval = interval.filter(|interval| !interval.is_zero()).unwrap_or(INTERVAL);
        Ok(Settings {
            traces: traces.endpoint(variable)?.map(|endpoint| Traces { endpoint, sampler, delay }),
            metrics: metrics.endpoint(variable)?.map(|endpoint| Metrics { endpoint, interval }),
            resource,
        })
    }

    /// Contract OB-15, and OpenTelemetry's names. What is on without a rate is recorded; by the ConfigMap, a rate of
    /// 0 is the default.
    fn sampler(&self, configured: &Observability, variable: Variable<'_>) -> Result<Sampler, String> {
        if let Some(rate) = self.telemetry.tracing_sampling_rate {
            return Ok(Sampler::by_rate(rate));
        }
        let Some(name) = variable("OTEL_TRACES_SAMPLER") else {
            return Ok(match (configured.sampling_rate, &configured.traces) {
                (Some(rate), _) => Sampler::by_rate(rate),
                (None, Some(_)) => Sampler::Never,
                (None, None) => Sampler::ParentBased(1.0),
            });
        };
        let part = || {
            let text = variable("OTEL_TRACES_SAMPLER_ARG").unwrap_or_else(|| "1".to_owned());
            value::part(&text).map_err(|remedy| format!("OTEL_TRACES_SAMPLER_ARG: {remedy}"))
        };
        Ok(match name.as_str() {
            "always_on" => Sampler::Always,
            "always_off" => Sampler::Never,
            "traceidratio" => Sampler::Ratio(part()?),
            "parentbased_always_on" => Sampler::ParentBased(1.0),
            "parentbased_always_off" => Sampler::ParentBased(0.0),
            "parentbased_traceidratio" => Sampler::ParentBased(part()?),
            _ => return Err(format!("OTEL_TRACES_SAMPLER: {name:?} is no sampler of OpenTelemetry's")),
        })
    }

    /// Contract OB-5.
    fn resource(&self, variable: Variable<'_>) -> Vec<(String, String)> {
        let role = match self.role() {
            _ if !self.kubernetes => "sealpost",
            Role::Channel => "inmemorychannel-dispatcher",
            Role::Ingress => "broker.ingress",
            Role::Filter => "broker.filter",
        };
        let mut known = vec![
            ("service.name".to_owned(), role.to_owned()),
            ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id".to_owned(), INSTANCE.clone()),
        ];
        let names = [("k8s.namespace.name", "SYSTEM_NAMESPACE"), ("k8s.pod.name", "POD_NAME")];
        for (key, name) in names.into_iter().filter(|_| self.kubernetes) {
            known.extend(variable(name).map(|value| (key.to_owned(), value)));
        }
        let said = pairs(&variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default());
        let named = variable("OTEL_SERVICE_NAME").map(|name| ("service.name".to_owned(), name));
        for (key, value) in said.into_iter().chain(named) {
            known.retain(|(known, _)| *known != key);
            known.push((key, value));
        }
        known
    }
}

impl Signal<'_> {
    /// Where it goes; `None` if it stays.
    fn endpoint(&self, variable: Variable<'_>) -> Result<Option<Endpoint>, String> {
        let off = variable(&format!("OTEL_{}_EXPORTER", self.name)).is_some_and(|exporter| exporter == "none");
        if self.endpoint.is_none() && off {
            return Ok(None);
        }
        let protocol = self.spoken(variable)?;
        if protocol == Protocol::Stdout {
            return self.stdout().map(Some);
        }
        let Some(url) = self.address(protocol, variable)? else { return Ok(None) };
        let ca = self.either("CERTIFICATE", variable).map(PathBuf::from).map(|file| {
            std::fs::read_to_string(&file)
                .map_err(|error| format!("OTEL_EXPORTER_OTLP_CERTIFICATE: {}: {error}", file.display()))
        });
        let timeout = millis(variable, &format!("OTEL_EXPORTER_OTLP_{}_TIMEOUT", self.name))?
            .or(millis(variable, "OTEL_EXPORTER_OTLP_TIMEOUT")?)
            .unwrap_or(TIMEOUT);
        Ok(Some(Endpoint { url, protocol, headers: self.headers(variable)?, timeout, ca: ca.transpose()? }))
    }

    /// The variable for this kind alone.
    fn own(&self, what: &str, variable: Variable<'_>) -> Option<String> {
        variable(&format!("OTEL_EXPORTER_OTLP_{}_{what}", self.name))
    }

    /// The variable for this kind alone, else that for both.
    fn either(&self, what: &str, variable: Variable<'_>) -> Option<String> {
        self.own(what, variable).or_else(|| common(what, variable))
    }

    /// How it is sent.
    fn spoken(&self, variable: Variable<'_>) -> Result<Protocol, String> {
        match (self.protocol, self.either("PROTOCOL", variable), self.configured) {
            (Some(protocol), ..) => Ok(protocol),
            (None, Some(text), _) => {
                let otlp = protocol(&text).and_then(|protocol| match protocol {
                    Protocol::Stdout => Err("stdout is no OTLP: write http/protobuf or grpc".to_owned()),
                    otlp => Ok(otlp),
                });
                otlp.map_err(|remedy| format!("OTEL_EXPORTER_OTLP_PROTOCOL: {remedy}"))
            }
            (None, None, Some(export)) => protocol(&export.protocol),
            (None, None, None) => Ok(Protocol::default()),
        }
    }

    /// The collector's URL, if anything says one.
    fn address(&self, protocol: Protocol, variable: Variable<'_>) -> Result<Option<Url>, String> {
        let written = self.endpoint.map(str::to_owned).or_else(|| self.own("ENDPOINT", variable));
        let configured = || self.configured.map(|export| export.endpoint.clone());
        match (written, common("ENDPOINT", variable)) {
            (Some(url), _) => self.url(&url, protocol).map(Some),
            (None, Some(base)) => self.below(&base, protocol).map(Some),
            (None, None) => configured().map(|url| self.url(&url, protocol)).transpose(),
        }
    }

    /// What is sent with each request: for both kinds, then for this one.
    fn headers(&self, variable: Variable<'_>) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let texts = [common("HEADERS", variable), self.own("HEADERS", variable)];
        for (name, value) in texts.into_iter().flatten().flat_map(|text| pairs(&text)) {
            let bad = || "OTEL_EXPORTER_OTLP_HEADERS: write name=value,name=value".to_owned();
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_name| bad())?;
            let mut value = HeaderValue::from_str(&value).map_err(|_value| bad())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
    }

    /// Only traces are written there.
    fn stdout(&self) -> Result<Endpoint, String> {
        if self.name != "TRACES" {
            return Err(
                "metrics are not written to standard output: name a collector, or read them from the admin port"
                    .to_owned(),
            );
        }
        let url = Url::parse("stdout:").map_err(|error| error.to_string())?;
        Ok(Endpoint { url, protocol: Protocol::Stdout, headers: HeaderMap::new(), timeout: TIMEOUT, ca: None })
    }

    /// An endpoint of its own: as it is, or the usual path where it has none.
    fn url(&self, text: &str, protocol: Protocol) -> Result<Url, String> {
        let mut url = absolute(text)?;
        if protocol == Protocol::HttpProtobuf && matches!(url.path(), "" | "/") {
            url.set_path(&format!("/{}", self.path));
        }
        Ok(url)
    }

    /// The endpoint of all kinds, each of which has a path below it.
    fn below(&self, text: &str, protocol: Protocol) -> Result<Url, String> {
        let mut url = absolute(text)?;
        if protocol == Protocol::HttpProtobuf {
            let path = format!("{}/{}", url.path().trim_end_matches('/'), self.path);
            url.set_path(&path);
        }
        Ok(url)
    }
}

/// A URL; a host and a port alone are meant to be HTTPS (contract OB-3).
fn absolute(text: &str) -> Result<Url, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    // The text may hold a password.
    let url = Url::parse(&whole).map_err(|error| format!("the endpoint of a collector is no URL: {error}"))?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err("the endpoint of a collector is neither http nor https".to_owned())
    }
}

/// `name=value,name=value`, percent-encoded.
fn pairs(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8_lossy().into_owned();
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn millis(variable: Variable<'_>, name: &str) -> Result<Option<Duration>, String> {
    let Some(text) = variable(name) else { return Ok(None) };
    let millis = text.parse::<u64>().map_err(|_text| format!("{name}: write milliseconds, such as 5000"))?;
    Ok(Some(Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests;
