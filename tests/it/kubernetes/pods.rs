//! The pod: probes, readiness, its stop, its log, and what it needs to start (contract 1.5 to
//! 1.12).

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use http::Method;
use rustix::process::Signal;
use serde_json::json;

use super::traffic_of::Traffic;
use super::{cluster, served};
use crate::support::cluster::objects::{config_map, features, subscriber, tls_secret};
use crate::support::pki::Ca;
use crate::support::pod::Pod;
use crate::support::sender::{plain, trusting};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{binary, eventually};

/// Contract 1.8, 1.8a, 1.8b, 1.9, C1, 1.10, C2, G-8: on any path, before any look at the mode, on
/// both ports; also with many Ready channels in `strict`, and with none at all.
#[tokio::test]
async fn probes_are_answered_whatever_the_mode() {
    let cluster = cluster().await;
    let ca = Ca::new("probe");
    cluster
        .create(&tls_secret(
            "imc-dispatcher-server-tls",
            &ca.issue(&["localhost"]),
            &ca.pem,
        ))
        .await;
    cluster
        .create(&features(&[("transport-encryption", "strict")]))
        .await;
    for name in ["a", "b", "c"] {
        served(&cluster, name, &[]).await;
        let https = json!({"url": format!("https://imc-dispatcher.knative-eventing.svc.cluster.local/t/{name}")});
        cluster
            .merge_status(
                "InMemoryChannel",
                &format!("t/{name}"),
                &json!({"address": https}),
            )
            .await;
    }
    let pod = Pod::of(&cluster).await.start().await;
    let (plain, secure) = (plain(), trusting(&ca.pem));
    for (client, url, ready) in [
        (&plain, pod.http_url(""), 204),
        (&secure, pod.https_url(""), 200),
    ] {
        for (path, headers, status) in [
            ("/healthz", &[("user-agent", "kube-probe/1.34")][..], ready),
            ("/", &[("user-agent", "kube-probe/1.34")], ready),
            ("/t/a", &[("user-agent", "kube-probe/1.34+")], ready),
            (
                "/",
                &[("k-network-probe", "probe"), ("k-network-hash", "h1")],
                200,
            ),
            (
                "/",
                &[("k-network-probe", "probe"), ("k-network-hash", "")],
                400,
            ),
            ("/", &[("k-network-probe", "probe")], 400),
            (
                "/none/x",
                &[("user-agent", "curl/8"), ("k-network-hash", "h1")],
                404,
            ),
        ] {
            let mut request = client.request(Method::GET, format!("{url}{path}"));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), status, "{url}{path} {headers:?}");
            let hash = answer
                .headers()
                .get("k-network-hash")
                .map(|hash| hash.to_str().expect("text").to_owned());
            assert_eq!(
                hash.is_some(),
                status == 200 && headers.len() == 2,
                "{headers:?}"
            );
        }
    }
}

/// Contract 1.12, C32, G-9: probes fail at once, events are taken until it is quiet, deliveries are
/// finished, all within the grace period of 30 s.
#[tokio::test]
async fn a_stop_fails_probes_first_and_loses_nothing() {
    let cluster = cluster().await;
    let slow =
        Subscriber::answering(|_| Reply::status(200).after(Duration::from_millis(300))).await;
    served(&cluster, "a", &[subscriber("s", &slow.url())]).await;
    let mut pod = Pod::of(&cluster).await.start().await;
    let traffic = Traffic::start(&plain(), &pod.http_url("/t/a"));
    traffic.more(3).await;
    let stopped = Instant::now();
    pod.signal(Signal::TERM);
    eventually("the stop begins", || !pod.logged(&["Stopping"]).is_empty()).await;
    for headers in [
        [("user-agent", "kube-probe/1.34"), ("a", "b")],
        [("k-network-probe", "probe"), ("k-network-hash", "h")],
    ] {
        let mut probe = plain().get(pod.http_url("/healthz"));
        for (name, value) in headers {
            probe = probe.header(name, value);
        }
        assert_eq!(probe.send().await.expect("an answer").status(), 503);
    }
    traffic.more(3).await;
    let sent = traffic.sent();
    assert_eq!(
        traffic.stop().await,
        [""; 0],
        "endpoints have not settled yet"
    );
    assert!(pod.ended().await.success());
    assert!(
        stopped.elapsed() < Duration::from_secs(25),
        "{:?}",
        stopped.elapsed()
    );
    assert!(slow.count() >= sent, "{} of {sent}", slow.count());
    assert!(!pod.logged(&["Stopped", "\"left\":0"]).is_empty());
}

/// Contract 3.6: the level of logs, live; a bad one changes nothing; the component's own goes
/// first.
#[tokio::test]
async fn the_level_of_logs_follows_its_config_map() {
    let cluster = cluster().await;
    let pod = Pod::of(&cluster).await.start().await;
    let zap = |level: &str| format!("{{\"level\": \"{level}\", \"encoding\": \"json\"}}");
    let levels = || {
        let lines = pod.logged(&["Level of logs"]);
        lines
            .iter()
            .map(|line| line.split("\"log_level\":\"").nth(1).expect("a level")[..4].to_owned())
            .collect::<Vec<_>>()
    };
    let until = |wanted: &'static [&'static str]| {
        eventually("the level is set", move || levels() == wanted)
    };
    cluster
        .create(&config_map(
            "config-logging",
            &[("zap-logger-config", &zap("debug"))],
        ))
        .await;
    until(&["debu"]).await;
    for bad in ["nonsense", &zap("loud")] {
        let before = pod.logged(&["the level stays"]).len();
        cluster
            .apply(&config_map("config-logging", &[("zap-logger-config", bad)]))
            .await;
        eventually("it is told", || {
            pod.logged(&["the level stays"]).len() > before
        })
        .await;
    }
    cluster
        .apply(&config_map(
            "config-logging",
            &[("loglevel.inmemorychannel-dispatcher", "info")],
        ))
        .await;
    eventually("the level is set", || {
        levels().len() == 2 && levels()[1].starts_with("info")
    })
    .await;
}

/// Contract 1.5: a missing system namespace is said clearly, and nothing is tried.
#[test]
fn the_system_namespace_is_needed() {
    let output = Command::new(binary())
        .env_clear()
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("SYSTEM_NAMESPACE"), "{text}");
}
