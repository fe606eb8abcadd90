//! Objects: versions, generations, conflicts, the status apart from the rest, finalizers,
//! definitions.

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{channels, cluster, code};
use crate::support::cluster::controller::{Controller, Surroundings, status};
use crate::support::cluster::objects::{
    channel, config_map, features, object, subscriber, tls_secret,
};
use crate::support::cluster::{Admin, SYSTEM};
use crate::support::pki::Ca;

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
}

#[tokio::test]
async fn an_object_has_a_generation_and_a_version_and_its_status_is_apart() {
    let cluster = cluster().await;
    let mut wanted = channel("t/c", &[subscriber("s", "http://localhost/")]);
    wanted["status"] = json!({"observedGeneration": 7});
    let created = cluster.create(&wanted).await;
    assert_eq!(created["metadata"]["generation"], 1);
    assert_eq!(created["status"], Value::Null, "a status is not created");
    assert!(
        created["metadata"]["uid"].is_string()
            && created["metadata"]["creationTimestamp"].is_string()
    );

    let observed = cluster
        .merge_status("InMemoryChannel", "t/c", &json!({"observedGeneration": 1}))
        .await;
    assert_eq!(
        (&observed["metadata"]["generation"], &observed["spec"]),
        (&json!(1), &created["spec"])
    );
    assert_ne!(version(&observed), version(&created));

    let both = json!({"spec": {"subscribers": null}, "status": {"observedGeneration": 9}});
    let changed = cluster.merge("InMemoryChannel", "t/c", &both).await;
    assert_eq!(
        (&changed["metadata"]["generation"], &changed["status"]),
        (&json!(2), &observed["status"])
    );
    assert_eq!(changed["spec"], json!({}), "null removes what it names");

    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let labelled = cluster.merge("InMemoryChannel", "t/c", &labels).await;
    assert_eq!(
        labelled["metadata"]["generation"], 2,
        "labels are no part of the spec"
    );
    let same = cluster.merge("InMemoryChannel", "t/c", &labels).await;
    assert_eq!(
        version(&same),
        version(&labelled),
        "what changes nothing makes no version"
    );
}

#[tokio::test]
async fn status_is_patched_by_json_patch_too() {
    let cluster = cluster().await;
    cluster.create(&channel("t/c", &[])).await;
    let channels = channels(cluster.client("imc-dispatcher").await);
    let patch = |patch: Value| Patch::<()>::Json(serde_json::from_value(patch).expect("a patch"));
    let parameters = PatchParams::default();
    let add = patch(json!([
        {"op": "add", "path": "/status", "value": {"subscribers": []}},
        {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}},
    ]));
    let patched = channels
        .patch_status("c", &parameters, &add)
        .await
        .expect("patched");
    assert_eq!(
        (&patched.data["status"], patched.metadata.labels),
        (&json!({"subscribers": []}), None)
    );
    let missing = patch(json!([{"op": "replace", "path": "/status/subscribers/3", "value": 1}]));
    assert_eq!(
        code(channels.patch_status("c", &parameters, &missing).await),
        422
    );
    let stale = Patch::Merge(
        json!({"metadata": {"resourceVersion": "1"}, "status": {"subscribers": null}}),
    );
    assert_eq!(
        code(channels.patch_status("c", &parameters, &stale).await),
        409
    );
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_as_it_should_be() {
    let cluster = cluster().await;
    let created = cluster.create(&channel("t/c", &[])).await;
    let post = |object: Value| async move { object };
    let path = "/apis/messaging.knative.dev/v1/namespaces/t/inmemorychannels";
    let refused = [
        (
            cluster
                .ask("POST", path, &post(channel("t/c", &[])).await)
                .await,
            409,
            "AlreadyExists",
        ),
        (
            cluster.ask("GET", &format!("{path}/d"), &Value::Null).await,
            404,
            "NotFound",
        ),
        (
            cluster.ask("POST", path, &features(&[])).await,
            400,
            "BadRequest",
        ),
        (
            cluster
                .ask("POST", &path.replace("/t/", "/u/"), &channel("u/c", &[]))
                .await,
            404,
            "NotFound",
        ),
        (cluster.replace(&channel("t/c", &[])).await, 422, "Invalid"),
    ];
    for (answer, code, reason) in refused {
        let Err(kube::Error::Api(status)) = answer else {
            panic!("no refusal: {answer:?}")
        };
        assert_eq!(
            (status.code, status.reason.as_str()),
            (code, reason),
            "{status:?}"
        );
    }
    cluster
        .merge(
            "InMemoryChannel",
            "t/c",
            &json!({"spec": {"subscribers": null}}),
        )
        .await;
    assert_eq!(
        code(cluster.replace(&created).await),
        409,
        "not the newest version"
    );
}

#[tokio::test]
async fn a_finalizer_delays_a_deletion() {
    let cluster = cluster().await;
    let mut wanted = channel("t/c", &[]);
    wanted["metadata"]["finalizers"] = json!(["test.example/wait"]);
    cluster.create(&wanted).await;
    cluster.delete("InMemoryChannel", "t/c").await;
    let deleting = cluster
        .get("InMemoryChannel", "t/c")
        .await
        .expect("still there");
    assert!(deleting["metadata"]["deletionTimestamp"].is_string());
    cluster
        .merge(
            "InMemoryChannel",
            "t/c",
            &json!({"metadata": {"finalizers": null}}),
        )
        .await;
    assert_eq!(cluster.get("InMemoryChannel", "t/c").await, None);
}

/// Contract 3.12a: the definitions of EventPolicies and EventTypes can be missing.
#[tokio::test]
async fn a_kind_is_there_as_long_as_its_definition_is() {
    let cluster = cluster().await;
    let definition = "eventtypes.eventing.knative.dev";
    let kept = cluster
        .get("CustomResourceDefinition", definition)
        .await
        .expect("a definition");
    cluster.delete("CustomResourceDefinition", definition).await;
    let path = "/apis/eventing.knative.dev/v1beta3/eventtypes";
    let Some(_) = cluster.only_fake("a kind goes some time after its definition") else {
        return;
    };
    assert_eq!(code(cluster.ask("GET", path, &Value::Null).await), 404);
    let mut again = object("CustomResourceDefinition", definition);
    again["spec"] = kept["spec"].clone();
    cluster.create(&again).await;
    assert_eq!(cluster.list("EventType", "t").await, Vec::<Value>::new());
}

/// Of a Lease, times have six decimals and an update names its version.
#[tokio::test]
async fn a_lease_is_taken_by_one() {
    let cluster = cluster().await;
    let leases: Api<Lease> = Api::namespaced(cluster.client("imc-dispatcher").await, SYSTEM);
    let mut wanted = Lease {
        metadata: ObjectMeta {
            name: Some("l".to_owned()),
            ..ObjectMeta::default()
        },
        spec: None,
    };
    let created = leases
        .create(&PostParams::default(), &wanted)
        .await
        .expect("created");
    wanted.metadata.resource_version = created.metadata.resource_version;
    wanted.spec = serde_json::from_value(json!({
        "holderIdentity": "me", "leaseDurationSeconds": 5, "renewTime": "2026-01-01T00:00:00.000000Z",
    }))
    .expect("a spec");
    leases
        .replace("l", &PostParams::default(), &wanted)
        .await
        .expect("taken");
    assert_eq!(
        code(leases.replace("l", &PostParams::default(), &wanted).await),
        409,
        "taken a moment ago"
    );
    let short = Patch::Merge(json!({"spec": {"renewTime": "2026-01-01T00:00:00Z"}}));
    assert_eq!(
        code(leases.patch("l", &PatchParams::default(), &short).await),
        422
    );
}

/// Contract 4, 4.1, 4.8.
#[tokio::test]
async fn a_channel_gets_its_addresses_as_imc_controller_gives_them() {
    let cluster = cluster().await;
    cluster
        .create(&channel("t/c", &[subscriber("s", "http://localhost/")]))
        .await;
    let url = |address: &Value| address["url"].as_str().unwrap_or_default().to_owned();
    let (http, https) = (
        "http://c-kn-channel.t.svc.cluster.local",
        "https://imc-dispatcher.knative-eventing.svc.cluster.local/t/c",
    );
    let reconciled = cluster.reconcile("t/c").await;
    assert_eq!(
        (
            url(&reconciled["status"]["address"]).as_str(),
            reconciled["status"]["observedGeneration"].as_u64()
        ),
        (http, Some(1))
    );
    assert_eq!(
        version(&cluster.reconcile("t/c").await),
        version(&reconciled),
        "nothing to do"
    );

    let strict = features(&[
        ("transport-encryption", "strict"),
        ("authentication-oidc", "Enabled"),
    ]);
    cluster.apply(&strict).await;
    let ready = |channel: &Value| ready(channel)["status"].as_str() == Some("True");
    assert!(
        !ready(&cluster.reconcile("t/c").await),
        "there is no Secret"
    );
    let authority = Ca::new("dispatcher");
    cluster
        .create(&tls_secret(
            "imc-dispatcher-server-tls",
            &authority.issue(&["localhost"]),
            &authority.pem,
        ))
        .await;
    let reconciled = cluster.reconcile("t/c").await;
    let address = &reconciled["status"]["address"];
    assert!(ready(&reconciled));
    assert_eq!(
        (url(address).as_str(), &address["CACerts"]),
        (https, &json!(authority.pem))
    );
    assert_eq!(
        address["audience"],
        "messaging.knative.dev/inmemorychannel/t/c"
    );

    cluster
        .apply(&features(&[("transport-encryption", "permissive")]))
        .await;
    let addresses = cluster.reconcile("t/c").await["status"]["addresses"].clone();
    assert_eq!(
        (url(&addresses[0]).as_str(), url(&addresses[1]).as_str()),
        (https, http)
    );
}

/// Contract 2.7, 3.4: each change of a channel, and of what its addresses depend on, is followed.
#[tokio::test]
async fn imc_controller_follows_what_happens() {
    let cluster = cluster().await;
    let _controller = Controller::start(cluster.admin());
    cluster.create(&channel("t/c", &[])).await;
    let observed = |channel: &Value| channel["status"]["observedGeneration"].clone();
    cluster
        .until("InMemoryChannel", "t/c", |channel| observed(channel) == 1)
        .await;
    let subscribers = json!({"spec": {"subscribers": [subscriber("s", "http://localhost/")]}});
    cluster.merge("InMemoryChannel", "t/c", &subscribers).await;
    cluster
        .until("InMemoryChannel", "t/c", |channel| observed(channel) == 2)
        .await;
    let authority = Ca::new("dispatcher");
    cluster
        .create(&tls_secret(
            "imc-dispatcher-server-tls",
            &authority.issue(&["localhost"]),
            &authority.pem,
        ))
        .await;
    cluster
        .apply(&features(&[("transport-encryption", "strict")]))
        .await;
    cluster
        .until("InMemoryChannel", "t/c", |channel| {
            channel["status"]["address"]["name"] == "https"
        })
        .await;
}

fn ready(channel: &Value) -> &Value {
    crate::support::dispatcher::ready(channel)
}

#[tokio::test]
async fn policies_are_named_in_a_channel_when_they_are_ready() {
    let cluster = cluster().await;
    cluster.create(&channel("t/c", &[])).await;
    for (name, to) in [
        ("b", json!([])),
        (
            "a",
            json!([{"ref": {"kind": "InMemoryChannel", "name": "c"}}]),
        ),
    ] {
        policy(&cluster, name, &to).await;
    }
    policy(
        &cluster,
        "other",
        &json!([{"ref": {"kind": "InMemoryChannel", "name": "d"}}]),
    )
    .await;
    let policies = cluster.reconcile("t/c").await["status"]["policies"].clone();
    let names: Vec<&str> = policies
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|p| p["name"].as_str())
        .collect();
    assert_eq!(names, ["a", "b"]);
}

async fn policy(admin: &Admin, name: &str, to: &Value) {
    let mut policy = object("EventPolicy", &format!("t/{name}"));
    policy["spec"] = json!({"to": to});
    admin.create(&policy).await;
    let status = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    admin
        .merge_status("EventPolicy", &format!("t/{name}"), &status)
        .await;
}

#[tokio::test]
async fn many_are_put_in_at_once_and_listed_in_pages() {
    let cluster = cluster().await;
    let Some(fake) = cluster.only_fake("a real one takes objects one by one") else {
        return;
    };
    fake.seed((0..1000).map(|number| {
        let mut channel = channel(&format!("t/c{number}"), &[]);
        channel["metadata"]["generation"] = json!(1);
        channel["status"] = status(&channel, &Surroundings::default());
        channel
    }));
    let first = cluster
        .ask("GET", &format!("{CHANNELS}?limit=400"), &Value::Null)
        .await
        .expect("a page");
    let (mut names, mut page) = (Vec::new(), first);
    loop {
        names.extend(
            page["items"]
                .as_array()
                .expect("items")
                .iter()
                .map(|item| item["metadata"]["name"].to_string()),
        );
        let Some(token) = page["metadata"]["continue"].as_str() else {
            break;
        };
        let next = format!("{CHANNELS}?limit=400&continue={token}");
        page = cluster
            .ask("GET", &next, &Value::Null)
            .await
            .expect("a page");
    }
    let listed = names.len();
    names.sort();
    names.dedup();
    assert_eq!((listed, names.len()), (1000, 1000));
    let channel = cluster
        .get("InMemoryChannel", "t/c999")
        .await
        .expect("a channel");
    assert_eq!(ready(&channel)["status"], "True");
}

const CHANNELS: &str = "/apis/messaging.knative.dev/v1/inmemorychannels";

#[tokio::test]
async fn a_selection_by_label_or_by_name() {
    let cluster = cluster().await;
    cluster.create(&config_map("plain", &[])).await;
    cluster
        .create(&crate::support::cluster::objects::trust_bundle(
            "bundle", "no PEM",
        ))
        .await;
    for (query, found) in [
        (
            "labelSelector=networking.knative.dev/trust-bundle%3Dtrue",
            vec!["bundle"],
        ),
        (
            "labelSelector=networking.knative.dev/trust-bundle",
            vec!["bundle"],
        ),
        (
            "labelSelector=networking.knative.dev/trust-bundle%3Dfalse",
            vec![],
        ),
        (
            "labelSelector=!networking.knative.dev/trust-bundle",
            vec!["plain"],
        ),
        ("fieldSelector=metadata.name%3Dplain", vec!["plain"]),
        ("fieldSelector=metadata.name!%3Dplain", vec!["bundle"]),
    ] {
        let path = format!("/api/v1/namespaces/{SYSTEM}/configmaps?{query}");
        let list = cluster
            .ask("GET", &path, &Value::Null)
            .await
            .expect("a list");
        let names = list["items"]
            .as_array()
            .expect("items")
            .iter()
            .filter_map(|item| item["metadata"]["name"].as_str());
        assert_eq!(
            names
                .filter(|name| *name != "kube-root-ca.crt")
                .collect::<Vec<_>>(),
            found,
            "{query}"
        );
    }
}
