//! The names of fields that Knative knows, so that a field nobody reads can be told from a typing error.

use serde_ignored::Path;

use super::spelling;

const OBJECT: &[&str] = &["apiVersion", "kind", "metadata", "spec", "status"];
const CONFIG_MAP: &[&str] = &["apiVersion", "kind", "metadata", "data", "binaryData", "immutable"];
const SECRET: &[&str] = &["apiVersion", "kind", "metadata", "data", "stringData", "immutable", "type"];
const METADATA: &[&str] = &[
    "name",
    "namespace",
    "labels",
    "annotations",
    "uid",
    "generation",
    "generateName",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "finalizers",
    "ownerReferences",
    "managedFields",
    "selfLink",
];
const DESTINATION: &[&str] = &["ref", "uri", "CACerts", "audience"];
const REFERENCE: &[&str] = &["apiVersion", "kind", "name", "namespace", "address", "group"];
const DELIVERY: &[&str] =
    &["deadLetterSink", "retry", "backoffPolicy", "backoffDelay", "backoffMax", "timeout", "retryAfterMax", "format"];
const SUBSCRIBER: &[&str] = &[
    "name",
    "uid",
    "generation",
    "namespace",
    "subscriberUri",
    "subscriberCACerts",
    "subscriberAudience",
    "replyUri",
    "replyCACerts",
    "replyAudience",
    "delivery",
    "auth",
];

const PING_SOURCE: &[&str] = &["schedule", "timezone", "contentType", "data", "dataBase64", "sink", "ceOverrides"];

/// The fields known inside the field `inside` (empty for the object itself) of an object of this kind; none where
/// nobody asks.
fn known(kind: &str, inside: &str) -> &'static [&'static str] {
    match (kind, inside) {
        ("ConfigMap", "") => CONFIG_MAP,
        ("Secret", "") => SECRET,
        (_, "") => OBJECT,
        (_, "metadata") => METADATA,
        ("Service", "spec") => &["selector"],
        ("Pod", "spec") => &["containers", "initContainers"],
        ("Channel", "spec") => &["channelTemplate", "delivery", "subscribers"],
        ("InMemoryChannel" | "RabbitmqChannel", "spec") => &["delivery", "subscribers"],
        ("Subscription", "spec") => &["channel", "subscriber", "reply", "delivery"],
        ("Broker", "spec") => &["config", "delivery"],
        ("Trigger", "spec") => &["broker", "brokerRef", "filter", "filters", "subscriber", "delivery"],
        ("EventPolicy", "spec") => &["to", "from", "filters"],
        ("EventPolicy", "to") => &["ref", "selector"],
        ("EventPolicy", "from") => &["ref", "sub"],
        ("EventPolicy", "selector") => &["apiVersion", "kind", "matchLabels", "matchExpressions"],
        ("Trigger", "filter") => &["attributes"],
        ("PingSource", "spec") => PING_SOURCE,
        ("PingSource", "ceOverrides") => &["extensions"],
        ("PingSource", "sink") => DESTINATION,
        ("Subscription" | "Trigger", "subscriber" | "reply") | (_, "deadLetterSink") => DESTINATION,
        (_, "ref" | "brokerRef") | ("Subscription", "channel") => REFERENCE,
        (_, "delivery") => DELIVERY,
        (_, "subscribers") => SUBSCRIBER,
        (_, "channelTemplate") => &["apiVersion", "kind", "spec", "metadata"],
        _ => &[],
    }
}

/// The known field that the last of these keys is probably meant to be.
pub(super) fn meant(kind: &str, keys: &[String]) -> Option<&'static str> {
    let (last, before) = keys.split_last()?;
    let inside = before.iter().rev().find(|key| !key.starts_with('[')).map_or("", String::as_str);
    spelling::meant(last, known(kind, inside).iter().copied())
}

/// The keys of a path; an index is `[index]`.
pub(super) fn keys(path: &Path<'_>) -> Vec<String> {
    let (parent, key) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (parent, format!("[{index}]")),
        Path::Map { parent, key } => (parent, key.clone()),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            return keys(parent);
        }
    };
    let mut keys = keys(parent);
    keys.push(key);
    keys
}

/// Keys as one path, such as `spec.subscribers[0].uid`.
pub(super) fn path(keys: &[String]) -> String {
    keys.iter().fold(String::new(), |path, key| match path.is_empty() || key.starts_with('[') {
        true => path + key,
        false => path + "." + key,
    })
}
