//! Reads the collectors of traces and metrics from `config-observability` (contract 3.7, OB-1). A
//! value that is not understood switches off the signal that it is about, while upstream does not
//! start with one; a mistake in the object keeps its last good form.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::control::read::go_duration::parse_go_duration;
use crate::control::read::manifest::core::ConfigMapManifest;
use crate::control::read::manifest::duck;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::{CollectedItem, CollectedItems};
use crate::control::settings::ControlSettings;
use crate::model::{ExporterEndpoint, NamespacedName, ObservabilityConfig, parse_collector_url};

/// The data of a ConfigMap, in which Kubernetes allows null values.
type ConfigMapData = Option<BTreeMap<String, Option<String>>>;

/// Reads the ConfigMap; without it, nothing is exported. `last` is its form in use until now.
pub(crate) fn resolve(
    config_maps: &mut CollectedItems<'_, ConfigMapManifest>,
    settings: &ControlSettings,
    last: Option<&ObservabilityConfig>,
) -> ObservabilityConfig {
    let name = NamespacedName::new(&settings.system_namespace, &settings.config_observability);
    let Some(item) = config_maps.get_mut(&name) else {
        return ObservabilityConfig::default();
    };
    let CollectedItem {
        object,
        partly,
        report,
    } = item;
    let last = || last.cloned().unwrap_or_default();
    let Some(config_map) = object.as_ref().or(partly.as_ref()) else {
        return last();
    };
    let data = &config_map.data;
    let wanted = ObservabilityConfig {
        traces: read_exporter_endpoint(data, "tracing", &["none"], report),
        sampling_rate: read_sampling_rate(data, report),
        metrics: read_exporter_endpoint(data, "metrics", &["none", "prometheus"], report),
        metrics_export_interval: read_export_interval(data, report),
    };
    if object.is_some() && !report.has_errors() {
        wanted
    } else {
        last()
    }
}

/// The collector of one signal; `here` are the protocols that need no collector.
fn read_exporter_endpoint(
    data: &ConfigMapData,
    kind: &str,
    here: &[&str],
    report: &mut ObjectReport<'_>,
) -> Option<ExporterEndpoint> {
    let (key, place) = (format!("{kind}-protocol"), format!("{kind}-endpoint"));
    let text = |key| duck::text(data, key).filter(|text: &&str| !text.is_empty());
    let endpoint = text(&place);
    let Some(protocol) = text(&key) else {
        return endpoint_without_protocol(endpoint?, &key, &place, report);
    };
    if here.contains(&protocol) {
        return None;
    }
    let is_known = matches!(
        (kind, protocol),
        (_, "http/protobuf" | "grpc") | ("tracing", "stdout")
    );
    if !is_known {
        let others = if kind == "tracing" {
            "stdout"
        } else {
            "prometheus"
        };
        let rule = format!(
            "is no protocol that is spoken here, so that nothing is sent: write http/protobuf, \
             grpc, {others} or none"
        );
        report.warning(&format!("data.{key}"), format!("{protocol:?} {rule}"));
        return None;
    }
    let endpoint = endpoint.unwrap_or_default();
    if protocol != "stdout" {
        check_collector_url(endpoint, &key, &place, report)?;
    }
    Some(ExporterEndpoint {
        protocol: protocol.to_owned(),
        endpoint: endpoint.to_owned(),
    })
}

/// The collector that has no protocol: upstream sends it nothing, so that its protocol is for a flag
/// or a variable to name.
fn endpoint_without_protocol(
    endpoint: &str,
    protocol_key: &str,
    endpoint_key: &str,
    report: &mut ObjectReport<'_>,
) -> Option<ExporterEndpoint> {
    let rule = format!(
        "needs {protocol_key}: http/protobuf or grpc: without it nothing is sent there, unless a \
         flag or OTEL_EXPORTER_OTLP_PROTOCOL names the protocol"
    );
    report.warning(&format!("data.{endpoint_key}"), rule);
    check_collector_url(endpoint, protocol_key, endpoint_key, report)?;
    Some(ExporterEndpoint {
        protocol: String::new(),
        endpoint: endpoint.to_owned(),
    })
}

/// Reports an endpoint that cannot be used; `None` if nothing is sent because of it.
fn check_collector_url(
    endpoint: &str,
    protocol_key: &str,
    endpoint_key: &str,
    report: &mut ObjectReport<'_>,
) -> Option<()> {
    if endpoint.is_empty() {
        let rule = format!(
            "needs {endpoint_key}, such as http://collector:4318: without it nothing is sent, \
             unless a flag or OTEL_EXPORTER_OTLP_ENDPOINT names a collector"
        );
        report.warning(&format!("data.{protocol_key}"), rule);
        return Some(());
    }
    let Err(error) = parse_collector_url(endpoint) else {
        return Some(());
    };
    let rule = format!("{error}, so that nothing is sent: write http://host:port");
    report.warning(&format!("data.{endpoint_key}"), rule);
    None
}

fn read_sampling_rate(data: &ConfigMapData, report: &mut ObjectReport<'_>) -> Option<f64> {
    let text = duck::text(data, "tracing-sampling-rate").filter(|text| !text.is_empty())?;
    let rate = text
        .parse::<f64>()
        .ok()
        .filter(|rate| (0.0..=1.0).contains(rate));
    if rate.is_none() {
        report.warning(
            "data.tracing-sampling-rate",
            format!("{text:?} is no number from 0 to 1, and counts as 0"),
        );
    }
    rate
}

fn read_export_interval(data: &ConfigMapData, report: &mut ObjectReport<'_>) -> Option<Duration> {
    let text = duck::text(data, "metrics-export-interval").filter(|text| !text.is_empty())?;
    let interval = parse_go_duration(text);
    if interval.is_none() {
        report.warning(
            "data.metrics-export-interval",
            format!("{text:?} is no duration, such as 30s: it is 60s"),
        );
    }
    interval.filter(|interval| !interval.is_zero())
}
