//! The requests that write into the cluster: `status.subscribers` of a channel and nothing else on
//! it (contract 2.9, 2.10, 2.14), and a Warning Event about a channel that is not applied (contract
//! 2.17, 2.18).

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::control::channel_kind::ServedChannelKind;
use crate::control::cluster::watch::rows::api_resource;
use crate::control::read::kind::ResourceKind;
use crate::control::resolve::reconciled::StatusUpdate;
use crate::model::ChannelKey;

/// The time limit of a request: longer than the API server waits for a webhook.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The name of the owner of written fields, in `managedFields`.
const MANAGER: &str = "sealpost";

/// The reason why something was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The object to write on does not exist any more.
    #[error("it is gone")]
    Gone,
    /// The request has failed, and may succeed later.
    #[error("{0}")]
    Failed(#[from] kube::Error),
    /// The API server did not answer in time.
    #[error("no answer in time")]
    Timeout,
}

/// Writes about channels of one kind.
#[derive(Clone)]
pub(crate) struct ChannelWriter {
    pub(crate) client: Client,
    /// The kind of the channels that are written about.
    pub(crate) channel_kind: ServedChannelKind,
}

impl WriteError {
    /// Success if the object does not exist any more: then nothing is left to be done.
    pub(crate) fn unless_gone(self) -> Result<(), Self> {
        if matches!(self, Self::Gone) {
            Ok(())
        } else {
            Err(self)
        }
    }
}

impl ChannelWriter {
    /// Writes one status update, once.
    pub(crate) async fn write_update(
        &self,
        key: &ChannelKey,
        update: &StatusUpdate,
        document: &Value,
    ) -> Result<(), WriteError> {
        let Self {
            client,
            channel_kind: channels,
        } = self.clone();
        with_timeout(async {
            match update {
                StatusUpdate::Subscribers(list) => {
                    let patch = json!({"status": {"subscribers": list}});
                    patch_status(client, channels.resource_kind(), key, &patch).await
                }
                StatusUpdate::Warning(message) => {
                    create_warning_event((client, channels), key, message, document).await
                }
            }
        })
        .await
    }
}

/// Waits for a request, up to [`TIMEOUT`].
pub(crate) async fn with_timeout(
    request: impl Future<Output = Result<(), kube::Error>>,
) -> Result<(), WriteError> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(WriteError::Gone),
        Ok(Err(error)) => Err(error.into()),
        Err(_elapsed) => Err(WriteError::Timeout),
    }
}

/// Sends a merge patch of whole lists: it names no index of a list that another writer could have
/// changed.
pub(crate) async fn patch_status(
    client: Client,
    kind: ResourceKind,
    key: &ChannelKey,
    patch: &Value,
) -> Result<(), kube::Error> {
    let api = Api::<DynamicObject>::namespaced_with(client, &key.namespace, &api_resource(kind));
    api.patch_status(&key.name, &patch_parameters(), &Patch::Merge(patch))
        .await
        .map(drop)
}

/// The parameters of every patch.
pub(crate) fn patch_parameters() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// Creates a Warning Event, by core/v1, since the role of the pod grants no `events.k8s.io`
/// (contract 1.15).
async fn create_warning_event(
    (client, channels): (Client, ServedChannelKind),
    key: &ChannelKey,
    message: &str,
    document: &Value,
) -> Result<(), kube::Error> {
    let event = warning_event(
        (channels, key),
        message,
        document,
        &k8s_openapi::jiff::Timestamp::now().to_string(),
    );
    let event: Event = serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
    Api::namespaced(client, &key.namespace)
        .create(&PostParams::default(), &event)
        .await
        .map(drop)
}

fn warning_event(
    (channels, key): (ServedChannelKind, &ChannelKey),
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
            "apiVersion": channels.resource_kind().api_version(),
            "kind": channels.resource_kind().as_str(),
            "namespace": key.namespace,
            "name": key.name,
            "uid": metadata("uid"),
            "resourceVersion": metadata("resourceVersion"),
        },
        "type": "Warning",
        "reason": "InternalError",
        "message": message,
        "source": {"component": channels.event_component()},
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
        let key = ChannelKey {
            kind: ChannelKind::Channel,
            namespace: "ns".into(),
            name: "c".into(),
        };
        let document = json!({"metadata": {"uid": "u1", "resourceVersion": "7"}});
        let value = warning_event(
            (ServedChannelKind::InMemory, &key),
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
