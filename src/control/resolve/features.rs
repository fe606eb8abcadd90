//! Flags and annotations: `config-features` (control-plane.md 3.1 to 3.3), and texts that Go reads as booleans.

use super::collect::{Collected, Name};
use crate::control::manifest::config::ConfigMap;
use crate::control::manifest::duck::Metadata;
use crate::control::report::Report;
use crate::control::{ObjectName, Problem, Settings, Severity};
use crate::model::annotation::{ASYNC_HANDLER, DELIVERY_ORDER, HTTP_VERSION};
use crate::model::{Acknowledge, HttpVersions, Order, TransportEncryption};

pub(super) const CONFIG_FEATURES: &str = "config-features";
const TRANSPORT_ENCRYPTION: &str = "transport-encryption";

/// The mode that `config-features` says, else the one until now (control-plane.md 3.12a), else `disabled`.
///
/// The latter is said by a note, since nothing in the manifests explains it then.
///
/// An unknown value opens both listeners, as upstream does: with it, neither senders nor tests of a migration fail.
pub(super) fn transport_encryption(
    collected: &mut Collected<'_>,
    settings: &Settings,
    last: Option<TransportEncryption>,
) -> TransportEncryption {
    let mut mode = last.unwrap_or_default();
    let system_features = (settings.system_namespace.clone(), CONFIG_FEATURES.to_owned());
    if mode != TransportEncryption::default() && !collected.config_maps.contains_key(&system_features) {
        collected.problems.push(kept(mode, system_features));
    }
    let config_maps = &mut collected.config_maps;
    for ((namespace, _), item) in config_maps.iter_mut().filter(|((_, name), _)| name == CONFIG_FEATURES) {
        if *namespace != settings.system_namespace {
            let system = &settings.system_namespace;
            item.report.note("metadata.namespace", format!("counts in the namespace {system} only: it is ignored"));
        } else if let Some(config_map) = &item.object {
            mode = written(config_map, &mut item.report);
        }
    }
    mode
}

fn kept(mode: TransportEncryption, (namespace, name): Name) -> Problem {
    let mode = mode.as_str();
    Problem {
        severity: Severity::Note,
        file: None,
        line: None,
        object: Some(ObjectName { kind: "ConfigMap".to_owned(), namespace, name }),
        field: format!("data.{TRANSPORT_ENCRYPTION}"),
        message: format!("is gone, and stays {mode} until it is written again or the process starts anew"),
    }
}

fn written(config_map: &ConfigMap, report: &mut Report<'_>) -> TransportEncryption {
    let entry = config_map.data.iter().flatten().find(|(key, _)| key.trim() == TRANSPORT_ENCRYPTION);
    let Some((key, value)) = entry else {
        return TransportEncryption::default();
    };
    let value = value.as_deref().unwrap_or_default();
    TransportEncryption::parse(value).unwrap_or_else(|| {
        let rule = "is no mode, so that HTTP and HTTPS are both open: write disabled, permissive or strict";
        report.error(&format!("data.{key}"), format!("{value:?} {rule}"));
        TransportEncryption::Permissive
    })
}

/// When senders to a channel or broker get their answer (data-plane.md FO-1).
pub(super) fn acknowledge(metadata: &Metadata, report: &mut Report<'_>) -> Acknowledge {
    let Some(text) = metadata.annotation(ASYNC_HANDLER) else {
        return Acknowledge::AfterDelivery;
    };
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Acknowledge::AfterEnqueue,
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Acknowledge::AfterDelivery,
        _ => {
            let message = format!("{text:?} is neither \"true\" nor \"false\", and counts as \"false\"");
            report.warning(&format!("metadata.annotations.{ASYNC_HANDLER}"), message);
            Acknowledge::AfterDelivery
        }
    }
}

/// Whether the events of a Subscription or Trigger wait for those before them.
pub(super) fn order(report: &mut Report<'_>) -> Order {
    match report.document().text(&["metadata", "annotations", DELIVERY_ORDER]) {
        None | Some("unordered") => Order::Unordered,
        Some("ordered") => Order::Ordered,
        Some(other) => {
            let message = format!("{other:?} is no order: write ordered or unordered");
            report.error(&format!("metadata.annotations.{DELIVERY_ORDER}"), message);
            Order::Unordered
        }
    }
}

/// By which versions of HTTP the destinations of a Subscription or Trigger are spoken to.
pub(super) fn http_versions(report: &mut Report<'_>) -> HttpVersions {
    match report.document().text(&["metadata", "annotations", HTTP_VERSION]) {
        None | Some("auto") => HttpVersions::Agreed,
        Some("1.1") => HttpVersions::OnlyHttp1,
        Some(other) => {
            let message = format!("{other:?} is no version to choose: write \"1.1\" or auto");
            report.error(&format!("metadata.annotations.{HTTP_VERSION}"), message);
            HttpVersions::Agreed
        }
    }
}
