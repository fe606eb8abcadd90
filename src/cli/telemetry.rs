//! The collectors of traces and metrics: those of flags, else of OpenTelemetry's variables, else of
//! `config-observability` (contract OB-1 to OB-5).

mod signal;

use std::sync::LazyLock;
use std::time::Duration;

use clap::Args;
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_semantic_conventions::resource::{
    K8S_NAMESPACE_NAME, K8S_POD_NAME, SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION,
};
use uuid::Uuid;

use super::VariableLookup;
use super::{RunOptions, environment_variable, value};
use crate::control::{ControlTask, ObjectSource};
use crate::model::ObservabilityConfig;
use crate::telemetry::otlp::{MetricExport, OtlpProtocol, OtlpSettings, TraceExport};
use crate::telemetry::tracer::Sampler;
use signal::{SignalOptions, parse_milliseconds, parse_pairs};

const DELAY: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_secs(60);
/// The id that tells the replicas of a service apart: one for each process.
static INSTANCE: LazyLock<String> = LazyLock::new(|| Uuid::new_v4().to_string());

/// The resource attributes of a pod, each with the variable that holds it.
const POD_ATTRIBUTES: [(&str, &str); 2] = [
    (K8S_NAMESPACE_NAME, "SYSTEM_NAMESPACE"),
    (K8S_POD_NAME, "POD_NAME"),
];

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

impl RunOptions {
    /// The settings of telemetry, if `config-observability` has this content.
    ///
    /// # Errors
    /// Says what cannot be used, and where it stands; without secrets.
    pub(crate) fn telemetry_settings(
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
        let resource = self.resource(variable)?;
        if is_disabled(variable)? {
            return Ok(OtlpSettings {
                resource,
                ..OtlpSettings::default()
            });
        }
        let (traces, metrics) = (
            self.trace_options(configured),
            self.metric_options(configured),
        );
        let sampler = self.sampler(configured, variable)?;
        let delay = parse_milliseconds(variable, "OTEL_BSP_SCHEDULE_DELAY")?.unwrap_or(DELAY);
        let interval = self.metrics_interval(configured, variable)?;
        let traces = traces.resolve_endpoint(variable)?;
        let metrics = metrics.resolve_endpoint(variable)?;
        let traces = traces.map(|endpoint| TraceExport {
            endpoint,
            sampler,
            delay,
        });
        let metrics = metrics.map(|endpoint| MetricExport { endpoint, interval });
        Ok(OtlpSettings {
            traces,
            metrics,
            resource,
        })
    }

    fn trace_options<'a>(&'a self, configured: &'a ObservabilityConfig) -> SignalOptions<'a> {
        SignalOptions {
            name: "TRACES",
            path: "v1/traces",
            flag: "--tracing-endpoint",
            endpoint: self.telemetry.tracing_endpoint.as_deref(),
            protocol: self.telemetry.tracing_protocol,
            configured: configured.traces.as_ref(),
        }
    }

    fn metric_options<'a>(&'a self, configured: &'a ObservabilityConfig) -> SignalOptions<'a> {
        SignalOptions {
            name: "METRICS",
            path: "v1/metrics",
            flag: "--metrics-endpoint",
            endpoint: self.telemetry.metrics_endpoint.as_deref(),
            protocol: self.telemetry.metrics_protocol,
            configured: configured.metrics.as_ref(),
        }
    }

    fn metrics_interval(
        &self,
        configured: &ObservabilityConfig,
        variable: VariableLookup<'_>,
    ) -> Result<Duration, String> {
        let interval = match self.telemetry.metrics_export_interval {
            Some(interval) => Some(interval),
            None => parse_milliseconds(variable, "OTEL_METRIC_EXPORT_INTERVAL")?
                .or(configured.metrics_export_interval),
        };
        Ok(interval
            .filter(|interval| !interval.is_zero())
            .unwrap_or(INTERVAL))
    }

    /// The sampler (contract OB-15), by OpenTelemetry's names. Without a rate, traces that a flag or
    /// a variable switches on are recorded; if the ConfigMap does, the default rate is 0.
    fn sampler(
        &self,
        configured: &ObservabilityConfig,
        variable: VariableLookup<'_>,
    ) -> Result<Sampler, String> {
        if let Some(rate) = self.telemetry.tracing_sampling_rate {
            return Ok(Sampler::from_rate(rate));
        }
        let Some(name) = variable("OTEL_TRACES_SAMPLER") else {
            let traces = self.trace_options(configured);
            return Ok(match configured.sampling_rate {
                Some(rate) => Sampler::from_rate(rate),
                None if traces.is_switched_on(variable)? => Sampler::ParentBased(1.0),
                None => Sampler::AlwaysOff,
            });
        };
        sampler_of_name(&name, variable)
    }

    /// The resource of all telemetry (contract OB-5); what OpenTelemetry's variables say replaces
    /// what the process knows.
    fn resource(&self, variable: VariableLookup<'_>) -> Result<Resource, String> {
        let service = match self.task() {
            ControlTask::ServeChannels { .. } | ControlTask::ReconcileChannels(_) => {
                "inmemorychannel-dispatcher"
            }
            ControlTask::RelayBrokers(ObjectSource::Reconciled) => "broker.ingress",
            ControlTask::RelayTriggers(ObjectSource::Reconciled) => "broker.filter",
            ControlTask::ServeManifests
            | ControlTask::RelayBrokers(ObjectSource::Written)
            | ControlTask::RelayTriggers(ObjectSource::Written) => "sealpost",
        };
        let known = [
            KeyValue::new(SERVICE_NAME, service),
            KeyValue::new(SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
            KeyValue::new(SERVICE_INSTANCE_ID, INSTANCE.clone()),
        ];
        let pod = POD_ATTRIBUTES.into_iter().filter(|_| self.kubernetes);
        let pod = pod.filter_map(|(key, name)| Some(KeyValue::new(key, variable(name)?)));
        let said = resource_attributes(variable)?;
        let named = variable("OTEL_SERVICE_NAME").map(|name| KeyValue::new(SERVICE_NAME, name));
        Ok(Resource::builder_empty()
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_attributes(known.into_iter().chain(pod).chain(said).chain(named))
            .build())
    }
}

/// The attributes that `OTEL_RESOURCE_ATTRIBUTES` names.
fn resource_attributes(variable: VariableLookup<'_>) -> Result<Vec<KeyValue>, String> {
    const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let text = variable(NAME).unwrap_or_default();
    let pairs = parse_pairs(&text).map_err(|remedy| format!("{NAME}: {remedy}"))?;
    let attribute = |(key, value)| KeyValue::new::<String, String>(key, value);
    Ok(pairs.into_iter().map(attribute).collect())
}

/// True if OpenTelemetry's switch for everything is off; it goes before all others.
fn is_disabled(variable: VariableLookup<'_>) -> Result<bool, String> {
    match variable("OTEL_SDK_DISABLED") {
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(text) if !text.eq_ignore_ascii_case("false") => {
            Err("OTEL_SDK_DISABLED: write true or false".to_owned())
        }
        _ => Ok(false),
    }
}

/// The sampler of this name of OpenTelemetry's, with the argument of its own variable.
fn sampler_of_name(name: &str, variable: VariableLookup<'_>) -> Result<Sampler, String> {
    let part = || {
        let text = variable("OTEL_TRACES_SAMPLER_ARG").unwrap_or_else(|| "1".to_owned());
        value::parse_fraction(&text).map_err(|remedy| format!("OTEL_TRACES_SAMPLER_ARG: {remedy}"))
    };
    Ok(match &*name.to_ascii_lowercase() {
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

#[cfg(test)]
mod tests;
