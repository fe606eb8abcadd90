//! Creation of `EventType`s in a cluster. Needs the right `create` on `eventtypes` of
//! `eventing.knative.dev` (contract 1.14).

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Request;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::{CreationOutcome, EventType, EventTypeCreator};
use crate::model::EventTypeOwner;
use crate::wire_text::WireText;

/// Creates `EventType`s by the API server of a cluster.
#[derive(Clone)]
pub struct ClusterEventTypes {
    client: kube::Client,
}

impl ClusterEventTypes {
    /// Makes a creator for the cluster of this client.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    async fn post(&self, wanted: &EventType) -> Result<CreationOutcome, String> {
        let path = format!(
            "/apis/eventing.knative.dev/v1beta3/namespaces/{}/eventtypes",
            wanted.owner.namespace
        );
        let request = Request::post(path)
            .header(CONTENT_TYPE, "application/json")
            .body(build_object(wanted).to_string().into_bytes())
            .map_err(|error| error.to_string())?;
        match self.client.request::<Value>(request).await {
            Ok(_object) => Ok(CreationOutcome::Created),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                Ok(CreationOutcome::AlreadyExists)
            }
            Err(kube::Error::Api(status)) => Err(format!(
                "the API server answered {}: {}",
                status.code,
                WireText::new(status.message)
            )),
            Err(error) => Err(WireText::new(error).into()),
        }
    }
}

impl EventTypeCreator for ClusterEventTypes {
    fn create<'a>(
        &'a self,
        wanted: &'a EventType,
    ) -> BoxFuture<'a, Result<CreationOutcome, String>> {
        self.post(wanted).boxed()
    }
}

/// Builds the object of contract 8.2.
pub(super) fn build_object(wanted: &EventType) -> Value {
    let owner = &wanted.owner;
    json!({
        "apiVersion": "eventing.knative.dev/v1beta3",
        "kind": "EventType",
        "metadata": {
            "name": wanted.name,
            "namespace": owner.namespace,
            "ownerReferences": [
                {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid},
            ],
        },
        "spec": {
            "reference": reference(owner),
            "description": "created from observed traffic",
            "attributes": [
                {"name": "type", "value": wanted.ty, "required": true},
                {"name": "source", "value": wanted.source, "required": true},
                {"name": "schemadata", "value": wanted.schema, "required": true},
                {"name": "specversion", "value": wanted.spec_version, "required": true},
                {"name": "id", "required": true},
            ],
        },
    })
}

/// Builds the reference to the object at which the events were seen.
fn reference(owner: &EventTypeOwner) -> Value {
    let mut reference = json!({
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "namespace": owner.namespace,
    });
    if let (Some(address), Some(reference)) = (&owner.address, reference.as_object_mut()) {
        reference.insert("address".to_owned(), address.as_str().into());
    }
    reference
}
