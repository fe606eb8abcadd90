//! The status that a channel should have (contract 1.16, 4, 11.8): pure, and apart from the
//! writing. `status.subscribers` belongs to the dispatcher, and is never part of it.

use serde_json::{Map, Value, json};

use super::conditions::{self, DesiredCondition};
use super::context::{ObservedCertificate, ObservedEndpoints, ReconcileContext};
use super::dead_letter_sink::ResolvedDeadLetterSink;
use super::policies::ChannelPolicies;
use crate::model::TransportEncryption;

/// The facts that were found out about one channel.
#[derive(Clone, Debug)]
pub(super) struct ObservedChannel {
    /// The name of its Service, or the reason why it has none.
    pub(super) service: Result<String, String>,
    /// The address of its dead letter sink; `None` if it has none; or the reason why the address
    /// is not known.
    pub(super) dead_letter_sink: Result<Option<ResolvedDeadLetterSink>, String>,
    pub(super) policies: ChannelPolicies,
}

/// The fields of the status; a field that should not exist is null. Fields that are not named stay
/// as they are.
pub(super) fn desired_status(
    channel: &Value,
    context: &ReconcileContext,
    observed: &ObservedChannel,
    now: &str,
) -> Map<String, Value> {
    let mut status = Map::new();
    let addresses = desired_addresses(channel, context, observed);
    let wanted = desired_conditions(&addresses, context, observed);
    if let Ok(addresses) = addresses {
        // `status.address` is the http address if there are both, as upstream.
        status.insert(
            "address".to_owned(),
            addresses.last().cloned().unwrap_or_default(),
        );
        status.insert("addresses".to_owned(), Value::Array(addresses));
    }
    // While the sink is not known, the last address stays in the status.
    if let Ok(sink) = &observed.dead_letter_sink {
        status.extend(dead_letter_sink_fields(sink.as_ref()));
    }
    status.insert("policies".to_owned(), observed.policies.status_value());
    // Conditions that have not changed keep their times.
    let before = channel
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let before = before.map(Vec::as_slice).unwrap_or_default();
    status.insert(
        "conditions".to_owned(),
        conditions::status_conditions(wanted, before, now),
    );
    let generation = channel
        .pointer("/metadata/generation")
        .cloned()
        .unwrap_or_default();
    status.insert("observedGeneration".to_owned(), generation);
    status
}

fn desired_conditions(
    addresses: &Result<Vec<Value>, NotAddressable>,
    context: &ReconcileContext,
    observed: &ObservedChannel,
) -> Vec<DesiredCondition> {
    let mut wanted = vec![
        addressable_condition(addresses),
        match &observed.service {
            Ok(_) => DesiredCondition::new_true("ChannelServiceReady"),
            Err(why) => {
                DesiredCondition::new_false("ChannelServiceReady", "ChannelServiceFailed", why)
            }
        },
        dead_letter_sink_condition(&observed.dead_letter_sink),
        endpoints_condition(context.endpoints),
        observed.policies.condition(),
    ];
    // `Ready` sums up all other conditions, so that it is added last.
    wanted.push(conditions::ready_condition(&wanted));
    wanted
}

/// The fields of the dead letter sink, which are null if there is none.
fn dead_letter_sink_fields(sink: Option<&ResolvedDeadLetterSink>) -> [(String, Value); 3] {
    let text = |text: Option<&String>| text.map_or(Value::Null, |text| text.as_str().into());
    [
        ("deadLetterSinkUri", text(sink.map(|sink| &sink.uri))),
        (
            "deadLetterSinkCACerts",
            text(sink.and_then(|sink| sink.ca_certs.as_ref())),
        ),
        (
            "deadLetterSinkAudience",
            text(sink.and_then(|sink| sink.audience.as_ref())),
        ),
    ]
    .map(|(field, value)| (field.to_owned(), value))
}

/// A merge patch of the fields that differ from the desired ones; `None` if none differs.
pub(super) fn status_patch(channel: &Value, desired: Map<String, Value>) -> Option<Value> {
    let written = |field: &str| {
        channel
            .get("status")
            .and_then(|status| status.get(field))
            .unwrap_or(&Value::Null)
    };
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    let differs = |(field, value): &(String, Value)| {
        let written = written(field);
        *written != *value && !(is_empty(written) && is_empty(value))
    };
    let changed: Map<String, Value> = desired.into_iter().filter(differs).collect();
    if changed.is_empty() {
        return None;
    }
    let whole = |(field, value): (String, Value)| {
        let value = with_removed_fields(written(&field), value);
        (field, value)
    };
    Some(json!({"status": changed.into_iter().map(whole).collect::<Map<_, _>>()}))
}

/// Adds a null for each field of the written object that is not part of the value: a merge patch
/// keeps fields that it does not name.
fn with_removed_fields(written: &Value, mut value: Value) -> Value {
    if let (Some(written), Some(value)) = (written.as_object(), value.as_object_mut()) {
        for field in written.keys() {
            value.entry(field.clone()).or_insert(Value::Null);
        }
    }
    value
}

/// The reason why a channel has no address.
struct NotAddressable {
    reason: &'static str,
    message: String,
}

/// The addresses for the mode, https first (4). Without a Service there is no http address.
fn desired_addresses(
    channel: &Value,
    context: &ReconcileContext,
    observed: &ObservedChannel,
) -> Result<Vec<Value>, NotAddressable> {
    let text = |path: &str| {
        channel
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let http = || http_address(namespace, context, observed);
    let https = || https_address(namespace, name, context);
    let mut addresses = match context.mode {
        TransportEncryption::Disabled => vec![http()?],
        TransportEncryption::Permissive => vec![https()?, http()?],
        TransportEncryption::Strict => vec![https()?],
    };
    if context.oidc {
        let kind = context.kind.resource_kind().as_str();
        let audience = format!("messaging.knative.dev/{kind}/{namespace}/{name}");
        let audience = Value::from(audience.to_ascii_lowercase());
        for address in addresses.iter_mut().filter_map(Value::as_object_mut) {
            address.insert("audience".to_owned(), audience.clone());
        }
    }
    Ok(addresses)
}

fn http_address(
    namespace: &str,
    context: &ReconcileContext,
    observed: &ObservedChannel,
) -> Result<Value, NotAddressable> {
    let domain = &context.cluster_domain;
    match &observed.service {
        Ok(service) => {
            Ok(json!({"name": "http", "url": format!("http://{service}.{namespace}.svc.{domain}")}))
        }
        Err(why) => Err(NotAddressable {
            reason: "ChannelServiceFailed",
            message: why.clone(),
        }),
    }
}

fn https_address(
    namespace: &str,
    name: &str,
    context: &ReconcileContext,
) -> Result<Value, NotAddressable> {
    let url = format!("https://{}/{namespace}/{name}", context.dispatcher);
    match &context.certificate {
        ObservedCertificate::Missing => Err(NotAddressable {
            reason: "TLSSecretMissing",
            message: "the TLS Secret of the dispatcher is missing".to_owned(),
        }),
        ObservedCertificate::Known(Some(ca)) => {
            Ok(json!({"name": "https", "url": url, "CACerts": ca}))
        }
        ObservedCertificate::Known(None) => Ok(json!({"name": "https", "url": url})),
    }
}

fn addressable_condition(addresses: &Result<Vec<Value>, NotAddressable>) -> DesiredCondition {
    match addresses {
        Ok(_) => DesiredCondition::new_true("Addressable"),
        Err(NotAddressable { reason, message }) => {
            DesiredCondition::new_false("Addressable", reason, message)
        }
    }
}

fn dead_letter_sink_condition(
    sink: &Result<Option<ResolvedDeadLetterSink>, String>,
) -> DesiredCondition {
    match sink {
        Ok(Some(_)) => DesiredCondition::new_true("DeadLetterSinkResolved"),
        Ok(None) => DesiredCondition::new_true("DeadLetterSinkResolved")
            .with_reason("DeadLetterSinkNotConfigured"),
        Err(why) => {
            DesiredCondition::new_false("DeadLetterSinkResolved", "DeadLetterSinkNotResolved", why)
        }
    }
}

fn endpoints_condition(endpoints: ObservedEndpoints) -> DesiredCondition {
    let no = |reason, message: &str| DesiredCondition::new_false("EndpointsReady", reason, message);
    match endpoints {
        ObservedEndpoints::Ready => DesiredCondition::new_true("EndpointsReady"),
        ObservedEndpoints::NotReady => no(
            "DispatcherEndpointsNotReady",
            "no pod of the dispatcher is ready",
        ),
        ObservedEndpoints::Missing => no(
            "DispatcherEndpointsDoesNotExist",
            "the dispatcher has no EndpointSlice",
        ),
    }
}

#[cfg(test)]
mod tests;
