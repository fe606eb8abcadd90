//! `transport-encryption`: which listener takes events, and the certificate that it shows (contract
//! IF-4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base64::Engine;
use rustls::version::{TLS12, TLS13};

use crate::support::dispatcher::{Dispatcher, replace};
use crate::support::pki::{Ca, Identity};
use crate::support::sender::{client, event, plain, send, tls, trusting};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{block, channel, eventually, features};

/// Contract CR-37 to CR-40, IF-4, 3.2: modes by listener, switched while running.
#[tokio::test(flavor = "multi_thread")]
async fn modes_are_switched_while_running() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let secure = trusting(&dispatcher.ca());
    for (mode, http, https, addresses) in [
        ("strict", 404, 202, &["https"][..]),
        ("permissive", 202, 202, &["https", "http"]),
        ("Disabled", 202, 404, &["http"]),
        ("STRICT", 404, 202, &["https"]),
        // Nobody knows what this means, so that nothing more is taken than before.
        ("bogus", 404, 202, &["https"]),
    ] {
        dispatcher.apply_to("features.yaml", &features(mode)).await;
        let object = dispatcher
            .until_object("channels", "c", |object| names(object) == addresses)
            .await;
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), "i").await,
            http,
            "{mode}"
        );
        assert_eq!(
            send(&secure, dispatcher.https_url("/default/c"), "i").await,
            https,
            "{mode}"
        );
        for address in object["status"]["addresses"].as_array().expect("a list") {
            assert_eq!(
                address["name"] == "https",
                address["CACerts"] == dispatcher.ca().as_str(),
                "{address}"
            );
        }
    }
}

fn names(channel: &serde_json::Value) -> Vec<&str> {
    let addresses = channel["status"]["addresses"].as_array().expect("a list");
    addresses
        .iter()
        .map(|address| address["name"].as_str().expect("a name"))
        .collect()
}

/// The 404 of a wrong scheme says what to do.
#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_scheme_is_told_the_right_one() {
    let dispatcher = Dispatcher::of(&channel(&[]))
        .arg("--transport-encryption")
        .arg("strict")
        .start()
        .await;
    let answer = event(&plain(), dispatcher.http_url("/default/c"), "i")
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), answer.headers().get("allow")),
        (404, None),
        "contract CR-39"
    );
    assert!(answer.text().await.expect("text").contains("https address"));
    let dispatcher = Dispatcher::of(&channel(&[]))
        .arg("--https-when-disabled")
        .start()
        .await;
    assert_eq!(
        send(
            &trusting(&dispatcher.ca()),
            dispatcher.https_url("/default/c"),
            "i"
        )
        .await,
        202
    );
}

/// Contract IF-1: names of the development certificate; TLS 1.2 and 1.3, the latter preferred.
#[tokio::test(flavor = "multi_thread")]
async fn the_development_certificate() {
    let dispatcher = Dispatcher::of(&channel(&[]))
        .arg("--https-when-disabled")
        .start()
        .await;
    let address = dispatcher.https;
    for host in [
        "localhost",
        "c-kn-channel.default.svc.cluster.local",
        "imc-dispatcher.knative-eventing.svc.cluster.local",
        "broker-ingress.knative-eventing.svc",
    ] {
        let config = tls(&dispatcher.ca(), rustls::ALL_VERSIONS, &[b"h2"]);
        let client = client(config)
            .resolve(host, address)
            .build()
            .expect("a client");
        assert_eq!(
            send(
                &client,
                format!("https://{host}:{}/default/c", address.port()),
                "i"
            )
            .await,
            202,
            "{host}"
        );
    }
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let client = client(tls(&dispatcher.ca(), versions, &[]))
            .build()
            .expect("a client");
        assert_eq!(
            send(&client, dispatcher.https_url("/default/c"), "i").await,
            202
        );
    }
    let ca = std::fs::metadata(dispatcher.path("state/ca.key")).expect("a key");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&ca) & 0o777, 0o600);
}

/// Contract TL-5, `TLS_MIN_VERSION` as Knative's.
#[tokio::test(flavor = "multi_thread")]
async fn the_lowest_version() {
    let builder = Dispatcher::of(&channel(&[]))
        .arg("--https-when-disabled")
        .env("TLS_MIN_VERSION", "1.3");
    let dispatcher = builder.start().await;
    let old = client(tls(&dispatcher.ca(), &[&TLS12], &[]))
        .build()
        .expect("a client");
    assert!(
        event(&old, dispatcher.https_url("/default/c"), "i")
            .send()
            .await
            .is_err()
    );
    let new = client(tls(&dispatcher.ca(), &[&TLS13], &[]))
        .build()
        .expect("a client");
    assert_eq!(
        send(&new, dispatcher.https_url("/default/c"), "i").await,
        202
    );
}

fn secret(identity: &Identity, ca: &Ca) -> String {
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: imc-dispatcher-server-tls, namespace: knative-eventing}}\ntype: kubernetes.io/tls\ndata:\n  tls.crt: {}\n  tls.key: {}\n  ca.crt: {}\n",
        base64(&identity.chain_pem),
        base64(&identity.key_pem),
        base64(&ca.pem)
    )
}

/// Contract 3.11, 3.12, C19, C20: a Secret is used, rotated under load without a failed handshake,
/// and a bad pair or a missing Secret changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_rotate_without_a_failed_handshake() {
    let ca = Ca::new("rotation");
    let yaml = features("strict") + "---\n" + &channel(&[]);
    let dispatcher = Arc::new(Dispatcher::standalone(&yaml).await);
    dispatcher
        .apply_to("secret.yaml", &secret(&ca.issue(&["localhost"]), &ca))
        .await;
    dispatcher
        .until_object("channels", "c", |channel| {
            channel["status"]["address"]["CACerts"] == ca.pem.as_str()
        })
        .await;
    let (stop, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let sender = {
        let (client, url) = (trusting(&ca.pem), dispatcher.https_url("/default/c"));
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(send(&client, &url, "i").await, 202);
                sent.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    for round in 2..6 {
        dispatcher
            .apply_to("secret.yaml", &secret(&ca.issue(&["localhost"]), &ca))
            .await;
        eventually("the new certificate is in use", || {
            dispatcher
                .logged(&["Server certificate in use", "Secret"])
                .len()
                >= round
        })
        .await;
        let so_far = sent.load(Ordering::Relaxed);
        eventually("events go on", || sent.load(Ordering::Relaxed) > so_far).await;
    }
    let other = Ca::new("other");
    let mismatched = Identity {
        key_pem: ca.issue(&["localhost"]).key_pem,
        ..ca.issue(&["localhost"])
    };
    let nonsense = Identity {
        chain_pem: "nothing".to_owned(),
        key_pem: "nothing".to_owned(),
    };
    for (bad, words) in [
        (
            secret(&mismatched, &ca),
            ["has an error", "does not belong"],
        ),
        (
            secret(&nonsense, &other),
            ["imc-dispatcher-server-tls", "tls.crt"],
        ),
    ] {
        replace(&dispatcher.path("manifests/secret.yaml"), &bad);
        eventually("the bad pair is reported", || {
            !dispatcher.logged(&words).is_empty()
        })
        .await;
    }
    std::fs::remove_file(dispatcher.path("manifests/secret.yaml")).expect("removed");
    let so_far = sent.load(Ordering::Relaxed);
    eventually("events go on", || sent.load(Ordering::Relaxed) > so_far + 5).await;
    stop.store(true, Ordering::Relaxed);
    sender.await.expect("no failed handshake");
}

/// Keys of all three kinds, from files, replaced while running.
#[tokio::test(flavor = "multi_thread")]
async fn files_with_keys_of_all_kinds() {
    let fixture = |name: &str| {
        std::fs::read_to_string(format!(
            "{}/tests/fixtures/{name}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .expect("a fixture")
    };
    let builder = Dispatcher::of(&channel(&[])).arg("--https-when-disabled");
    let builder = builder
        .file("tls.crt", &fixture("rsa.crt"))
        .file("tls.key", &fixture("rsa-pkcs1.key"))
        .file("ca.crt", &fixture("ca.crt"));
    let (certificate, key, ca) = (
        builder.path("tls.crt"),
        builder.path("tls.key"),
        builder.path("ca.crt"),
    );
    let flag = |name: &str, path: &std::path::Path| format!("--tls-{name}={}", path.display());
    let builder = builder
        .arg(flag("cert", &certificate))
        .arg(flag("key", &key))
        .arg(flag("ca", &ca));
    let dispatcher = builder.start().await;
    let client = trusting(&fixture("ca.crt"));
    assert_eq!(
        send(&client, dispatcher.https_url("/default/c"), "i").await,
        202
    );
    for (pair, count) in [
        (["ec.crt", "ec-sec1.key"], 1),
        (["rsa.crt", "rsa-pkcs8.key"], 2),
    ] {
        replace(&key, &fixture(pair[1]));
        replace(&certificate, &fixture(pair[0]));
        eventually("the new pair is in use", || {
            dispatcher
                .logged(&["Server certificate in use", "--tls-cert"])
                .len()
                == count
        })
        .await;
        assert_eq!(
            send(&client, dispatcher.https_url("/default/c"), "i").await,
            202,
            "{pair:?}"
        );
    }
    assert_eq!(names(&dispatcher.object("channels", "c").await), ["http"]);
}

/// Contract IF-4: a destination that offers both schemes is reached over https in `permissive` and
/// `strict`.
#[tokio::test(flavor = "multi_thread")]
async fn https_is_preferred_where_both_are_offered() {
    let ca = Ca::new("both");
    let (secure, simple) = (
        Subscriber::secure(&ca.issue(&["localhost"]), |_| Reply::status(200)).await,
        Subscriber::ok().await,
    );
    let spec = format!(
        "subscriber:\n  ref: {{apiVersion: v1, kind: Service, name: both}}\n  CACerts: {}",
        block(&ca.pem, 4)
    );
    let service = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: both\n  annotations: {{sealpost.dev/endpoint: '{}, {}'}}\n",
        simple.url(),
        secure.url()
    );
    let dispatcher = Dispatcher::standalone(&(channel(&[("s", spec)]) + &service)).await;
    let client = trusting(&dispatcher.ca());
    for (mode, url, counts) in [
        ("permissive", dispatcher.http_url("/default/c"), (1, 0)),
        ("disabled", dispatcher.http_url("/default/c"), (1, 1)),
        ("strict", dispatcher.https_url("/default/c"), (2, 1)),
    ] {
        dispatcher.apply_to("features.yaml", &features(mode)).await;
        assert_eq!(send(&client, url, mode).await, 202);
        assert_eq!((secure.count(), simple.count()), counts, "{mode}");
    }
}
