//! What is shown of single events: `explain`, `tap`, and the last hour of subscriptions.

mod backends;
mod reasons;
mod refused;
mod tap;
mod waiting;

use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinSet;

use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{SOON, binary, channel, eventually_some};

/// Runs a command of the program on a dispatcher.
async fn on(dispatcher: &Dispatcher, arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .arg("--admin")
        .arg(format!("http://{}", dispatcher.admin))
        .output()
        .await
        .expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Sends these requests of 16 senders at once, so many each, and expects this status of all. The
/// ids are the numbers of the sender and of its request.
async fn send_crowd(
    each: usize,
    status: u16,
    request: impl Fn(&str) -> RequestBuilder + Clone + Send + 'static,
) {
    let mut senders = JoinSet::new();
    for sender in 0..16 {
        let request = request.clone();
        senders.spawn(async move {
            for number in 0..each {
                let answer = request(&format!("{sender}-{number}")).send().await;
                assert_eq!(answer.expect("an answer").status(), status);
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended.expect("sent");
    }
}

/// Events of about 1,000 bytes.
fn filled_events(
    client: &Client,
    url: &str,
) -> impl Fn(&str) -> RequestBuilder + Clone + Send + 'static {
    let (client, url) = (client.clone(), url.to_owned());
    move |id| event(&client, &url, id).header("ce-filler", "x".repeat(900))
}

/// A Broker `default/b` with three Triggers: `a` gets events at the second attempt, `other` wants
/// none of these, and those of `broken` go to a dead letter sink.
struct ObservedBroker {
    dispatcher: Dispatcher,
    _subscribers: [Subscriber; 3],
}

impl ObservedBroker {
    async fn start() -> Self {
        let subscribers = [
            Subscriber::replying(&[503, 200]).await,
            Subscriber::replying(&[500]).await,
            Subscriber::ok().await,
        ];
        let [taking, broken, sink] = &subscribers;
        let trigger = |name: &str, spec: String| {
            format!(
                "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}}}\nspec:\n  broker: b\n{spec}"
            )
        };
        let yaml = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n"
            .to_owned()
            + &trigger(
                "a",
                format!(
                    "  subscriber: {{uri: '{}'}}\n  delivery: {{retry: 1, backoffPolicy: linear, backoffDelay: PT0.05S}}\n",
                    taking.url()
                ),
            )
            + &trigger(
                "other",
                format!(
                    "  filters: [{{exact: {{type: elsewhere}}}}]\n  subscriber: {{uri: '{}'}}\n",
                    taking.url()
                ),
            )
            + &trigger(
                "broken",
                format!(
                    "  subscriber: {{uri: '{}'}}\n  delivery: {{deadLetterSink: {{uri: '{}'}}}}\n",
                    broken.url(),
                    sink.url()
                ),
            );
        Self {
            dispatcher: Dispatcher::standalone(&yaml).await,
            _subscribers: subscribers,
        }
    }

    fn url(&self) -> String {
        self.dispatcher.http_url("/default/b")
    }
}

/// `explain` tells all that happened to an event, and why the rest did not.
#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_the_way_of_an_event() {
    let broker = ObservedBroker::start().await;
    assert_eq!(send(&plain(), broker.url(), "e1").await, 202);
    let explained = on(&broker.dispatcher, &["explain", "e1"]).await;
    let lines = text(&explained.stdout);
    assert_eq!(explained.status.code(), Some(0), "{lines}");
    for (parts, count) in [
        (&["accepted", "by broker default/b", "via http"][..], 1),
        (&["wanted", "trigger default/a"], 1),
        (&["wanted", "trigger default/broken"], 1),
        (
            &[
                "filtered",
                "trigger default/other: exact.type: is",
                "wanted \"elsewhere\"",
            ],
            1,
        ),
        (&["attempt", "trigger default/a", "subscriber #1  503"], 1),
        (&["attempt", "trigger default/a", "subscriber #2  200"], 1),
        (&["delivered", "trigger default/a"], 1),
        (
            &["attempt", "trigger default/broken", "subscriber #1  500"],
            1,
        ),
        (&["trigger default/broken", "dead letter sink #1  200"], 1),
        (&["dead letter e1", "trigger default/broken"], 1),
        (&["e1"], lines.lines().count()),
    ] {
        let has = |line: &&str| parts.iter().all(|part| line.contains(part));
        assert_eq!(
            lines.lines().filter(has).count(),
            count,
            "{parts:?}: {lines}"
        );
    }
    let json = on(
        &broker.dispatcher,
        &["explain", "e1", "--source", "/test", "-o", "json"],
    )
    .await;
    let json = text(&json.stdout);
    let objects: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect();
    assert_eq!(objects.len(), lines.lines().count(), "{json}");
    assert!(objects.iter().all(|line| line["id"] == "e1"), "{json}");
    assert_eq!(objects[0]["what"], "accepted");
    for unknown in [&["explain", "e2"][..], &["explain", "e1", "--source", "/t"]] {
        let explained = on(&broker.dispatcher, unknown).await;
        assert_eq!(explained.status.code(), Some(1));
        let told = text(&explained.stderr);
        assert!(told.contains("the latest 1 are known, since 20"), "{told}");
    }
}

/// What no channel took is explained, too; and nothing is with `--explain-max-bytes 0`.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_or_lost_is_explained() {
    let broken = Subscriber::replying(&[400]).await;
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", broken.url()))]);
    let dispatcher = Dispatcher::standalone(&yaml).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        500
    );
    let lines = text(&on(&dispatcher, &["explain", "1"]).await.stdout);
    for parts in [
        [
            "lost",
            "subscription default/s: answered 400 Bad Request, and there is no dead",
        ],
        [
            "refused",
            "by channel default/c  500: 1 of 1 deliveries failed",
        ],
    ] {
        let has = |line: &str| parts.iter().all(|part| line.contains(part));
        assert!(lines.lines().any(has), "{parts:?}: {lines}");
    }
    let nothing = Dispatcher::of(&yaml).arg("--explain-max-bytes").arg("0");
    let nothing = nothing.start().await;
    send(&plain(), nothing.http_url("/default/c"), "1").await;
    let explained = on(&nothing, &["explain", "1"]).await;
    assert_eq!(explained.status.code(), Some(1));
    assert!(text(&explained.stderr).contains("--explain-max-bytes 0"));
}

/// A reply that goes into a channel of this process comes from its subscription.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_explained_by_whose_it_is() {
    let replying = Subscriber::answering(|_| Reply::event("r", "reply-1")).await;
    let reply =
        "reply: {ref: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: d}}";
    let yaml = channel(&[(
        "s",
        format!("subscriber: {{uri: '{}'}}\n{reply}", replying.url()),
    )]) + "---\napiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {name: d}\n";
    let dispatcher = Dispatcher::standalone(&yaml).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    let first = text(&on(&dispatcher, &["explain", "1"]).await.stdout);
    assert!(first.contains("reply #1  202"), "{first}");
    let second = text(&on(&dispatcher, &["explain", "reply-1"]).await.stdout);
    assert!(
        second.contains("by channel default/d  via reply of subscription default/s"),
        "{second}"
    );
}

/// The latest events are known, as far as the memory goes that they may take.
#[tokio::test(flavor = "multi_thread")]
async fn the_latest_events_are_known() {
    let sink = Subscriber::ok().await;
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", sink.url()))]);
    let builder = Dispatcher::of(&yaml)
        .arg("--explain-max-bytes")
        .arg("64KiB");
    let dispatcher = builder.start().await;
    let (client, url) = (plain(), dispatcher.http_url("/default/c"));
    // Each event takes about 1,000 bytes: threads write into at most 16 open segments of 64 KiB.
    send_crowd(200, 202, filled_events(&client, &url)).await;
    assert_eq!(send(&client, &url, "newest").await, 202);
    let code = async |id: &str| on(&dispatcher, &["explain", id]).await.status.code();
    assert_eq!(code("newest").await, Some(0), "the newest");
    assert_eq!(code("0-0").await, Some(1), "the oldest");
}

/// The last hour of a subscription: it outlives a change of the subscription, and ends with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_has_its_history() {
    let sink = Subscriber::replying(&[500, 200, 200]).await;
    let with = |delivery: &str| {
        channel(&[(
            "s",
            format!("subscriber: {{uri: '{}'}}\n{delivery}", sink.url()),
        )])
    };
    let retrying = "delivery: {retry: 3, backoffPolicy: linear, backoffDelay: PT0.01S}";
    let dispatcher = Dispatcher::standalone(&with(retrying)).await;
    let url = dispatcher.http_url("/default/c");
    for id in ["1", "2"] {
        assert_eq!(send(&plain(), &url, id).await, 202);
    }
    let history = async || {
        let path = "/api/v1/history?subscription=default/s";
        let (status, json) = dispatcher.admin_text(path).await;
        assert_eq!(status, 200, "{json}");
        serde_json::from_str::<Value>(&json).expect("JSON")["items"].clone()
    };
    let sum = |column: &Value| -> u64 {
        let numbers = column.as_array().expect("a column").iter();
        numbers.filter_map(Value::as_u64).sum()
    };
    let shown = history().await;
    let item = &shown[0];
    assert_eq!(
        [&item["kind"], &item["namespace"], &item["name"]],
        ["subscription", "default", "s"]
    );
    let sums = ["delivered", "undelivered", "attempts", "failed"].map(|name| sum(&item[name]));
    assert_eq!(sums, [2, 0, 3, 1], "{item}");
    let p99 = item["p99"].as_array().expect("a column").iter();
    assert!(p99.filter_map(Value::as_f64).all(|p99| p99 > 0.0), "{item}");
    assert!(
        item["from"]
            .as_str()
            .is_some_and(|from| from.ends_with(":00Z"))
    );
    dispatcher.apply(&with("delivery: {retry: 4}")).await;
    assert_eq!(sum(&history().await[0]["delivered"]), 2, "after a change");
    dispatcher.apply(&channel(&[])).await;
    let gone = async {
        while history().await != Value::Array(Vec::new()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let gone = tokio::time::timeout(SOON, gone).await;
    gone.expect("a history ends with its subscription");
    let (status, text) = dispatcher.admin_text("/api/v1/history?sub=x").await;
    assert_eq!((status, text.contains("use subscription=")), (400, true));
}

/// The roles of upstream's broker tell of events, too.
#[tokio::test(flavor = "multi_thread")]
async fn relay_roles_explain_their_part() {
    let sink = Subscriber::replying(&[202]).await;
    let uid = "2c7c1f6e-6f2d-4b59-9d0f-1b1f0a7d9a10";
    let yaml = format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: b}}\nstatus:\n  address: {{url: '{url}'}}\n  annotations: {{knative.dev/channelAddress: '{url}'}}\n---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t, uid: {uid}}}\nspec:\n  broker: b\n  filter: {{attributes: {{type: t}}}}\n  subscriber: {{uri: 'http://not.used/'}}\nstatus: {{subscriberUri: '{url}'}}\n",
        url = sink.url()
    );
    let role = async |role: &str| Dispatcher::of(&yaml).arg("--role").arg(role).start().await;
    let (ingress, filter) = (role("ingress").await, role("filter").await);
    assert_eq!(
        send(&plain(), ingress.http_url("/default/b"), "1").await,
        202
    );
    let lines = text(&on(&ingress, &["explain", "1"]).await.stdout);
    for parts in [
        ["accepted", "by broker default/b"],
        ["delivered", "to the channel of the broker"],
    ] {
        let has = |line: &str| parts.iter().all(|part| line.contains(part));
        assert!(lines.lines().any(has), "{parts:?}: {lines}");
    }
    for (id, ty, parts) in [
        ("2", "t", ["delivered", "trigger default/t"]),
        (
            "3",
            "x",
            ["filtered", "trigger default/t: attributes.type: is \"x\""],
        ),
    ] {
        let url = filter.http_url(&format!("/triggers/default/t/{uid}"));
        let request = plain().post(url).header("ce-specversion", "1.0");
        let request = [
            ("ce-id", id),
            ("ce-source", "/s"),
            ("ce-type", ty),
            ("ce-knativebrokerttl", "9"),
        ]
        .into_iter()
        .fold(request, |request, (name, value)| {
            request.header(name, value)
        });
        assert!(
            request
                .send()
                .await
                .expect("an answer")
                .status()
                .is_success()
        );
        let lines = text(&on(&filter, &["explain", id]).await.stdout);
        let has = |line: &str| parts.iter().all(|part| line.contains(part));
        assert!(lines.lines().any(has), "{parts:?}: {lines}");
    }
    let tapped = on(&filter, &["tap", "trigger", "none"]).await;
    assert_eq!(tapped.status.code(), Some(1));
}

/// A tap that is open.
struct Tap {
    process: Child,
    lines: Arc<Mutex<Vec<String>>>,
    _reading: JoinSet<()>,
    /// Kept, since a process that cannot say what is wrong ends in another way.
    _remarks: Lines<BufReader<ChildStderr>>,
}

impl Tap {
    async fn open(dispatcher: &Dispatcher, arguments: &[&str]) -> Self {
        let admin = format!("http://{}", dispatcher.admin);
        Self::at(&["--admin", &admin], arguments).await
    }

    async fn at(admin: &[&str], arguments: &[&str]) -> Self {
        let mut process = Command::new(binary())
            .arg("tap")
            .args(arguments)
            .args(admin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut remarks = BufReader::new(process.stderr.take().expect("stderr")).lines();
        let opened = remarks.next_line().await.expect("read");
        assert!(opened.is_some_and(|line| line.starts_with("Tapping")));
        let mut read = BufReader::new(process.stdout.take().expect("stdout")).lines();
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (mut reading, to) = (JoinSet::new(), Arc::clone(&lines));
        reading.spawn(async move {
            while let Ok(Some(line)) = read.next_line().await {
                to.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self {
            process,
            lines,
            _reading: reading,
            _remarks: remarks,
        }
    }

    fn lines(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone()
    }

    /// Waits for a line that has all of these parts.
    async fn until(&self, parts: &[&str]) -> String {
        let has = |line: &String| parts.iter().all(|part| line.contains(part));
        eventually_some(&format!("{parts:?}"), || self.lines().into_iter().find(has)).await
    }
}
