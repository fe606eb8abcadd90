//! Who writes: one at a time, and soon another one (contract 2.21, 2.22, 1.12).

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{cluster, served, subscribe, until_marked};
use crate::support::cluster::objects::{config_map, subscriber};
use crate::support::dispatcher::Dispatcher;
use crate::support::eventually;
use crate::support::pod::Pod;
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;

/// Whether it leads, as the status page says.
async fn shown(pod: &Dispatcher) -> serde_json::Value {
    let (_, text) = pod.admin_text("/api/v1/status").await;
    let status: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    status["process"]["leads"].clone()
}

/// Whether it holds the Lease, as metrics say.
async fn held(pod: &Dispatcher) -> f64 {
    let series = pod.series("sealpost_lease_held", &["lease=\""]).await;
    assert_eq!(series.len(), 1, "{series:?}");
    pod.series_value("sealpost_lease_held", &[]).await
}

fn leads(pod: &Dispatcher) -> bool {
    pod.logged(&["Who writes status has changed"])
        .last()
        .is_some_and(|line| line.contains("\"leading\":true"))
}

/// Contract C13, C30: both serve, one writes; after kill -9 the other one does within five seconds,
/// after an orderly stop sooner.
#[tokio::test]
async fn another_one_writes_after_a_crash() {
    let cluster = cluster().await;
    let sink = Subscriber::ok().await;
    served(&cluster, "a", &[]).await;
    let first = Pod::of(&cluster)
        .await
        .env("POD_NAME", "first")
        .start()
        .await;
    eventually("the first one leads", || leads(&first)).await;
    let second = Pod::of(&cluster)
        .await
        .env("POD_NAME", "second")
        .start()
        .await;
    subscribe(&cluster, "a", &[subscriber("s", &sink.url())]).await;
    until_marked(&cluster, "a", &[("uid-of-s", 1)]).await;
    eventually("the second one serves it, too", || {
        second.logged(&["Configuration applied"]).len() > 1
    })
    .await;
    for pod in [&first, &second] {
        assert_eq!(send(&plain(), pod.http_url("/t/a"), "1").await, 202);
    }
    sink.until(2).await;
    assert!(!leads(&second));
    assert_eq!(
        (shown(&first).await, shown(&second).await),
        (true.into(), false.into())
    );
    assert_eq!((held(&first).await, held(&second).await), (1.0, 0.0));

    first.signal(Signal::KILL);
    let killed = Instant::now();
    subscribe(
        &cluster,
        "a",
        &[subscriber("s", &sink.url()), subscriber("r", &sink.url())],
    )
    .await;
    until_marked(&cluster, "a", &[("uid-of-s", 1), ("uid-of-r", 1)]).await;
    assert!(
        killed.elapsed() < Duration::from_secs(5),
        "{:?}",
        killed.elapsed()
    );
    assert_eq!(held(&second).await, 1.0);

    let third = Pod::of(&cluster)
        .await
        .env("POD_NAME", "third")
        .start()
        .await;
    second.signal(Signal::TERM);
    let stopped = Instant::now();
    subscribe(&cluster, "a", &[]).await;
    until_marked(&cluster, "a", &[]).await;
    eventually("the third one leads", || leads(&third)).await;
    assert!(
        stopped.elapsed() < Duration::from_secs(3),
        "{:?}",
        stopped.elapsed()
    );
}

/// Contract 2.21, 3.8: explicit timings are honoured, as they stand in the Lease.
#[tokio::test]
async fn explicit_timings_count() {
    let cluster = cluster().await;
    let timings = [
        ("lease-duration", "17s"),
        ("renew-deadline", "12s"),
        ("retry-period", "500ms"),
    ];
    cluster
        .create(&config_map("config-leader-election", &timings))
        .await;
    let pod = Pod::of(&cluster).await.start().await;
    eventually("it leads", || leads(&pod)).await;
    let lease = "knative-eventing/inmemorychannel-dispatcher.knative.dev.eventing.pkg.reconciler.inmemorychannel.dispatcher.reconciler.00-of-01";
    let lease = cluster.get("Lease", lease).await.expect("a Lease");
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 17);
    assert!(
        lease["spec"]["holderIdentity"]
            .as_str()
            .expect("a holder")
            .starts_with("imc-dispatcher-0_")
    );
}
