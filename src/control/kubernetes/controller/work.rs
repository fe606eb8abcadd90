//! Makes the cluster as it should be for one channel: its annotation, its Service, its status. Each is written only where
//! it differs.

use kube::api::{Patch, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::Job;
use super::desired::{self, Found, World};
use super::service::{self, Step};
use super::sink;
use crate::control::kind::Kind;
use crate::control::kubernetes::tell::parameters;
use crate::control::kubernetes::watched::resource;
use crate::model::annotation::SUBSCRIBABLE;

/// Does all of it.
///
/// # Errors
/// Those that may be over soon. What the channel is to blame for stands in its conditions.
pub(super) async fn reconcile(client: &Client, job: &Job) -> Result<(), kube::Error> {
    let Job { document, world, service, policies } = job;
    let text = |field: &str| document.get("metadata").and_then(|metadata| metadata.get(field)?.as_str());
    let (namespace, name) = (text("namespace").unwrap_or_default(), text("name").unwrap_or_default());
    let channels = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource(Kind::RabbitmqChannel));
    if document.pointer("/metadata/annotations").and_then(|all| all.get(SUBSCRIBABLE)).is_none() {
        let patch = json!({"metadata": {"annotations": {SUBSCRIBABLE: "v1"}}});
        channels.patch(name, &parameters(), &Patch::Merge(&patch)).await?;
    }
    let wanted = service::wanted(document, &world.dispatcher);
    let service = ensure(client, namespace, service.as_deref(), &wanted).await?;
    let sink = dead_letter_sink(client, document, world).await?;
    let found = Found { service, sink, policies: policies.clone() };
    let now = k8s_openapi::jiff::Timestamp::now();
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let desired = desired::status(document, world, &found, &now);
    if let Some(patch) = desired::patch(document, desired) {
        channels.patch_status(name, &parameters(), &Patch::Merge(&patch)).await?;
    }
    Ok(())
}

/// The name of the Service, once it is as wanted; or why it cannot be.
async fn ensure(
    client: &Client,
    namespace: &str,
    there: Option<&Value>,
    wanted: &Value,
) -> Result<Result<String, String>, kube::Error> {
    let name = wanted.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let services = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource(Kind::Service));
    let written = match service::step(there, wanted) {
        Step::Nothing => return Ok(Ok(name.to_owned())),
        Step::Taken => return Ok(Err(format!("the Service {name} belongs to somebody else"))),
        Step::Create => match serde_json::from_value(wanted.clone()) {
            Ok(service) => services.create(&PostParams::default(), &service).await,
            Err(error) => Err(kube::Error::SerdeError(error)),
        },
        Step::Patch(patch) => services.patch(name, &parameters(), &Patch::Merge(&patch)).await,
    };
    match written {
        Ok(_) => Ok(Ok(name.to_owned())),
        // It may be there although it has not been seen yet.
        Err(kube::Error::Api(status)) if status.code == 409 => match services.get_opt(name).await? {
            Some(found) => match service::step(serde_json::to_value(&found).ok().as_ref(), wanted) {
                Step::Nothing => Ok(Ok(name.to_owned())),
                _ => Ok(Err(format!("the Service {name} belongs to somebody else"))),
            },
            None => Err(kube::Error::Api(status)),
        },
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => Ok(Err(status.message.clone())),
        Err(error) => Err(error),
    }
}

/// Looks at what the sink refers to, and resolves it.
async fn dead_letter_sink(
    client: &Client,
    channel: &Value,
    world: &World,
) -> Result<Result<Option<sink::Sink>, String>, kube::Error> {
    let referred = match sink::reference(channel) {
        None => None,
        Some(reference) => match reference.api(client.clone()).get_opt(&reference.name).await {
            Ok(found) => found.and_then(|found| serde_json::to_value(found).ok()),
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 404) => {
                return Ok(Err(format!("{reference} cannot be looked at: {}", status.message)));
            }
            Err(error) => return Err(error),
        },
    };
    Ok(sink::resolve(channel, referred.as_ref(), world))
}
