//! What the tests' own clusters are for: each fault is there when its command ends, and over when
//! the other one ends.

use std::time::{Duration, Instant};

use crate::support::rabbitmq::{Client, Cluster};

/// How long a queue may take to have a leader again.
const ELECTION: Duration = Duration::from_secs(30);

/// How long it is watched that a message which cannot be confirmed is not.
const LONG: Duration = Duration::from_secs(2);

async fn put(uri: &str) {
    Client::new(uri)
        .await
        .put("q", "text/plain", &[], b"x")
        .await;
}

/// Whether a message is confirmed in time, once. A node in trouble may take the connection and say
/// nothing.
async fn confirms(uri: &str, time: Duration) -> bool {
    let uri = uri.to_owned();
    let attempt = tokio::spawn(async move { put(&uri).await });
    let abort = attempt.abort_handle();
    let ended = tokio::time::timeout(time, attempt).await;
    abort.abort();
    matches!(ended, Ok(Ok(())))
}

/// Waits until a node's clients are served.
async fn served(uri: &str) {
    let deadline = Instant::now() + ELECTION;
    while !confirms(uri, LONG).await {
        assert!(Instant::now() < deadline, "{uri} does not serve");
    }
}

/// How many nodes hold a member of the queue.
fn members(cluster: &Cluster) -> usize {
    let listed = cluster.ctl(1, &["list_queues", "--no-table-headers", "members"]);
    listed.matches("@localhost").count()
}

/// The other two serve while a node is killed, hangs, or is cut off; it serves again after that.
/// The first node leads the queue: fresh channels wait for a leader that hangs until its peers give
/// it up, which is a matter of RabbitMQ's.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_outlives_each_fault_of_a_node() {
    let cluster = Cluster::start();
    Client::new(cluster.uri(1)).await.declare("q").await;
    for uri in cluster.uris() {
        served(uri).await;
    }
    cluster.kill(2);
    served(cluster.uri(1)).await;
    assert!(!confirms(cluster.uri(2), LONG).await, "it is dead");
    cluster.restart(2);
    served(cluster.uri(2)).await;
    cluster.pause(3);
    served(cluster.uri(2)).await;
    assert!(!confirms(cluster.uri(3), LONG).await, "it hangs");
    cluster.resume(3);
    served(cluster.uri(3)).await;
    cluster.partition(2);
    served(cluster.uri(1)).await;
    assert!(!confirms(cluster.uri(2), LONG).await, "it has no majority");
    cluster.heal();
    served(cluster.uri(2)).await;
}

/// A node leaves for good, another comes in its place, and a node is stopped in good order.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_outlives_the_exchange_of_a_node() {
    let cluster = Cluster::start();
    Client::new(cluster.uri(1)).await.declare("q").await;
    assert_eq!(members(&cluster), 3);
    cluster.forget(3);
    served(cluster.uri(1)).await;
    assert_eq!(members(&cluster), 2);
    cluster.grow(3);
    assert_eq!(members(&cluster), 3);
    served(cluster.uri(3)).await;
    cluster.stop(2);
    served(cluster.uri(3)).await;
    cluster.restart(2);
    served(cluster.uri(2)).await;
}
