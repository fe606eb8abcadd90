//! The requests that the API server gets (contract 1A, 1.14, 1.15).

use std::collections::BTreeSet;

use serde_json::json;

use super::{cluster, served, subscribe, until_marked};
use crate::support::cluster::Entry;
use crate::support::cluster::objects::{features, subscriber};
use crate::support::pod::Pod;
use rustix::process::Signal;

/// Contract C28, C31, C2, 2.10: the table of the contract and nothing else, all of it with
/// upstream's rights; nothing is left behind but `status.subscribers` and a Lease that nobody
/// holds.
#[tokio::test]
async fn the_api_server_is_asked_what_the_contract_says() {
    let cluster = cluster().await;
    cluster
        .create(&features(&[("transport-encryption", "disabled")]))
        .await;
    served(&cluster, "a", &[subscriber("s", "http://localhost:1/")]).await;
    let mut pod = Pod::of(&cluster).await.start().await;
    until_marked(&cluster, "a", &[("uid-of-s", 1)]).await;
    let mut bad = subscriber("bad", "http://localhost:1/");
    bad["delivery"] = json!({"timeout": "x"});
    subscribe(&cluster, "a", &[bad]).await;
    cluster
        .until_logged("a Warning", |entry| entry.resource == "events")
        .await;
    let lease = "inmemorychannel-dispatcher.knative.dev.eventing.pkg.reconciler.inmemorychannel.dispatcher.reconciler.00-of-01";
    cluster
        .until_logged("a renewal", |entry| {
            entry.verb == "update" && entry.name == lease
        })
        .await;
    pod.signal(Signal::TERM);
    assert!(pod.ended().await.success());

    let user = "system:serviceaccount:knative-eventing:imc-dispatcher";
    let of_pod: Vec<_> = cluster
        .log()
        .into_iter()
        .filter(|entry| entry.user == user)
        .collect();
    let refused = of_pod
        .iter()
        .find(|entry| entry.code >= 300 && entry.code != 404);
    assert!(refused.is_none(), "{refused:?}");
    // The names of Events are made up.
    let line = |entry: &Entry| match (entry.verb.as_str(), entry.resource.as_str()) {
        ("create", "events") => format!("create events {}/", entry.namespace),
        _ => entry.line(),
    };
    let lines: BTreeSet<String> = of_pod.iter().map(line).collect();
    let mut allowed = BTreeSet::from([
        "list messaging.knative.dev/inmemorychannels".to_owned(),
        "watch messaging.knative.dev/inmemorychannels".to_owned(),
        "patch messaging.knative.dev/inmemorychannels/status t/a".to_owned(),
        "get configmaps knative-eventing/config-leader-election".to_owned(),
        "create events t/".to_owned(),
        format!("create coordination.k8s.io/leases knative-eventing/{lease}"),
        format!("get coordination.k8s.io/leases knative-eventing/{lease}"),
        format!("update coordination.k8s.io/leases knative-eventing/{lease}"),
    ]);
    let maps = [
        "config-features",
        "config-logging",
        "config-observability",
        "config-imc-backend",
        "",
    ]
    .map(|name| ("configmaps", name));
    for (resource, name) in maps
        .into_iter()
        .chain([("secrets", "imc-dispatcher-server-tls")])
    {
        for verb in ["list", "watch"] {
            allowed.insert(format!("{verb} {resource} knative-eventing/{name}"));
            allowed.insert(format!("{verb} {resource} knative-eventing/"));
        }
    }
    let more: Vec<_> = lines.difference(&allowed).collect();
    assert!(more.is_empty(), "{more:?}");
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains("inmemorychannels"))
            .count(),
        3
    );

    let patches = of_pod.iter().filter(|entry| entry.verb == "patch");
    for patch in patches {
        assert_eq!(
            patch
                .body
                .as_object()
                .expect("a patch")
                .keys()
                .collect::<Vec<_>>(),
            ["status"]
        );
        assert_eq!(
            patch.body["status"]
                .as_object()
                .expect("a status")
                .keys()
                .collect::<Vec<_>>(),
            ["subscribers"]
        );
    }
    let lease = cluster
        .get("Lease", &format!("knative-eventing/{lease}"))
        .await
        .expect("a Lease");
    assert_eq!(
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default(),
        ""
    );
}

/// Contract 2.12: what is right is left alone, whoever starts.
#[tokio::test]
async fn a_status_that_is_right_is_not_written() {
    let cluster = cluster().await;
    served(&cluster, "a", &[subscriber("s", "http://localhost:1/")]).await;
    let right =
        json!({"subscribers": [{"uid": "uid-of-s", "observedGeneration": 1, "ready": "True"}]});
    cluster.merge_status("InMemoryChannel", "t/a", &right).await;
    let _pod = Pod::of(&cluster).await.start().await;
    served(&cluster, "b", &[subscriber("s", "http://localhost:1/")]).await;
    until_marked(&cluster, "b", &[("uid-of-s", 1)]).await;
    let patches: Vec<_> = cluster
        .log()
        .into_iter()
        .filter(|entry| entry.verb == "patch" && entry.name == "a")
        .collect();
    assert!(
        patches
            .iter()
            .all(|patch| !patch.user.contains("imc-dispatcher")),
        "{patches:?}"
    );
}
