//! The fake API server itself: what is tested above it is worth as much as it is like a real one.

mod objects;
mod rights;
mod watches;

use kube::api::DynamicObject;
use kube::{Api, Client};

use super::support::cluster::{Admin, Cluster};

/// The channels of `t`, for this client.
fn channels(client: Client) -> Api<DynamicObject> {
    Admin(client).api("InMemoryChannel", Some("t"))
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
