//! Makes `EventType`s in a cluster. Needs `create` on `eventtypes` of `eventing.knative.dev` (contract 1.14).

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Request;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::{Created, Creator, EventType};
use crate::wire_text::WireText;

/// The cluster that `EventType`s are made in.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
}

impl Cluster {
    /// The cluster that this client is for.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    async fn post(&self, wanted: &EventType) -> Result<Created, String> {
        let path = format!("/apis/eventing.knative.dev/v1beta3/namespaces/{}/eventtypes", wanted.owner.namespace);
        let request = Request::post(path)
            .header(CONTENT_TYPE, "application/json")
            .body(object(wanted).to_string().into_bytes())
            .map_err(|error| error.to_string())?;
        match self.client.request::<Value>(request).await {
            Ok(_object) => Ok(Created::New),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Created::Existed),
            Err(kube::Error::Api(status)) => {
                Err(format!("the API server answered {}: {}", status.code, WireText::of(status.message)))
            }
            Err(error) => Err(WireText::of(error).into()),
        }
    }
}

impl Creator for Cluster {
    fn create<'a>(&'a self, wanted: &'a EventType) -> BoxFuture<'a, Result<Created, String>> {
        self.post(wanted).boxed()
    }
}

/// The object of 8.2.
pub(super) fn object(wanted: &EventType) -> Value {
    let owner = &wanted.owner;
    let mut reference = json!({
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "namespace": owner.namespace,
    });
    if let (Some(address), Some(reference)) = (&owner.address, reference.as_object_mut()) {
        reference.insert("address".to_owned(), address.as_str().into());
    }
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
            "reference": reference,
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
