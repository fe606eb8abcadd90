//! `sealpost parked`: what it leaves as it is, what it moves, who may use it, and what it says when
//! it cannot.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lapin::types::AMQPValue;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{channel, on, queue, subscription, take_events};
use crate::support::amqp_proxy::Proxy;
use crate::support::dispatcher::Dispatcher;
use crate::support::parked::{Parked, ended};
use crate::support::rabbitmq::{Client, Node, namespace, shared};
use crate::support::sender::plain;
use crate::support::subscriber::Subscriber;
use crate::support::{SOON, eventually, eventually_some};

const TOKEN: &str = "a-token-of-operators";

/// Manifests of a channel with the subscription `NAMESPACE/a`, that nobody runs.
fn manifests(namespace: &str) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    let subscription = format!(
        "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: a, namespace: {namespace}}}\nspec:\n  channel: {{apiVersion: messaging.knative.dev/v1alpha1, kind: RabbitmqChannel, name: c}}\n  subscriber: {{uri: 'http://localhost:9/'}}\n"
    );
    std::fs::write(
        directory.path().join("m.yaml"),
        channel(namespace) + &subscription,
    )
    .expect("written");
    directory
}

/// The command on these manifests.
fn direct(uri: &str, manifests: &TempDir) -> Parked {
    let path = manifests.path().to_str().expect("a path");
    Parked::with(&["-f", path]).env("SEALPOST_RABBITMQ_URI", uri)
}

/// Parks so many events, as version 0.1 does.
async fn park(uri: &str, namespace: &str, ids: std::ops::Range<usize>) {
    let (client, queue) = (Client::new(uri).await, queue(namespace, "a"));
    client.declare(&queue).await;
    let parked = format!("{queue}:parked");
    client.declare(&parked).await;
    futures_util::future::join_all(ids.map(|id| park_one(&client, &parked, id))).await;
}

async fn park_one(client: &Client, parked: &str, id: usize) {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let id = format!("e{id:04}");
    let attributes = [
        ("specversion", "1.0"),
        ("id", &id),
        ("source", "/s"),
        ("type", "t"),
    ];
    let names = attributes.map(|(name, _)| format!("cloudEvents_{name}"));
    let mut headers: Vec<_> = names
        .iter()
        .map(String::as_str)
        .zip(attributes.map(|(_, value)| text(value)))
        .collect();
    headers.push(("x-sealpost-reason", text("answered 422 at http://x/")));
    headers.push(("x-sealpost-status", AMQPValue::LongInt(422)));
    headers.push(("x-sealpost-attempts", AMQPValue::LongUInt(1)));
    headers.push(("x-sealpost-parked-at", AMQPValue::Timestamp(1_700_000_000)));
    client.put(parked, "text/plain", &headers, b"data").await;
}

/// The ids that a look shows, in their order.
fn ids(shown: &str) -> Vec<String> {
    let id = |line: &str| {
        Some(
            line.trim()
                .strip_prefix("id ")?
                .split_once(',')?
                .0
                .to_owned(),
        )
    };
    shown.lines().filter_map(id).collect()
}

/// The ids of so many events.
fn all(count: usize) -> Vec<String> {
    (0..count).map(|id| format!("e{id:04}")).collect()
}

/// A limit of deliveries is no limit of looks: thirty of them, of all and of some, leave each
/// message where it was, with its properties and in its order. In the middle, further ones are
/// parked.
#[tokio::test(flavor = "multi_thread")]
async fn looks_change_nothing() {
    let (node, namespace) = (Node::start(), "looks");
    node.ctl(&[
        "set_policy",
        "--apply-to",
        "queues",
        "limit",
        ".*",
        r#"{"delivery-limit": 2}"#,
    ]);
    let (manifests, name) = (manifests(namespace), format!("{namespace}/a"));
    park(&node.uri, namespace, 0..100).await;
    let parked = direct(&node.uri, &manifests);
    for look in 0..30 {
        if look == 13 {
            park(&node.uri, namespace, 100..150).await;
        }
        let count = if look < 13 { 100 } else { 150 };
        let shown = parked.run(&["show", &name]).await;
        assert_eq!(
            ids(&shown.stdout),
            all(count),
            "look {look}: {}",
            shown.stderr
        );
        if look % 3 > 0 {
            continue;
        }
        // Those that are too young stay as well.
        let kept = parked
            .run(&["replay", &name, "--older-than", "P3000D"])
            .await;
        assert_eq!(
            kept.stdout,
            format!("subscription {name}: 0 replayed\n"),
            "{}",
            kept.stderr
        );
    }
    let client = Client::new(&node.uri).await;
    let (properties, body) = client
        .take(&format!("{}:parked", queue(namespace, "a")))
        .await
        .expect("a message");
    assert_eq!(
        (
            properties.content_type().as_ref().map(|text| text.as_str()),
            &body[..]
        ),
        (Some("text/plain"), &b"data"[..])
    );
    assert_eq!(properties.delivery_mode(), &Some(2));
    assert_eq!(
        parked.run(&["list"]).await.stdout,
        format!("subscription {name}: 149\n")
    );
}

/// Each of two looks at once sees everything, and nothing is lost or there twice. A change
/// meanwhile is refused, or waits.
#[tokio::test(flavor = "multi_thread")]
async fn looks_at_once_see_everything() {
    let namespace = namespace();
    let (manifests, name) = (manifests(&namespace), format!("{namespace}/a"));
    park(&shared(), &namespace, 0..300).await;
    let parked = direct(&shared(), &manifests);
    for _ in 0..3 {
        let arguments = ["show", &name];
        let (one, two) = tokio::join!(parked.run(&arguments), parked.run(&arguments));
        assert_eq!(
            (ids(&one.stdout), ids(&two.stdout)),
            (all(300), all(300)),
            "{} {}",
            one.stderr,
            two.stderr
        );
    }
    let arguments = ["drop", &name, "--yes"];
    let (one, two) = tokio::join!(parked.run(&arguments), parked.run(&arguments));
    let dropped = format!("subscription {name}: 300 dropped\n");
    assert!(
        one.stdout == dropped || two.stdout == dropped,
        "{one:?} {two:?}"
    );
}

/// By a running process: its socket, its token, what it says without.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_process_is_asked() {
    let (namespace, subscriber) = (namespace(), Subscriber::ok().await);
    let yaml = channel(&namespace)
        + &subscription(&namespace, "a", &subscriber, "")
        + &crate::support::channel(&[("mem", to(&subscriber))]).replacen("api", "---\napi", 1);
    let builder = on(&shared(), &yaml)
        .file("token", &format!("{TOKEN}\n"))
        .file("wrong", "not-the-token-of-anyone");
    let token = builder.path("token");
    let dispatcher = builder
        .arg("--admin-token-file")
        .arg(token.to_str().expect("a path"))
        .start()
        .await;
    take_events(&dispatcher, &format!("/{namespace}/c")).await;
    subscriber.until(1).await;
    park(&shared(), &namespace, 0..50).await;
    let (url, name) = (
        format!("http://{}", dispatcher.admin),
        format!("{namespace}/a"),
    );
    let path = |name: &str| dispatcher.path(name).to_str().expect("a path").to_owned();
    let by_url = Parked::with(&["--admin", &url]);
    let by_token = Parked::with(&["--admin", &url, "--admin-token-file", &path("token")]);
    let by_wrong = Parked::with(&["--admin", &url, "--admin-token-file", &path("wrong")]);
    let by_socket = Parked::with(&["--admin-socket", &path("state/admin.sock")]);

    assert_eq!(
        by_url.run(&["list"]).await.stdout,
        format!("subscription {name}: 50\n"),
        "only what can be parked"
    );
    let shown = by_url.run(&["show", &name]).await;
    assert_eq!(ids(&shown.stdout), all(50));
    assert!(shown.stdout.starts_with(&format!("subscription {name}: 50 parked\n  id e0000, type t, 4 bytes: answered 422 at http://x/, attempts 1, status 422, parked at 2023-11-14T")), "{}", shown.stdout);
    for arguments in [
        &["replay", &name][..],
        &["drop", "--yes", &name],
        &["drop", "--yes"],
    ] {
        for asked in [&by_url, &by_wrong] {
            refuses_to_change(asked, arguments).await;
        }
    }
    let asked = by_token.answering(&["drop", &name], "n\n").await;
    assert!(
        asked.code == Some(1) && asked.stdout.contains("Drop up to 50"),
        "{asked:?}"
    );
    assert_eq!(
        by_token
            .run(&["replay", &name, "--older-than", "P3000D"])
            .await
            .stdout,
        format!("subscription {name}: 0 replayed\n")
    );
    assert_eq!(
        by_socket.run(&["replay", &name]).await.stdout,
        format!("subscription {name}: 50 replayed\n")
    );
    let got: Vec<String> = subscriber
        .until(51)
        .await
        .iter()
        .map(|event| event.id().to_owned())
        .collect();
    assert_eq!(
        got.iter().cloned().collect::<BTreeSet<_>>().len(),
        51,
        "each once"
    );
    park(&shared(), &namespace, 0..7).await;
    assert_eq!(
        by_token.run(&["drop", "--yes"]).await.stdout,
        format!("subscription {name}: 7 dropped\n")
    );
    assert_eq!(
        by_url.run(&["list", &name]).await.stdout,
        format!("subscription {name}: 0\n")
    );
    for (unknown, why) in [
        ("no/such", "no subscription or Trigger"),
        ("default/mem", "in memory park nothing"),
    ] {
        for command in ["list", "show", "replay"] {
            let told = by_socket.run(&[command, unknown]).await;
            assert!(
                told.code == Some(1) && told.stderr.contains(why),
                "{command} {told:?}"
            );
        }
    }
    assert!(!dispatcher.log().contains(TOKEN));
}

/// Without the right token, nothing is changed, and the way to it is said in one line.
async fn refuses_to_change(asked: &Parked, arguments: &[&str]) {
    let refused = asked.run(arguments).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    for part in ["403", "--admin-token-file", "--admin-socket"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
}

fn to(subscriber: &Subscriber) -> String {
    format!("subscriber: {{uri: '{}'}}", subscriber.url())
}

/// The admin API itself: methods, bounds, browsers, names.
#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api() {
    let (namespace, subscriber) = (namespace(), Subscriber::ok().await);
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, "");
    let builder = on(&shared(), &yaml).file("token", TOKEN);
    let token = builder.path("token");
    let dispatcher = builder
        .arg("--admin-token-file")
        .arg(token.to_str().expect("a path"))
        .start()
        .await;
    take_events(&dispatcher, &format!("/{namespace}/c")).await;
    park(&shared(), &namespace, 0..20).await;
    let base = format!("http://{}/api/v1/parked", dispatcher.admin);
    let get = async |path: &str| -> (u16, String) {
        let answer = plain()
            .get(format!("{base}{path}"))
            .send()
            .await
            .expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let listed = json(&get("").await.1);
    assert_eq!(
        (
            &listed["items"][0]["parked"],
            &listed["items"][0]["channel"]
        ),
        (&20.into(), &format!("channel {namespace}/c").into())
    );
    assert_eq!(
        json(&get("?namespace=other").await.1)["items"],
        serde_json::json!([])
    );
    let shown = json(&get(&format!("/{namespace}/a?limit=3")).await.1);
    let item = &shown["items"][0];
    assert_eq!(
        (&item["parked"], &item["looked"], &item["events"][2]["id"]),
        (&20.into(), &3.into(), &"e0002".into())
    );
    assert_eq!(get(&format!("/{namespace}/a?kind=trigger")).await.0, 404);
    assert_eq!(get(&format!("/{namespace}/a?olderThan=1h")).await.0, 400);
    assert_eq!(
        get(&format!("/{namespace}/a/replay")).await.0,
        405,
        "only POST changes something"
    );
    let post = async |path: String, headers: &[(&str, &str)]| {
        let request = headers.iter().fold(
            plain().post(format!("{base}{path}")),
            |request, (name, value)| request.header(*name, *value),
        );
        request.send().await.expect("an answer").status().as_u16()
    };
    let (bearer, path) = (format!("Bearer {TOKEN}"), || {
        format!("/{namespace}/a/drop?olderThan=P3000D")
    });
    assert_eq!(post(path(), &[]).await, 403);
    assert_eq!(post(path(), &[("authorization", "Bearer x")]).await, 403);
    assert_eq!(
        post(
            path(),
            &[
                ("authorization", &bearer),
                ("origin", "http://evil.example")
            ]
        )
        .await,
        403
    );
    assert_eq!(post(path(), &[("authorization", &bearer)]).await, 200);
    assert_eq!(
        post(format!("/{namespace}/a"), &[("authorization", &bearer)]).await,
        405
    );
    std::fs::write(dispatcher.path("token"), "another-token-of-operators").expect("written");
    assert_eq!(
        post(path(), &[("authorization", &bearer)]).await,
        403,
        "it is read again"
    );
}

/// What cannot be done is an error with its reason, not a count of nothing.
#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_is_away() {
    let (node, namespace, subscriber) = (Node::start(), "away", Subscriber::ok().await);
    let yaml = channel(namespace) + &subscription(namespace, "a", &subscriber, "");
    let dispatcher = on(&node.uri, &yaml).start().await;
    take_events(&dispatcher, &format!("/{namespace}/c")).await;
    let (manifests, socket) = (manifests(namespace), dispatcher.path("state/admin.sock"));
    let by_socket = Parked::with(&["--admin-socket", socket.to_str().expect("a path")]);
    assert_eq!(
        by_socket.run(&["list"]).await.stdout,
        format!("subscription {namespace}/a: 0\n")
    );
    node.stop();
    let mut told = Vec::new();
    for parked in [by_socket.clone(), direct(&node.uri, &manifests)] {
        for arguments in [
            &["list"][..],
            &["show", "away/a"],
            &["replay"],
            &["drop", "--yes"],
        ] {
            told.push(parked.run(arguments).await);
        }
    }
    node.restart();
    for told in told {
        assert!(
            told.code == Some(1) && told.stderr.contains("RabbitMQ"),
            "{told:?}"
        );
    }
    assert_eq!(
        by_socket.run(&["list"]).await.stdout,
        format!("subscription {namespace}/a: 0\n"),
        "it is asked anew"
    );
}

/// Nobody runs yet: no queue at all counts nothing, and there is nowhere to replay to.
#[tokio::test(flavor = "multi_thread")]
async fn queues_that_are_not_there() {
    let namespace = namespace();
    let (manifests, name) = (manifests(&namespace), format!("{namespace}/a"));
    let parked = direct(&shared(), &manifests);
    assert_eq!(
        parked.run(&["list"]).await.stdout,
        format!("subscription {name}: 0\n")
    );
    assert_eq!(
        parked.run(&["show", &name]).await.stdout,
        format!("subscription {name}: 0 parked\n")
    );
    park(&shared(), &namespace, 0..3).await;
    Client::new(&shared())
        .await
        .delete_queue(&queue(&namespace, "a"))
        .await;
    for _ in 0..3 {
        let told = parked.run(&["replay"]).await;
        assert!(
            told.code == Some(1) && told.stderr.contains("run sealpost"),
            "{told:?}"
        );
    }
    assert_eq!(
        parked.run(&["list"]).await.stdout,
        format!("subscription {name}: 3\n")
    );
}

/// Interrupted in its middle, by Ctrl-C, by the loss of its connection, or killed: what was not
/// replayed is still there.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_replay_loses_nothing() {
    let (uri, namespace) = (shared(), namespace());
    let (manifests, name) = (manifests(&namespace), format!("{namespace}/a"));
    let (main, count) = (queue(&namespace, "a"), 1_500);
    park(&uri, &namespace, 0..count).await;
    for fault in ["interrupt", "connection", "kill"] {
        let proxy = Proxy::start(&uri).await;
        let before = Client::ready(&uri, &main).await.expect("a queue");
        let child = direct(&proxy.uri, &manifests).start(&["replay", &name]);
        let pid = Pid::from_raw(i32::try_from(child.id().expect("it runs")).expect("a pid"))
            .expect("a pid");
        let deadline = Instant::now() + SOON;
        while Client::ready(&uri, &main).await == Some(before) {
            assert!(Instant::now() < deadline, "{fault}: nothing is replayed");
        }
        match fault {
            "interrupt" => kill_process(pid, Signal::INT).expect("signalled"),
            "kill" => kill_process(pid, Signal::KILL).expect("signalled"),
            _ => drop(proxy),
        }
        let told = ended(child).await;
        assert_ne!(told.code, Some(0), "{fault}: it was in its middle");
        if fault == "interrupt" {
            assert!(told.stdout.contains("stopped before the end"), "{told:?}");
        }
    }
    let parked = direct(&uri, &manifests);
    let last = eventually_last(&parked, &name).await;
    assert_eq!(last.code, Some(0), "{last:?}");
    let client = Client::new(&uri).await;
    let mut found = Vec::new();
    while let Some((properties, _)) = client.take(&main).await {
        found.push(crate::support::rabbitmq::header(&properties, "cloudEvents_id").expect("an id"));
    }
    assert_eq!(
        found.iter().cloned().collect::<BTreeSet<_>>(),
        all(count).into_iter().collect(),
        "none is lost"
    );
    assert!(
        found.len() < count + 100,
        "hardly any is there twice: {}",
        found.len()
    );
}

/// Replays the rest: RabbitMQ may need a moment to see that somebody was killed.
async fn eventually_last(parked: &Parked, name: &str) -> crate::support::parked::Ended {
    let deadline = Instant::now() + SOON;
    loop {
        let told = parked.run(&["replay", name]).await;
        if told.code == Some(0) || Instant::now() > deadline {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The client of a running process goes away in the middle of a replay: the process ends it in
/// order.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_its_replay() {
    let (namespace, subscriber) = (namespace(), Subscriber::ok().await);
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, "");
    let dispatcher = on(&shared(), &yaml).start().await;
    take_events(&dispatcher, &format!("/{namespace}/c")).await;
    park(&shared(), &namespace, 0..1_000).await;
    let (socket, name) = (
        dispatcher.path("state/admin.sock"),
        format!("{namespace}/a"),
    );
    let by_socket = Parked::with(&["--admin-socket", socket.to_str().expect("a path")]);
    let mut child = by_socket.start(&["replay", &name]);
    subscriber.until(2).await;
    child.kill().await.expect("killed");
    let note = |dispatcher: &Dispatcher| {
        dispatcher
            .logged(&["An operator changed parked events"])
            .pop()
    };
    let line = eventually_some("it is ended", || note(&dispatcher)).await;
    assert!(line.contains("stopped: true"), "{line}");
    let rest = by_socket.run(&["replay", &name]).await;
    assert_eq!(rest.code, Some(0), "{rest:?}");
    eventually("all are delivered", || subscriber.count() >= 1_001).await;
    let ids: BTreeSet<String> = subscriber
        .received()
        .iter()
        .map(|event| event.id().to_owned())
        .collect();
    assert_eq!(
        (ids.len(), subscriber.count()),
        (1_001, 1_001),
        "each once, since it was ended in order"
    );
}
