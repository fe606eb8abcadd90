//! The fake API server itself: what is tested above it is worth as much as it is like a real one.

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::runtime::watcher;
use serde_json::json;

use super::support::cluster::objects::{channel, features, subscriber};
use super::support::cluster::{Cluster, SYSTEM};

#[tokio::test]
async fn objects_are_created_patched_and_deleted() {
    let cluster = Cluster::start().await;
    cluster.namespace("t").await;
    cluster.create(&channel("t/c", &[subscriber("s", "http://localhost/")])).await;
    let created = cluster.get("InMemoryChannel", "t/c").await.expect("a channel");
    assert_eq!(created["metadata"]["generation"], 1);
    let patched = cluster.merge_status("InMemoryChannel", "t/c", &json!({"observedGeneration": 1})).await;
    assert_eq!((&patched["metadata"]["generation"], &patched["spec"]), (&json!(1), &created["spec"]));
    cluster.delete("InMemoryChannel", "t/c").await;
    assert_eq!(cluster.get("InMemoryChannel", "t/c").await, None);
}

#[tokio::test]
async fn a_watcher_sees_what_happens() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client("imc-dispatcher").await, SYSTEM);
    let mut events = std::pin::pin!(watcher(maps, watcher::Config::default()));
    assert!(matches!(events.next().await, Some(Ok(watcher::Event::Init))));
    assert!(matches!(events.next().await, Some(Ok(watcher::Event::InitDone))));
    cluster.create(&features(&[("transport-encryption", "strict")])).await;
    let Some(Ok(watcher::Event::Apply(map))) = events.next().await else { panic!("no event") };
    assert_eq!(map.data.expect("data")["transport-encryption"], "strict");
}
