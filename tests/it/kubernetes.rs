//! `sealpost run --kubernetes` as the pods imc-dispatcher, mt-broker-ingress and mt-broker-filter,
//! in a cluster whose API server is a fake (or a real one, see `support/cluster.rs`), with
//! upstream's environment and rights (contract C1 to C32).

mod backends;
mod brokers;
mod channels;
mod correlation;
mod disk_channel;
mod identities;
mod modes;
mod oidc;
mod outages;
mod pods;
mod rabbitmq_channel;
mod relays;
mod scale;
mod traffic;
mod traffic_of;
mod writers;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::SOON;
use super::support::cluster::Cluster;
use super::support::cluster::objects::channel;

/// A cluster with a namespace `t`.
async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.namespace("t").await;
    cluster
}

/// The host name of a channel of the namespace `t`.
fn host(name: &str) -> String {
    format!("{name}-kn-channel.t.svc.cluster.local")
}

/// What imc-controller writes about the channel `t/name`, for this generation.
fn reconciled(name: &str, generation: &Value) -> Value {
    json!({
        "observedGeneration": generation,
        "conditions": [{"type": "Ready", "status": "True"}],
        "address": {"name": "http", "url": format!("http://{}", host(name))},
    })
}

/// Makes a channel `t/name` with these subscribers, and has it reconciled.
async fn served(cluster: &Cluster, name: &str, subscribers: &[Value]) -> Value {
    let created = cluster
        .create(&channel(&format!("t/{name}"), subscribers))
        .await;
    let status = reconciled(name, &created["metadata"]["generation"]);
    cluster
        .merge_status("InMemoryChannel", &format!("t/{name}"), &status)
        .await
}

/// Changes the subscribers of `t/name` as eventing-controller does.
async fn subscribe(cluster: &Cluster, name: &str, subscribers: &[Value]) -> Value {
    let patch = json!({"spec": {"subscribers": subscribers}});
    cluster
        .merge("InMemoryChannel", &format!("t/{name}"), &patch)
        .await
}

/// Waits until the status names these subscribers with these generations, in this order.
async fn until_marked(cluster: &Cluster, name: &str, subscribers: &[(&str, u64)]) -> Value {
    let marked = |(uid, generation): &(&str, u64)| json!({"uid": uid, "observedGeneration": generation, "ready": "True"});
    let wanted: Vec<Value> = subscribers.iter().map(marked).collect();
    let is_marked = |channel: &Value| match channel["status"].get("subscribers") {
        None => wanted.is_empty(),
        Some(list) => *list == json!(wanted),
    };
    cluster
        .until("InMemoryChannel", &format!("t/{name}"), is_marked)
        .await
}

/// Asks until the answer is this one.
async fn until_answer(wanted: u16, ask: impl AsyncFn() -> u16) {
    let deadline = Instant::now() + SOON;
    loop {
        let answer = ask().await;
        if answer == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{answer} instead of {wanted}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
