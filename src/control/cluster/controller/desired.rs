//! The status that a RabbitmqChannel should have (contract 1.16, 4, 11.8): pure, and apart from the
//! writing. `status.subscribers` belongs to the dispatcher, and is never part of it.

use serde_json::{Map, Value, json};

use super::conditions::{self, DesiredCondition};
use super::dead_letter_sink::ResolvedDeadLetterSink;
use super::policies::ChannelPolicies;
use crate::model::TransportEncryption;

/// The facts that hold for all channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReconcileContext {
    pub(super) mode: TransportEncryption,
    /// True if senders must show tokens (`authentication-oidc`).
    pub(super) oidc: bool,
    /// The TLS Secret of the dispatcher, as it was last seen.
    pub(super) certificate: ObservedCertificate,
    pub(super) endpoints: ObservedEndpoints,
    /// The host of the dispatcher's Service: `<dispatcher>.<system namespace>.svc.<domain>`.
    pub(super) dispatcher: String,
    pub(super) cluster_domain: String,
}

/// The TLS Secret of the dispatcher, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ObservedCertificate {
    /// There is no such Secret, or it cannot be read.
    Missing,
    /// The Secret exists, with this `ca.crt`, if it has one (contract 4.8).
    Known(Option<String>),
}

/// The readiness of the dispatcher's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObservedEndpoints {
    /// The dispatcher has no EndpointSlice.
    Missing,
    /// The dispatcher has EndpointSlices, but no pod is ready.
    NotReady,
    /// At least one pod of the dispatcher is ready.
    Ready,
}

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
    // `Ready` sums up all other conditions, so that it is added last.
    let addresses = desired_addresses(channel, context, observed);
    let mut wanted = vec![
        addressable_condition(addresses.as_ref().map(drop)),
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
    wanted.push(conditions::ready_condition(&wanted));
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
        let of = |part: fn(&ResolvedDeadLetterSink) -> Option<&str>| {
            sink.as_ref()
                .and_then(part)
                .map_or(Value::Null, Value::from)
        };
        status.insert(
            "deadLetterSinkUri".to_owned(),
            of(|sink| Some(sink.uri.as_str())),
        );
        status.insert(
            "deadLetterSinkCACerts".to_owned(),
            of(|sink| sink.ca_certs.as_deref()),
        );
        status.insert(
            "deadLetterSinkAudience".to_owned(),
            of(|sink| sink.audience.as_deref()),
        );
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

/// The addresses for the mode, https first (4). Without a Service there is no http address.
fn desired_addresses(
    channel: &Value,
    context: &ReconcileContext,
    observed: &ObservedChannel,
) -> Result<Vec<Value>, (&'static str, String)> {
    let text = |path: &str| {
        channel
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let audience =
        format!("messaging.knative.dev/rabbitmqchannel/{namespace}/{name}").to_ascii_lowercase();
    let address = |scheme: &str, url: String| {
        let mut address = json!({"name": scheme, "url": url});
        if let (true, Value::Object(address)) = (context.oidc, &mut address) {
            address.insert("audience".to_owned(), audience.clone().into());
        }
        address
    };
    let http = || match &observed.service {
        Ok(service) => Ok(address(
            "http",
            format!(
                "http://{service}.{namespace}.svc.{}",
                context.cluster_domain
            ),
        )),
        Err(why) => Err(("ChannelServiceFailed", why.clone())),
    };
    let https = || {
        let mut https = address(
            "https",
            format!("https://{}/{namespace}/{name}", context.dispatcher),
        );
        match &context.certificate {
            ObservedCertificate::Missing => Err((
                "TLSSecretMissing",
                "the TLS Secret of the dispatcher is missing".to_owned(),
            )),
            ObservedCertificate::Known(ca) => {
                if let (Some(ca), Value::Object(https)) = (ca, &mut https) {
                    https.insert("CACerts".to_owned(), ca.clone().into());
                }
                Ok(https)
            }
        }
    };
    Ok(match context.mode {
        TransportEncryption::Disabled => vec![http()?],
        TransportEncryption::Permissive => vec![https()?, http()?],
        TransportEncryption::Strict => vec![https()?],
    })
}

fn addressable_condition(addresses: Result<(), &(&'static str, String)>) -> DesiredCondition {
    match addresses {
        Ok(()) => DesiredCondition::new_true("Addressable"),
        Err((reason, why)) => DesiredCondition::new_false("Addressable", reason, why),
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
