//! A Warning Event about a channel whose spec is not applied (contract 2.17, 2.18).

use serde_json::{Value, json};

use crate::control::channel_kind::ServedChannelKind;
use crate::model::ChannelKey;

/// The Event, of core/v1, since the role of the pod grants no `events.k8s.io` (contract 1.15).
/// `document` is the version of the channel that it is about.
pub(super) fn warning_event(
    kind: ServedChannelKind,
    key: &ChannelKey,
    message: &str,
    document: &Value,
    now: &str,
) -> Value {
    let metadata = |field: &str| {
        document
            .get("metadata")
            .and_then(|metadata| metadata.get(field))
            .cloned()
    };
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "namespace": key.namespace,
            "name": format!("{}.{}", key.name, uuid::Uuid::new_v4().simple()),
        },
        "involvedObject": {
            "apiVersion": kind.resource_kind().api_version(),
            "kind": kind.resource_kind().as_str(),
            "namespace": key.namespace,
            "name": key.name,
            "uid": metadata("uid"),
            "resourceVersion": metadata("resourceVersion"),
        },
        "type": "Warning",
        "reason": "InternalError",
        "message": message,
        "source": {"component": kind.event_component()},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Event;

    use super::*;
    use crate::model::ChannelKind;

    /// Contract 2.17, 2.18, 1.15.
    #[test]
    fn a_warning_is_an_event_of_the_core_group() {
        let key = ChannelKey {
            kind: ChannelKind::Channel,
            namespace: "ns".into(),
            name: "c".into(),
        };
        let document = json!({"metadata": {"uid": "u1", "resourceVersion": "7"}});
        let value = warning_event(
            ServedChannelKind::InMemory,
            &key,
            "spec.subscribers[0]: is odd",
            &document,
            "2026-06-20T08:00:00Z",
        );
        let event: Event = serde_json::from_value(value).expect("an Event");
        assert_eq!(
            (event.type_.as_deref(), event.reason.as_deref()),
            (Some("Warning"), Some("InternalError"))
        );
        assert_eq!(
            event.source.and_then(|source| source.component).as_deref(),
            Some("inmemorychannel-controller")
        );
        assert_eq!(event.involved_object.uid.as_deref(), Some("u1"));
        assert_eq!(event.metadata.namespace.as_deref(), Some("ns"));
    }
}
