//! What is written into the cluster, one request each: `status.subscribers` of a channel and nothing else on it
//! (contract 2.9, 2.10, 2.14), and a Warning about one that is not applied (contract 2.17, 2.18).

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::watched::resource;
use crate::control::Channels;
use crate::control::kind::Kind;
use crate::control::resolve::reconciled::Duty;
use crate::model::ChannelKey;

/// How long a request may take: longer than the API server waits for a webhook.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Who owns what is written, in `managedFields`.
const MANAGER: &str = "sealpost";

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

/// Who tells.
#[derive(Clone)]
pub(super) struct Teller {
    pub(super) client: Client,
    /// Of which channels.
    pub(super) channels: Channels,
}

impl Untold {
    /// Nothing if there is nothing to write on any more: then nothing is left to be done.
    pub(super) fn unless_gone(self) -> Result<(), Self> {
        if matches!(self, Self::Gone) { Ok(()) } else { Err(self) }
    }
}

impl Teller {
    /// Does a duty once.
    pub(super) async fn fulfil(&self, key: &ChannelKey, duty: &Duty, document: &Value) -> Result<(), Untold> {
        let Self { client, channels } = self.clone();
        in_time(async {
            match duty {
                Duty::Subscribers(list) => {
                    let patch = json!({"status": {"subscribers": list}});
                    status(client, channels.kind(), key, &patch).await
                }
                Duty::Warning(message) => warning((client, channels), key, message, document).await,
            }
        })
        .await
    }
}

/// Waits for an answer, not for ever.
pub(super) async fn in_time(request: impl Future<Output = Result<(), kube::Error>>) -> Result<(), Untold> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(Untold::Gone),
        Ok(Err(error)) => Err(error.into()),
        Err(_elapsed) => Err(Untold::Timeout),
    }
}

/// A merge patch of whole lists: it carries no place in a list that another writer could have changed.
pub(super) async fn status(client: Client, kind: Kind, key: &ChannelKey, patch: &Value) -> Result<(), kube::Error> {
    let api = Api::<DynamicObject>::namespaced_with(client, &key.namespace, &resource(kind));
    api.patch_status(&key.name, &parameters(), &Patch::Merge(patch)).await.map(drop)
}

/// Those of every patch.
pub(super) fn parameters() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

/// By core/v1, since the role of the pod grants no `events.k8s.io` (contract 1.15).
async fn warning(
    (client, channels): (Client, Channels),
    key: &ChannelKey,
    message: &str,
    document: &Value,
) -> Result<(), kube::Error> {
    let event = event((channels, key), message, document, &k8s_openapi::jiff::Timestamp::now().to_string());
    let event: Event = serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
    Api::namespaced(client, &key.namespace).create(&PostParams::default(), &event).await.map(drop)
}

fn event((channels, key): (Channels, &ChannelKey), message: &str, document: &Value, now: &str) -> Value {
    let metadata = |field: &str| document.get("metadata").and_then(|metadata| metadata.get(field)).cloned();
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "namespace": key.namespace,
            "name": format!("{}.{}", key.name, uuid::Uuid::new_v4().simple()),
        },
        "involvedObject": {
            "apiVersion": channels.kind().api_version(),
            "kind": channels.kind().as_str(),
            "namespace": key.namespace,
            "name": key.name,
            "uid": metadata("uid"),
            "resourceVersion": metadata("resourceVersion"),
        },
        "type": "Warning",
        "reason": "InternalError",
        "message": message,
        "source": {"component": channels.component()},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChannelKind;

    /// Contract 2.17, 2.18, 1.15.
    #[test]
    fn a_warning_is_an_event_of_the_core_group() {
        let key = ChannelKey { kind: ChannelKind::Channel, namespace: "ns".into(), name: "c".into() };
        let document = json!({"metadata": {"uid": "u1", "resourceVersion": "7"}});
        let value = event((Channels::InMemory, &key), "spec.subscribers[0]: is odd", &document, "2026-06-20T08:00:00Z");
        let event: Event = serde_json::from_value(value).expect("an Event");
        assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Warning"), Some("InternalError")));
        assert_eq!(event.source.and_then(|source| source.component).as_deref(), Some("inmemorychannel-controller"));
        assert_eq!(event.involved_object.uid.as_deref(), Some("u1"));
        assert_eq!(event.metadata.namespace.as_deref(), Some("ns"));
    }
}
