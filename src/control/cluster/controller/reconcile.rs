//! Reconciles one channel: writes its annotation, its Service and its status, each only if it
//! differs from what it should be.

use kube::api::{Patch, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::ReconcileTask;
use super::dead_letter_sink;
use super::desired::{self, ObservedChannel, ReconcileContext};
use super::service::{self, ServiceStep};
use crate::control::cluster::watch::rows::api_resource;
use crate::control::cluster::write::requests::patch_parameters;
use crate::control::read::kind::ResourceKind;
use crate::model::annotation::SUBSCRIBABLE;

/// Reconciles one channel.
///
/// # Errors
/// Fails with errors that may be over soon. Faults of the channel itself go into its conditions.
pub(super) async fn reconcile_channel(
    client: &Client,
    job: &ReconcileTask,
) -> Result<(), kube::Error> {
    let ReconcileTask {
        document,
        context: world,
        service,
        policies,
    } = job;
    let text = |field: &str| {
        document
            .get("metadata")
            .and_then(|metadata| metadata.get(field)?.as_str())
    };
    let (namespace, name) = (
        text("namespace").unwrap_or_default(),
        text("name").unwrap_or_default(),
    );
    let channels = Api::<DynamicObject>::namespaced_with(
        client.clone(),
        namespace,
        &api_resource(ResourceKind::RabbitmqChannel),
    );
    // The annotation comes first: without it, Knative does not read the channel's subscribers.
    if document
        .pointer("/metadata/annotations")
        .and_then(|all| all.get(SUBSCRIBABLE))
        .is_none()
    {
        let patch = json!({"metadata": {"annotations": {SUBSCRIBABLE: "v1"}}});
        channels
            .patch(name, &patch_parameters(), &Patch::Merge(&patch))
            .await?;
    }
    // The Service comes before the status, whose http address has its name.
    let wanted = service::desired_service(document, &world.dispatcher);
    let service = ensure_service(client, namespace, service.as_deref(), &wanted).await?;
    // The dead letter sink is asked for each time, since the object that it refers to is not
    // watched.
    let sink = fetch_dead_letter_sink(client, document, world).await?;
    let found = ObservedChannel {
        service,
        dead_letter_sink: sink,
        policies: policies.clone(),
    };
    let now = k8s_openapi::jiff::Timestamp::now();
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    // The status is written last, and only the fields that differ.
    let desired = desired::desired_status(document, world, &found, &now);
    if let Some(patch) = desired::status_patch(document, desired) {
        channels
            .patch_status(name, &patch_parameters(), &Patch::Merge(&patch))
            .await?;
    }
    Ok(())
}

/// Creates or mends the Service. Gives its name, or the reason why it cannot exist; fails if the
/// API server may succeed later.
async fn ensure_service(
    client: &Client,
    namespace: &str,
    there: Option<&Value>,
    wanted: &Value,
) -> Result<Result<String, String>, kube::Error> {
    let name = wanted
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let services = Api::<DynamicObject>::namespaced_with(
        client.clone(),
        namespace,
        &api_resource(ResourceKind::Service),
    );
    let written = match service::service_step(there, wanted) {
        ServiceStep::Nothing => return Ok(Ok(name.to_owned())),
        ServiceStep::OwnedByOther => {
            return Ok(Err(format!("the Service {name} belongs to somebody else")));
        }
        ServiceStep::Create => match serde_json::from_value(wanted.clone()) {
            Ok(service) => services.create(&PostParams::default(), &service).await,
            Err(error) => Err(kube::Error::SerdeError(error)),
        },
        ServiceStep::Patch(patch) => {
            services
                .patch(name, &patch_parameters(), &Patch::Merge(&patch))
                .await
        }
    };
    match written {
        Ok(_) => Ok(Ok(name.to_owned())),
        // The Service may exist although the watch has not seen it yet.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            match services.get_opt(name).await? {
                Some(found) => {
                    match service::service_step(serde_json::to_value(&found).ok().as_ref(), wanted)
                    {
                        ServiceStep::Nothing => Ok(Ok(name.to_owned())),
                        _ => Ok(Err(format!("the Service {name} belongs to somebody else"))),
                    }
                }
                None => Err(kube::Error::Api(status)),
            }
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
            Ok(Err(status.message.clone()))
        }
        Err(error) => Err(error),
    }
}

/// Fetches the object that the dead letter sink refers to, and resolves the sink with it.
async fn fetch_dead_letter_sink(
    client: &Client,
    channel: &Value,
    world: &ReconcileContext,
) -> Result<Result<Option<dead_letter_sink::ResolvedDeadLetterSink>, String>, kube::Error> {
    let referred = match dead_letter_sink::sink_reference(channel) {
        None => None,
        Some(reference) => match reference.api(client.clone()).get_opt(&reference.name).await {
            Ok(found) => found.and_then(|found| serde_json::to_value(found).ok()),
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 404) => {
                return Ok(Err(format!(
                    "{reference} cannot be looked at: {}",
                    status.message
                )));
            }
            Err(error) => return Err(error),
        },
    };
    Ok(dead_letter_sink::resolve_dead_letter_sink(
        channel,
        referred.as_ref(),
        world,
    ))
}
