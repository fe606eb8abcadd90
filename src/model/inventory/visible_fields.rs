//! The fields of a written object that are shown: those that an object of its kind has in Knative,
//! and of their texts what is no secret. A field that has no place in the tables below is left out,
//! whatever it is.

use serde_json::{Map, Value};

use super::ObjectKind;
use crate::model::annotation;
use crate::scrub;
use VisibleShape::{Any, Certificates, List, Object, Plain};

/// The shape of a value, which decides how it is shown.
#[derive(Clone, Copy, Debug)]
enum VisibleShape {
    /// A text, which is scrubbed of secrets; a number; or a boolean.
    Plain,
    /// A number, shown as it is.
    Number,
    /// A URL, or a reference that is resolved against one; shown without its credentials.
    Url,
    /// Certificates in PEM, shown without anything that stands between them.
    Certificates,
    /// An object of these fields.
    Object(VisibleFields),
    /// A list of objects of these fields.
    List(VisibleFields),
    /// A value of any shape, whose texts are shown like those of [`VisibleShape::Plain`].
    Any,
}

type VisibleFields = &'static [(&'static str, VisibleShape)];

const REFERENCE: VisibleFields = &[
    ("apiVersion", Plain),
    ("kind", Plain),
    ("name", Plain),
    ("namespace", Plain),
    ("address", Plain),
    ("group", Plain),
];
const DESTINATION: VisibleFields = &[
    ("ref", Object(REFERENCE)),
    ("uri", VisibleShape::Url),
    ("CACerts", Certificates),
    ("audience", Plain),
];
const DELIVERY: VisibleFields = &[
    ("deadLetterSink", Object(DESTINATION)),
    ("retry", VisibleShape::Number),
    ("backoffPolicy", Plain),
    ("backoffDelay", Plain),
    ("backoffMax", Plain),
    ("timeout", Plain),
    ("retryAfterMax", Plain),
    ("format", Plain),
];
const SUBSCRIBER: VisibleFields = &[
    ("name", Plain),
    ("uid", Plain),
    ("generation", VisibleShape::Number),
    ("namespace", Plain),
    ("subscriberUri", VisibleShape::Url),
    ("subscriberCACerts", Certificates),
    ("subscriberAudience", Plain),
    ("replyUri", VisibleShape::Url),
    ("replyCACerts", Certificates),
    ("replyAudience", Plain),
    ("delivery", Object(DELIVERY)),
    ("auth", Object(&[("serviceAccountName", Plain)])),
];
const TEMPLATE: VisibleFields = &[
    ("apiVersion", Plain),
    ("kind", Plain),
    ("spec", Object(&[("delivery", Object(DELIVERY))])),
];
const CHANNEL: VisibleFields = &[
    ("channelTemplate", Object(TEMPLATE)),
    ("delivery", Object(DELIVERY)),
    ("subscribers", List(SUBSCRIBER)),
];
const BROKER: VisibleFields = &[
    ("config", Object(REFERENCE)),
    ("delivery", Object(DELIVERY)),
];
const TRIGGER: VisibleFields = &[
    ("broker", Plain),
    ("brokerRef", Object(REFERENCE)),
    ("filter", Any),
    ("filters", Any),
    ("subscriber", Object(DESTINATION)),
    ("delivery", Object(DELIVERY)),
];
const SUBSCRIPTION: VisibleFields = &[
    ("channel", Object(REFERENCE)),
    ("subscriber", Object(DESTINATION)),
    ("reply", Object(DESTINATION)),
    ("delivery", Object(DELIVERY)),
];
const REQUEST_REPLY: VisibleFields = &[
    ("brokerRef", Object(REFERENCE)),
    ("correlationAttribute", Plain),
    ("replyAttribute", Plain),
    ("timeout", Plain),
    ("delivery", Object(DELIVERY)),
];
const STEP: VisibleFields = &[
    ("ref", Object(REFERENCE)),
    ("uri", VisibleShape::Url),
    ("CACerts", Certificates),
    ("audience", Plain),
    ("delivery", Object(DELIVERY)),
];
const SEQUENCE: VisibleFields = &[
    ("steps", List(STEP)),
    ("channelTemplate", Object(TEMPLATE)),
    ("reply", Object(DESTINATION)),
];
const BRANCH: VisibleFields = &[
    ("filter", Object(DESTINATION)),
    ("subscriber", Object(DESTINATION)),
    ("reply", Object(DESTINATION)),
    ("delivery", Object(DELIVERY)),
];
const PARALLEL: VisibleFields = &[
    ("branches", List(BRANCH)),
    ("channelTemplate", Object(TEMPLATE)),
    ("reply", Object(DESTINATION)),
];
const OWNER: VisibleFields = &[
    ("apiVersion", Plain),
    ("kind", Plain),
    ("name", Plain),
    ("uid", Plain),
    ("controller", Plain),
    ("blockOwnerDeletion", Plain),
];
const ADDRESS: VisibleFields = &[
    ("name", Plain),
    ("url", VisibleShape::Url),
    ("CACerts", Certificates),
    ("audience", Plain),
];
const STATUS: VisibleFields = &[("address", Object(ADDRESS)), ("addresses", List(ADDRESS))];

/// The labels that are shown: those that Kubernetes recommends, and those by which Knative finds
/// objects.
const LABELS: [&str; 9] = [
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/component",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/managed-by",
    "eventing.knative.dev/broker",
    "eventing.knative.dev/RequestReply.name",
    "messaging.knative.dev/role",
];

/// The visible part of a spec; an empty object, if there is no spec.
pub(super) fn spec(kind: ObjectKind, written: Option<&Value>) -> Value {
    let fields = match kind {
        ObjectKind::Channel => CHANNEL,
        ObjectKind::Broker => BROKER,
        ObjectKind::Trigger => TRIGGER,
        ObjectKind::Subscription => SUBSCRIPTION,
        ObjectKind::RequestReply => REQUEST_REPLY,
        ObjectKind::Sequence => SEQUENCE,
        ObjectKind::Parallel => PARALLEL,
    };
    written
        .and_then(|written| visible_value(Object(fields), written))
        .unwrap_or_else(|| Map::new().into())
}

/// The visible part of the addresses of a written status.
pub(super) fn addresses(status: &Value) -> Map<String, Value> {
    visible_fields(STATUS, status.as_object())
}

/// The visible part of written metadata: uid, owners, and the listed labels and annotations.
pub(super) fn metadata(written: &Value) -> Map<String, Value> {
    let mut shown = visible_fields(
        &[("uid", Plain), ("ownerReferences", List(OWNER))],
        written.as_object(),
    );
    for (key, names) in [
        ("labels", LABELS.as_slice()),
        ("annotations", annotation::READ.as_slice()),
    ] {
        let Some(texts) = written.get(key).and_then(Value::as_object) else {
            continue;
        };
        let named = names.iter().filter_map(|name| {
            Some(((*name).to_owned(), visible_value(Plain, texts.get(*name)?)?))
        });
        let named: Map<String, Value> = named.collect();
        if !named.is_empty() {
            shown.insert(key.to_owned(), named.into());
        }
    }
    shown
}

/// The visible part of a value; `None` if the value does not have this shape.
fn visible_value(shape: VisibleShape, written: &Value) -> Option<Value> {
    match (shape, written) {
        (_, Value::Null)
        | (Plain | Any | VisibleShape::Number, Value::Number(_))
        | (Plain | Any, Value::Bool(_)) => Some(written.clone()),
        (Plain | Any, Value::String(text)) => Some(scrub::text(text).into()),
        (VisibleShape::Url, Value::String(url)) => Some(scrub::url(url).into()),
        (Certificates, Value::String(pem)) => Some(scrub::certificates(pem).into()),
        (Object(names), Value::Object(object)) => Some(visible_fields(names, Some(object)).into()),
        (List(names), Value::Array(list)) => Some(
            list.iter()
                .map(|each| Value::from(visible_fields(names, each.as_object())))
                .collect(),
        ),
        (Any, Value::Array(list)) => Some(
            list.iter()
                .filter_map(|each| visible_value(Any, each))
                .collect(),
        ),
        (Any, Value::Object(object)) => {
            let shown = object
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), visible_value(Any, value)?)));
            Some(shown.collect::<Map<_, _>>().into())
        }
        _ => None,
    }
}

/// The fields of an object that have these names, in the object's own order.
fn visible_fields(
    names: VisibleFields,
    written: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let written = written.into_iter().flatten();
    let shown = written.filter_map(|(key, value)| {
        let (_, shape) = names.iter().find(|(name, _)| name == key)?;
        Some((key.clone(), visible_value(*shape, value)?))
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_a_place_is_shown_without_secrets() {
        let certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n";
        let written = json!({
            "broker": "b", "password": "SECRET", "ceOverrides": {"extensions": {"token": "SECRET"}},
            "filter": {"attributes": {"type": "t", "source": "https://SECRET@h/?SECRET"}},
            "filters": [{"any": [{"exact": {"type": "t"}}]}],
            "subscriber": {"uri": "https://h/p?code=SECRET", "CACerts": format!("{key}{certificate}"), "token": "SECRET"},
            "delivery": {
                "retry": 3, "timeout": {"value": "SECRET"}, "headers": {"authorization": "SECRET"},
                "deadLetterSink": {"ref": {"kind": "Service", "name": "s", "token": "SECRET"}, "uri": null},
            },
        });
        let shown = json!({
            "broker": "b",
            "filter": {"attributes": {"type": "t", "source": "https://h/"}},
            "filters": [{"any": [{"exact": {"type": "t"}}]}],
            "subscriber": {"uri": "https://h/p", "CACerts": certificate},
            "delivery": {"retry": 3, "deadLetterSink": {"ref": {"kind": "Service", "name": "s"}, "uri": null}},
        });
        assert_eq!(spec(ObjectKind::Trigger, Some(&written)), shown);
        for wrong in [json!("SECRET"), json!(["SECRET"]), Value::Null] {
            let shown = spec(ObjectKind::Broker, Some(&wrong));
            assert!(!shown.to_string().contains("SECRET"), "{shown}");
        }
        assert_eq!(spec(ObjectKind::Channel, None), json!({}));
    }

    #[test]
    fn metadata_is_what_means_something_here() {
        let written = json!({
            "name": "n", "uid": "u", "generation": 1, "managedFields": [{"manager": "SECRET"}],
            "labels": {"app.kubernetes.io/name": "n", "token": "SECRET"},
            "annotations": {
                annotation::DELIVERY_ORDER: "ordered",
                "kubectl.kubernetes.io/last-applied-configuration": "{\"SECRET\": 1}",
                "example.com/token": "SECRET",
            },
        });
        let shown = json!({
            "uid": "u", "labels": {"app.kubernetes.io/name": "n"},
            "annotations": {annotation::DELIVERY_ORDER: "ordered"},
        });
        assert_eq!(Value::from(metadata(&written)), shown);
        assert_eq!(
            Value::from(metadata(
                &json!({"annotations": {"a": "b"}, "labels": null})
            )),
            json!({})
        );
    }
}
