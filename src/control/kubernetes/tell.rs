//! What is written into the cluster, one request each: `status.subscribers` of a channel and nothing else on it (2.9,
//! 2.10, 2.14), and a Warning about one that is not applied (2.17, 2.18).

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::watched::resource;
use crate::control::kind::Kind;
use crate::control::resolve::reconciled::Duty;
use crate::model::ChannelKey;

/// How long a request may take: longer than the API server waits for a webhook.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Who owns what is written, in `managedFields`.
const MANAGER: &str = "sealpost";
/// The component that upstream's Warnings are from (2.18).
const COMPONENT: &str = "inmemorychannel-controller";

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Untold {
    /// There is nothing to write it on any more.
    #[error("it is gone")]
    Gone,
    /// It may work later.
    #[error("{0}")]
    Failed(#[from] kube::Error),
    /// The API server did not answer in time.
    #[error("no answer in time")]
    Timeout,
}

/// Does a duty once.
pub(super) async fn fulfil(client: &Client, key: &ChannelKey, duty: &Duty, document: &Value) -> Result<(), Untold> {
    let request = async {
        match duty {
            Duty::Subscribers(list) => subscribers(client.clone(), key, list).await,
            Duty::Warning(message) => warning(client.clone(), key, message, document).await,
        }
    };
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(Untold::Gone),
        Ok(Err(error)) => Err(error.into()),
        Err(_elapsed) => Err(Untold::Timeout),
    }
}

/// A merge patch of the whole list: it carries no place in the list that another writer could have changed.
async fn subscribers(client: Client, key: &ChannelKey, list: &Value) -> Result<(), kube::Error> {
    let api = Api::<DynamicObject>::namespaced_with(client, &key.namespace, &resource(Kind::InMemoryChannel));
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patch = json!({"status": {"subscribers": list}});
    api.patch_status(&key.name, &params, &Patch::Merge(&patch)).await.map(drop)
}

/// By core/v1, since the role of the pod grants no `events.k8s.io` (1.15).
async fn warning(client: Client, key: &ChannelKey, message: &str, document: &Value) -> Result<(), kube::Error> {
    let event = event(key, message, document, &k8s_openapi::jiff::Timestamp::now().to_string());
    let event: Event = serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
    Api::namespaced(client, &key.namespace).create(&PostParams::default(), &event).await.map(drop)
}

fn event(key: &ChannelKey, message: &str, document: &Value, now: &str) -> Value {
    let metadata = |field: &str| document.get("metadata").and_then(|metadata| metadata.get(field)).cloned();
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "namespace": key.namespace,
            "name": format!("{}.{}", key.name, uuid::Uuid::new_v4().simple()),
        },
        "involvedObject": {
            "apiVersion": Kind::InMemoryChannel.api_version(),
            "kind": Kind::InMemoryChannel.as_str(),
            "namespace": key.namespace,
            "name": key.name,
            "uid": metadata("uid"),
            "resourceVersion": metadata("resourceVersion"),
        },
        "type": "Warning",
        "reason": "InternalError",
        "message": message,
        "source": {"component": COMPONENT},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChannelKind;

    /// control-plane.md 2.17, 2.18.
    #[test]
    fn a_warning_is_an_event_of_the_core_group() {
        let key = ChannelKey { kind: ChannelKind::Channel, namespace: "ns".into(), name: "c".into() };
        let document = json!({"metadata": {"uid": "u1", "resourceVersion": "7"}});
        let value = event(&key, "spec.subscribers[0]: is odd", &document, "2026-06-20T08:00:00Z");
        let event: Event = serde_json::from_value(value).expect("an Event");
        assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Warning"), Some("InternalError")));
        assert_eq!(event.source.and_then(|source| source.component).as_deref(), Some(COMPONENT));
        assert_eq!(event.involved_object.uid.as_deref(), Some("u1"));
        assert_eq!(event.metadata.namespace.as_deref(), Some("ns"));
    }
}
