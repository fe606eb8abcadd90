//! The requests that write into the cluster, each within a time limit: merge patches of an object
//! or of its status, new objects, and Events. Nothing else in the control plane writes, but for the
//! Lease of the election.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::Value;

use crate::control::cluster::api_resource::api_resource;
use crate::control::read::kind::ResourceKind;

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

/// The object that is written on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteTarget<'t> {
    pub(crate) kind: ResourceKind,
    pub(crate) namespace: &'t str,
    pub(crate) name: &'t str,
}

/// Writes into the cluster.
#[derive(Clone)]
pub(crate) struct ClusterWriter {
    client: Client,
}

impl ClusterWriter {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Sends a merge patch of the status. It is one of whole lists: it names no index of a list that
    /// another writer could have changed.
    pub(crate) async fn patch_status(
        &self,
        target: WriteTarget<'_>,
        patch: &Value,
    ) -> Result<(), kube::Error> {
        self.objects(target)
            .patch_status(target.name, &patch_parameters(), &Patch::Merge(patch))
            .await
            .map(drop)
    }

    /// Sends a merge patch of the object beside its status.
    pub(crate) async fn patch(
        &self,
        target: WriteTarget<'_>,
        patch: &Value,
    ) -> Result<(), kube::Error> {
        self.objects(target)
            .patch(target.name, &patch_parameters(), &Patch::Merge(patch))
            .await
            .map(drop)
    }

    /// Creates the object.
    pub(crate) async fn create(
        &self,
        target: WriteTarget<'_>,
        object: &Value,
    ) -> Result<(), kube::Error> {
        let object = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
        let objects = self.objects(target);
        objects
            .create(&PostParams::default(), &object)
            .await
            .map(drop)
    }

    /// The object as it is now, for a writer to whom it exists already; `None` if it does not.
    pub(crate) async fn read(&self, target: WriteTarget<'_>) -> Result<Option<Value>, kube::Error> {
        let found = self.objects(target).get_opt(target.name).await?;
        Ok(found.and_then(|found| serde_json::to_value(found).ok()))
    }

    /// Creates an Event.
    pub(crate) async fn create_event(
        &self,
        namespace: &str,
        event: Value,
    ) -> Result<(), kube::Error> {
        let event: Event = serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
        Api::namespaced(self.client.clone(), namespace)
            .create(&PostParams::default(), &event)
            .await
            .map(drop)
    }

    fn objects(&self, target: WriteTarget<'_>) -> Api<DynamicObject> {
        let resource = api_resource(target.kind);
        Api::namespaced_with(self.client.clone(), target.namespace, &resource)
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

/// The parameters of every patch.
fn patch_parameters() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}
