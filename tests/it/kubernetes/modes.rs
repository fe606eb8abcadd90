//! Flags, certificates and trust, live (contract 3.1 to 3.13, 4).

use serde_json::{Value, json};

use super::traffic_of::Traffic;
use super::{cluster, host, served};
use crate::support::cluster::Cluster;
use crate::support::cluster::objects::{features, subscriber, tls_secret, trust_bundle};
use crate::support::dispatcher::Dispatcher;
use crate::support::pki::Ca;
use crate::support::pod::Pod;
use crate::support::sender::{event, plain, send, trusting};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{SOON, eventually};

const SECRET: &str = "imc-dispatcher-server-tls";

async fn mode(cluster: &Cluster, mode: &str) {
    cluster
        .apply(&features(&[("transport-encryption", mode)]))
        .await;
}

/// Status over HTTP and over HTTPS; 0 if the handshake fails.
async fn answers(pod: &Dispatcher, ca: &str) -> (u16, u16) {
    let http = send(&plain(), pod.http_url("/t/a"), "x").await;
    let https = event(&trusting(ca), pod.https_url("/t/a"), "x")
        .send()
        .await;
    (http, https.map_or(0, |answer| answer.status().as_u16()))
}

async fn until_answers(pod: &Dispatcher, ca: &str, wanted: (u16, u16)) {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let answers = answers(pod, ca).await;
        if answers == wanted {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{answers:?} instead of {wanted:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Contract C15, C16, C17, C18, 3.1 to 3.4, 3.12a, 4.6, 1.8a: every mode on the next request,
/// missing and odd ones, too.
#[tokio::test]
async fn modes_change_live() {
    let cluster = cluster().await;
    let ca = Ca::new("mode");
    cluster
        .create(&tls_secret(SECRET, &ca.issue(&["localhost"]), &ca.pem))
        .await;
    served(&cluster, "a", &[]).await;
    let pod = Pod::of(&cluster).await.start().await;
    until_answers(&pod, &ca.pem, (202, 404)).await;
    for (written, wanted) in [
        ("permissive", (202, 202)),
        ("strict", (404, 202)),
        ("disabled", (202, 404)),
        ("STRICT", (404, 202)),
        ("bogus", (404, 202)),
        ("Permissive", (202, 202)),
        ("bogus", (202, 202)),
        ("strict", (404, 202)),
        ("disabled", (202, 404)),
        ("stict", (202, 404)),
        ("strict", (404, 202)),
    ] {
        mode(&cluster, written).await;
        until_answers(&pod, &ca.pem, wanted).await;
        let probe = plain()
            .get(pod.http_url("/healthz"))
            .header("user-agent", "kube-probe/1.34")
            .send()
            .await;
        assert_eq!(probe.expect("an answer").status(), 204, "{written}");
    }
    cluster
        .delete("ConfigMap", "knative-eventing/config-features")
        .await;
    served(&cluster, "b", &[]).await;
    eventually("the deletion has been seen", || {
        !pod.logged(&["Configuration applied", "\"channels\":2"])
            .is_empty()
    })
    .await;
    until_answers(&pod, &ca.pem, (404, 202)).await;
    cluster
        .create(&features(&[
            ("_example", "x"),
            (" transport-encryption ", "Permissive"),
        ]))
        .await;
    until_answers(&pod, &ca.pem, (202, 202)).await;
    cluster
        .merge(
            "ConfigMap",
            "knative-eventing/config-features",
            &json!({"data": {" transport-encryption ": null}}),
        )
        .await;
    until_answers(&pod, &ca.pem, (202, 404)).await;
}

/// Contract C18, unlike upstream (contract 3.3): a mode that is none lets nothing more pass. Where
/// there was none before it, nothing is taken by plain HTTP until it is mended; probes are
/// answered.
#[tokio::test]
async fn a_mode_that_is_none_at_the_start_takes_nothing_by_plain_http() {
    for written in ["bogus", ""] {
        let cluster = cluster().await;
        let ca = Ca::new("mode");
        cluster
            .create(&tls_secret(SECRET, &ca.issue(&["localhost"]), &ca.pem))
            .await;
        served(&cluster, "a", &[]).await;
        mode(&cluster, written).await;
        let pod = Pod::of(&cluster).await.start().await;
        until_answers(&pod, &ca.pem, (404, 202)).await;
        let probe = plain()
            .get(pod.http_url("/healthz"))
            .header("user-agent", "kube-probe/1.34")
            .send()
            .await;
        assert_eq!(probe.expect("an answer").status(), 204, "{written}");
        assert!(
            !pod.logged(&["Configuration has an error", "transport-encryption"])
                .is_empty(),
            "{}",
            pod.log()
        );
        mode(&cluster, "permissive").await;
        until_answers(&pod, &ca.pem, (202, 202)).await;
    }
}

/// Contract 4.6: a sender that still has the address of another mode gets an answer, and the host
/// name stays known.
#[tokio::test]
async fn host_names_stay_while_modes_flip() {
    let cluster = cluster().await;
    served(&cluster, "a", &[]).await;
    let pod = Pod::of(&cluster).await.start().await;
    let strict = json!({"name": "https", "url": "https://imc-dispatcher.knative-eventing.svc.cluster.local/t/a"});
    cluster
        .merge_status(
            "InMemoryChannel",
            "t/a",
            &json!({"address": strict.clone(), "addresses": [strict]}),
        )
        .await;
    let url = "https://imc-dispatcher";
    let shows = |object: &Value| {
        object["status"]["address"]["url"]
            .as_str()
            .is_some_and(|text| text.starts_with(url))
    };
    pod.until_object("channels", "a", shows).await;
    let by_host = event(&plain(), pod.http_url("/"), "1").header("host", host("a"));
    assert_eq!(by_host.send().await.expect("an answer").status(), 202);
}

/// Contract 3.11, 3.12, C20: no Secret, a good one, a bad one, none again.
#[tokio::test]
async fn certificates_come_from_the_secret() {
    let cluster = cluster().await;
    let (first, second) = (Ca::new("first"), Ca::new("second"));
    mode(&cluster, "permissive").await;
    served(&cluster, "a", &[]).await;
    let pod = Pod::of(&cluster).await.start().await;
    assert_eq!(answers(&pod, &first.pem).await, (202, 0));
    cluster
        .create(&tls_secret(
            SECRET,
            &first.issue(&["localhost"]),
            &first.pem,
        ))
        .await;
    until_answers(&pod, &first.pem, (202, 202)).await;

    let mut mismatched = second.issue(&["localhost"]);
    mismatched.key_pem = first.issue(&["localhost"]).key_pem;
    cluster
        .apply(&tls_secret(SECRET, &mismatched, &second.pem))
        .await;
    eventually("the bad pair is reported", || {
        !pod.logged(&["has an error", "does not belong to the first certificate"])
            .is_empty()
    })
    .await;
    assert_eq!(answers(&pod, &first.pem).await, (202, 202));
    cluster
        .merge(
            "Secret",
            &format!("knative-eventing/{SECRET}"),
            &json!({"data": {"tls.key": null}}),
        )
        .await;
    eventually("the missing key is reported", || {
        !pod.logged(&["has no key tls.key"]).is_empty()
    })
    .await;
    assert_eq!(answers(&pod, &first.pem).await, (202, 202));
    cluster
        .delete("Secret", &format!("knative-eventing/{SECRET}"))
        .await;
    served(&cluster, "b", &[]).await;
    eventually("the deletion has been seen", || {
        !pod.logged(&["Configuration applied", "\"channels\":2"])
            .is_empty()
    })
    .await;
    assert_eq!(answers(&pod, &first.pem).await, (202, 202));
    cluster
        .create(&tls_secret(
            SECRET,
            &second.issue(&["localhost"]),
            &second.pem,
        ))
        .await;
    until_answers(&pod, &second.pem, (202, 202)).await;
    assert!(!pod.log().contains("PRIVATE KEY"));
    assert_eq!(
        std::fs::read_dir(pod.path("root"))
            .expect("a directory")
            .count(),
        0,
        "nothing is written (1.4)"
    );
}

/// Contract C15 to C17, C19: rotation and flags under load, without one failed request.
#[tokio::test]
async fn nothing_fails_while_certificates_rotate_and_flags_switch() {
    let cluster = cluster().await;
    let ca = Ca::new("load");
    let sink = Subscriber::ok().await;
    let rotate = || async {
        cluster
            .apply(&tls_secret(SECRET, &ca.issue(&["localhost"]), &ca.pem))
            .await
    };
    rotate().await;
    served(&cluster, "a", &[subscriber("s", &sink.url())]).await;
    mode(&cluster, "permissive").await;
    let pod = Pod::of(&cluster).await.start().await;
    until_answers(&pod, &ca.pem, (202, 202)).await;

    let plain_load = Traffic::start(&plain(), &pod.http_url("/t/a"));
    for written in ["disabled", "permissive", "disabled", "permissive"] {
        mode(&cluster, written).await;
        until_answers(
            &pod,
            &ca.pem,
            (202, if written == "disabled" { 404 } else { 202 }),
        )
        .await;
    }
    assert_eq!(plain_load.stop().await, [""; 0]);
    let secure_load = Traffic::start(&trusting(&ca.pem), &pod.https_url("/t/a"));
    for written in ["strict", "permissive", "strict", "permissive"] {
        let used = || pod.logged(&["Server certificate in use"]).len();
        let before = used();
        rotate().await;
        eventually("the new certificate is used", || used() > before).await;
        mode(&cluster, written).await;
        until_answers(
            &pod,
            &ca.pem,
            (if written == "strict" { 404 } else { 202 }, 202),
        )
        .await;
    }
    assert_eq!(secure_load.stop().await, [""; 0]);
}

/// Contract C21, C22, 3.9, 3.10, 5.2: CACerts, trust bundles while running, and neither; keystores
/// and broken PEM.
#[tokio::test]
async fn subscribers_are_trusted_by_their_certificates_or_by_bundles() {
    let cluster = cluster().await;
    let (own, common) = (Ca::new("own"), Ca::new("common"));
    let secure = |ca: &Ca| {
        let identity = ca.issue(&["localhost"]);
        async move { Subscriber::secure(&identity, |_| Reply::status(200)).await }
    };
    let (by_own, by_common, dead) = (
        secure(&own).await,
        secure(&common).await,
        Subscriber::ok().await,
    );
    let with = |name: &str, url: String, ca: Option<&str>| {
        let mut entry = subscriber(name, &url);
        entry["delivery"] = json!({"deadLetterSink": {"uri": dead.url()}});
        if let Some(ca) = ca {
            entry["subscriberCACerts"] = json!(ca);
        }
        entry
    };
    served(
        &cluster,
        "own",
        &[with("own", by_own.url(), Some(&own.pem))],
    )
    .await;
    served(&cluster, "common", &[with("common", by_common.url(), None)]).await;
    let nonsense = "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n";
    served(
        &cluster,
        "broken",
        &[with("broken", by_common.url(), Some(nonsense))],
    )
    .await;
    let pod = Pod::of(&cluster).await.start().await;
    let is_told = |channel: &Value| {
        let entry = &channel["status"]["subscribers"][0];
        entry["ready"] == "False"
            && entry["message"]
                .as_str()
                .is_some_and(|text| text.starts_with("subscriberCACerts: "))
    };
    cluster.until("InMemoryChannel", "t/broken", is_told).await;

    assert_eq!(send(&plain(), pod.http_url("/t/own"), "1").await, 202);
    assert_eq!(send(&plain(), pod.http_url("/t/common"), "2").await, 202);
    assert_eq!((by_own.count(), by_common.count(), dead.count()), (1, 0, 1));

    let mut bundle = trust_bundle("bundle", "no PEM at all");
    bundle["binaryData"] = json!({"bundle.p12": "MIIAAAA=", "ca.pem": base64(&common.pem)});
    cluster.create(&bundle).await;
    let applied = "Configuration applied";
    eventually("the bundle is used", || pod.logged(&[applied]).len() > 1).await;
    assert_eq!(send(&plain(), pod.http_url("/t/common"), "3").await, 202);
    assert_eq!((by_common.count(), dead.count()), (1, 1));
    assert_eq!(send(&plain(), pod.http_url("/t/broken"), "4").await, 202);
    assert_eq!(
        (by_common.count(), dead.count()),
        (1, 2),
        "broken CACerts trust nobody"
    );

    cluster.delete("ConfigMap", "knative-eventing/bundle").await;
    eventually("the bundle is gone", || pod.logged(&[applied]).len() > 2).await;
    assert_eq!(send(&plain(), pod.http_url("/t/common"), "5").await, 202);
    assert_eq!((by_common.count(), dead.count()), (1, 3));
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(text)
}
