//! The fake API server itself: what is tested above it is worth as much as it is like a real one.

mod objects;
mod rights;
mod watches;

use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client};

use super::support::cluster::Cluster;

/// The channels of a namespace, for this client.
fn channels(client: Client, namespace: &str) -> Api<DynamicObject> {
    let channel = kube::core::GroupVersionKind::gvk("messaging.knative.dev", "v1", "InMemoryChannel");
    Api::namespaced_with(client, namespace, &ApiResource::from_gvk_with_plural(&channel, "inmemorychannels"))
}

/// A cluster with the namespace `t`.
async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.namespace("t").await;
    cluster
}

/// The status code of a refusal.
fn code<T: std::fmt::Debug>(answer: kube::Result<T>) -> u16 {
    match answer {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("no refusal: {other:?}"),
    }
}
