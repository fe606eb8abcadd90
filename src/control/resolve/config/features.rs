//! Reads flags and annotations: `config-features` (contract 3.1 to 3.3), and texts that Go reads as
//! booleans.

use std::time::Duration;

use serde_json::Value;

use crate::control::read::document::ManifestDocument;
use crate::control::read::manifest::core::ConfigMapManifest;
use crate::control::read::manifest::duck::ObjectMeta;
use crate::control::read::problem::{ObjectName, Problem, Severity};
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::config_maps::{CONFIG_FEATURES, ConfigMapKeys, ConfigMapPlace};
use crate::control::resolve::collect::CollectedObjects;
use crate::control::settings::ControlSettings;
use crate::model::annotation::{ASYNC_HANDLER, DELIVERY_ORDER, HTTP_VERSION, RETAIN, START_AT};
use crate::model::{
    AcknowledgeMode, BackendKind, DeliveryOrder, HistoryPoint, HttpVersions, NamespacedName,
    TransportEncryption, parse_duration,
};

const TRANSPORT_ENCRYPTION: &str = "transport-encryption";

/// The mode that `config-features` asks for, else the last one (contract 3.12a), else `disabled`.
///
/// If the last one is kept, a note says so, since nothing in the manifests explains it then. A
/// value that is not understood opens nothing (contract IF-6, unlike contract 3.3): the last mode
/// stays, and if there was none, no event is taken by plain HTTP. The same holds if an object that
/// is not understood may be `config-features`. In a cluster it holds, too, though controllers go on
/// advertising http: senders are refused, and try again.
pub(crate) fn transport_encryption(
    collected: &mut CollectedObjects<'_>,
    settings: &ControlSettings,
    last: Option<TransportEncryption>,
) -> TransportEncryption {
    let mut mode = last.unwrap_or_default();
    let system_features = NamespacedName::new(&settings.system_namespace, CONFIG_FEATURES);
    if mode != TransportEncryption::default()
        && !collected.config_maps.contains_key(&system_features)
    {
        collected.problems.push(kept_flag_problem(
            TRANSPORT_ENCRYPTION,
            mode.as_str(),
            system_features.clone(),
        ));
    }
    // Before the first mode is known, a document that may be the ConfigMap closes plain HTTP.
    if last.is_none()
        && (!collected.unidentified_with_word(CONFIG_FEATURES).is_empty()
            || collected.is_in_unparsed_text(CONFIG_FEATURES))
    {
        mode = TransportEncryption::Strict;
    }
    let Some(item) = collected.config_maps.get_mut(&system_features) else {
        return mode;
    };
    let safe = last.unwrap_or(TransportEncryption::Strict);
    if let Some(config_map) = &item.object {
        return read_transport_encryption(config_map, safe, &mut item.report);
    }
    if let Some(config_map) = &item.partly {
        read_transport_encryption(config_map, safe, &mut item.report);
    }
    if last.is_some() {
        return mode;
    }
    match WrittenFlag::find_flag(item.report.document(), TRANSPORT_ENCRYPTION) {
        WrittenFlag::Absent => TransportEncryption::default(),
        WrittenFlag::Unclear => TransportEncryption::Strict,
        WrittenFlag::Text(text) => {
            TransportEncryption::parse(text).unwrap_or(TransportEncryption::Strict)
        }
    }
}

/// The value of a flag in a `config-features` that is not understood as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrittenFlag<'d> {
    /// The text of the flag as it is written.
    Text(&'d str),
    /// No key could be about the flag.
    Absent,
    /// A key that is not understood may be about the flag.
    Unclear,
}

impl<'d> WrittenFlag<'d> {
    /// Finds the value of this flag.
    pub(crate) fn find_flag(document: &'d ManifestDocument, flag: &str) -> Self {
        let keys =
            ConfigMapKeys::for_config_map(CONFIG_FEATURES, ConfigMapPlace::SystemNamespace, |_| {
                false
            });
        let data = document.value.get("data").and_then(Value::as_object);
        let (Some(keys), Some(data)) = (keys, data) else {
            return Self::Unclear;
        };
        match data.iter().find(|(key, _)| key.trim() == flag) {
            Some((_, Value::String(text))) => Self::Text(text),
            Some(_) => Self::Unclear,
            None => {
                let may_be_it =
                    |key: &String| keys.suggest_key(key).is_none_or(|meant| meant == flag);
                let unclear = data.keys().any(|key| !keys.has(key) && may_be_it(key));
                if unclear { Self::Unclear } else { Self::Absent }
            }
        }
    }
}

/// Says that a flag of a ConfigMap that is gone stays in force.
pub(super) fn kept_flag_problem(flag: &str, value: &str, config_map: NamespacedName) -> Problem {
    Problem {
        severity: Severity::Note,
        file: None,
        line: None,
        object: Some(ObjectName {
            kind: "ConfigMap".to_owned(),
            namespace: config_map.namespace,
            name: config_map.name,
        }),
        field: format!("data.{flag}"),
        message: format!(
            "is gone, and stays {value} until it is written again or the process starts anew"
        ),
    }
}

fn read_transport_encryption(
    config_map: &ConfigMapManifest,
    safe: TransportEncryption,
    report: &mut ObjectReport<'_>,
) -> TransportEncryption {
    let entry = config_map
        .data
        .iter()
        .flatten()
        .find(|(key, _)| key.trim() == TRANSPORT_ENCRYPTION);
    let Some((key, value)) = entry else {
        return TransportEncryption::default();
    };
    let value = value.as_deref().unwrap_or_default();
    TransportEncryption::parse(value).unwrap_or_else(|| {
        let rule = format!(
            "is no mode, and counts as {} until it is: write disabled, permissive or strict",
            safe.as_str()
        );
        report.error(&format!("data.{key}"), format!("{value:?} {rule}"));
        safe
    })
}

/// The moment at which senders to a channel or Broker get their response (contract FO-1).
pub(crate) fn read_acknowledge_mode(
    metadata: &ObjectMeta,
    report: &mut ObjectReport<'_>,
) -> AcknowledgeMode {
    let Some(text) = metadata.annotation(ASYNC_HANDLER) else {
        return AcknowledgeMode::AfterDelivery;
    };
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => AcknowledgeMode::AfterEnqueue,
        "0" | "f" | "F" | "false" | "FALSE" | "False" => AcknowledgeMode::AfterDelivery,
        _ => {
            let message =
                format!("{text:?} is neither \"true\" nor \"false\", and counts as \"false\"");
            report.warning(&format!("metadata.annotations.{ASYNC_HANDLER}"), message);
            AcknowledgeMode::AfterDelivery
        }
    }
}

/// The time for which a channel or Broker keeps events that were delivered, which only a disk can.
pub(crate) fn read_retention(
    metadata: &ObjectMeta,
    backend: BackendKind,
    report: &mut ObjectReport<'_>,
) -> Option<Duration> {
    let text = metadata.annotation(RETAIN)?;
    let field = format!("metadata.annotations.{RETAIN}");
    let retain = match parse_duration(text) {
        Ok(retain) if !retain.is_zero() => retain,
        Ok(_) | Err(_) => {
            let message = format!("{text:?} is no time: write an ISO 8601 duration such as P7D");
            report.error(&field, message);
            return None;
        }
    };
    if backend != BackendKind::Disk {
        let rule = "so that nothing is retained: make it a DiskChannel, or leave this out";
        let message = format!("its events are kept {}, {rule}", backend.place());
        report.error(&field, message);
    }
    Some(retain)
}

/// The order in which the events of a Subscription or Trigger are delivered.
pub(crate) fn read_delivery_order(report: &mut ObjectReport<'_>) -> DeliveryOrder {
    match report
        .document()
        .written_text(&["metadata", "annotations", DELIVERY_ORDER])
    {
        None | Some("unordered") => DeliveryOrder::Unordered,
        Some("ordered") => DeliveryOrder::Ordered,
        Some(other) => {
            let message = format!("{other:?} is no order: write ordered or unordered");
            report.error(&format!("metadata.annotations.{DELIVERY_ORDER}"), message);
            DeliveryOrder::Unordered
        }
    }
}

/// The versions of HTTP by which the destinations of a Subscription or Trigger are spoken to.
pub(crate) fn read_http_versions(report: &mut ObjectReport<'_>) -> HttpVersions {
    match report
        .document()
        .written_text(&["metadata", "annotations", HTTP_VERSION])
    {
        None | Some("auto") => HttpVersions::Agreed,
        Some("1.1") => HttpVersions::OnlyHttp1,
        Some(other) => {
            let message = format!("{other:?} is no version to choose: write \"1.1\" or auto");
            report.error(&format!("metadata.annotations.{HTTP_VERSION}"), message);
            HttpVersions::Agreed
        }
    }
}

/// The point with which the queue of a Subscription or Trigger begins when it is made, which only a
/// disk can have retained. `parent` is where its channel keeps events, if that is known.
pub(crate) fn read_start_at(
    parent: Option<BackendKind>,
    report: &mut ObjectReport<'_>,
) -> Option<HistoryPoint> {
    let annotations = ["metadata", "annotations", START_AT];
    let text = report.document().written_text(&annotations)?.to_owned();
    let field = format!("metadata.annotations.{START_AT}");
    let read = HistoryPoint::parse(&text);
    let Ok(point @ (HistoryPoint::Earliest | HistoryPoint::Time(_))) = read else {
        let message = format!(
            "{text:?} is no time to begin at: write for example 2026-11-29T10:00:00Z, or earliest"
        );
        report.error(&field, message);
        return None;
    };
    if let Some(backend) = parent.filter(|backend| *backend != BackendKind::Disk) {
        let rule = "so that there is nothing to begin with: make its channel a DiskChannel, or \
             leave this out";
        let message = format!(
            "the events of its channel are kept {}, {rule}",
            backend.place()
        );
        report.error(&field, message);
    }
    Some(point)
}
