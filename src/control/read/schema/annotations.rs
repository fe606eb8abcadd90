//! Checks annotations and labels: any name is allowed, but for those with the prefix of sealpost.

use serde_json::Value;

use super::suggest;
use crate::model::annotation::{DELIVERY_ORDER, HTTP_VERSION, RETAIN, START_AT};

/// The annotation with the address at which a Service is reached (contract IF-2).
pub(crate) const ENDPOINT: &str = "sealpost.dev/endpoint";
/// The prefix of all annotations of sealpost.
const OURS: &str = "sealpost.dev/";
const KNOWN: [&str; 5] = [ENDPOINT, DELIVERY_ORDER, HTTP_VERSION, RETAIN, START_AT];

/// The paths of annotations and labels that have sealpost's prefix and do not exist, each with a
/// remedy.
pub(crate) fn examine_annotations(object: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let keys = |part: &str| {
        let map = object
            .get("metadata")
            .and_then(|metadata| metadata.get(part)?.as_object());
        map.into_iter()
            .flat_map(|map| map.keys())
            .filter(|key| is_our_key(key))
            .cloned()
            .collect::<Vec<_>>()
    };
    for key in keys("annotations")
        .into_iter()
        .filter(|key| !KNOWN.contains(&key.as_str()))
    {
        let meant = suggest::suggest_name(&key, KNOWN.into_iter());
        let message = match meant {
            Some(meant) => format!("is no annotation of sealpost; did you mean {meant}?"),
            None => format!(
                "is no annotation of sealpost: there are {}",
                KNOWN.join(", ")
            ),
        };
        found.push((format!("metadata.annotations.{key}"), message));
    }
    for key in keys("labels") {
        let message = match KNOWN.contains(&key.as_str()) {
            true => "is an annotation, and no label: write it below metadata.annotations",
            false => "is no label of sealpost, which has none: give it another prefix",
        };
        found.push((format!("metadata.labels.{key}"), message.to_owned()));
    }
    found
}

/// True if a key has sealpost's prefix, whatever its case: nobody else uses that name.
fn is_our_key(key: &str) -> bool {
    key.get(..OURS.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(OURS))
}
