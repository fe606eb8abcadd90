//! Events that wait: which ones, for what, and that everything which shows a subscription says so in
//! one word.

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::backends::explained;
use super::{on, text};
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{SOON, channel, eventually};

/// Three hours, as a subscriber asks for them.
const HOURS: &str = "10800";
const PATIENT: &str =
    "delivery: {retry: 2, backoffPolicy: linear, backoffDelay: PT0.5S, retryAfterMax: PT12H}";

/// A channel `c` of this kind that answers at once, with these Subscriptions: name, annotations and
/// `spec`.
fn manifests(kind: &str, subscriptions: &[(&str, &str, String)]) -> String {
    let version = if kind == "DiskChannel" {
        "v1alpha1"
    } else {
        "v1"
    };
    let group = format!("apiVersion: messaging.knative.dev/{version}, kind: {kind}");
    let mut yaml = format!(
        "{{{group}, metadata: {{name: c, annotations: {{messaging.knative.dev/async-handler: 'true'}}}}}}\n"
    );
    for (name, annotations, spec) in subscriptions {
        yaml += &format!(
            "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\nspec:\n  channel: {{{group}, name: c}}\n  {spec}\n"
        );
    }
    yaml
}

fn to(subscriber: &Subscriber, rest: &str) -> String {
    format!("subscriber: {{uri: '{}'}}\n  {rest}", subscriber.url())
}

const ORDERED: &str = "sealpost.dev/delivery-order: ordered";

/// A subscriber that takes the first event in three hours, and all others at once.
async fn late() -> Subscriber {
    Subscriber::answering(|request| match request.number {
        0 => Reply::status(503).header("retry-after", HOURS),
        _ => Reply::status(200),
    })
    .await
}

/// A subscriber that does not answer as long as somebody looks.
async fn hanging() -> Subscriber {
    Subscriber::answering(|_| Reply::status(200).after(SOON)).await
}

async fn send_all(dispatcher: &Dispatcher, ids: &[&str]) {
    for id in ids {
        let url = dispatcher.http_url("/default/c");
        assert_eq!(send(&plain(), url, id).await, 202);
    }
}

/// The row of a subscription in the status.
async fn row(dispatcher: &Dispatcher, name: &str) -> Value {
    let (code, text) = dispatcher.admin_text("/api/v1/status").await;
    assert_eq!(code, 200);
    let status: Value = serde_json::from_str(&text).expect("JSON");
    let groups = status["groups"].as_array().expect("groups");
    let rows = groups
        .iter()
        .flat_map(|group| group["subscriptions"].as_array());
    let row = rows.flatten().find(|row| row["name"] == name);
    row.expect("the row").clone()
}

/// Waits until a row is as it should be.
async fn until_row(dispatcher: &Dispatcher, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let row = row(dispatcher, name).await;
        if is_so(&row) {
            return row;
        }
        assert!(std::time::Instant::now() < deadline, "it stays {row:#}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn ids(row: &Value) -> Vec<&str> {
    let events = row["oldestUnfinished"].as_array();
    let events = events.into_iter().flatten();
    events
        .map(|event| event["id"].as_str().expect("an id"))
        .collect()
}

fn time_of(value: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(value.as_str().expect("a time"), &Rfc3339).expect("a time")
}

/// The lines of `explain -o json` that say what an event waits for.
async fn waits(dispatcher: &Dispatcher, id: &str) -> Vec<Value> {
    let lines = text(&on(dispatcher, &["explain", id, "-o", "json"]).await.stdout);
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    lines
        .filter(|line: &Value| line["what"] == "waiting")
        .collect()
}

/// An event of an ordered subscription waits behind the one whose next attempt is in hours; of one
/// that is not ordered it waits for nobody.
async fn is_told_behind_which(kind: &str, arguments: &[&str]) {
    let (late, taking) = (late().await, Subscriber::ok().await);
    let yaml = manifests(
        kind,
        &[
            ("ordered", ORDERED, to(&late, PATIENT)),
            ("fine", "", to(&taking, "")),
        ],
    );
    let builder = arguments
        .iter()
        .fold(Dispatcher::of(&yaml), |builder, argument| {
            builder.arg(*argument)
        });
    let dispatcher = builder.start().await;
    send_all(&dispatcher, &["e1", "e2"]).await;
    let behind = "waits behind e1 (source /test): attempt 2 in ";
    let parts = [
        "waiting",
        "e2",
        "subscription default/ordered",
        behind,
        "h ",
    ];
    explained(&dispatcher, "e2", &parts).await;
    explained(
        &dispatcher,
        "e1",
        &["waiting", "e1", "waits for attempt 2 in "],
    )
    .await;
    explained(&dispatcher, "e2", &["delivered", "default/fine"]).await;
    let lines = waits(&dispatcher, "e2").await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!(
        [
            &line["behind"],
            &line["behindSource"],
            &line["subscription"]
        ],
        ["e1", "/test", "subscription default/ordered"]
    );
    assert_eq!(line["attempt"], 2);
    let wait = time_of(&line["nextAttempt"]) - OffsetDateTime::now_utc();
    assert!((10_500..10_801).contains(&wait.whole_seconds()), "{wait}");
    let first = waits(&dispatcher, "e1").await;
    assert_eq!((first.len(), &first[0]["behind"]), (1, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_behind_which_event_another_waits() {
    is_told_behind_which("InMemoryChannel", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_behind_which_event_another_waits_on_disk() {
    let data = TempDir::new().expect("a directory");
    let path = data.path().to_str().expect("a path");
    is_told_behind_which("DiskChannel", &["--data-dir", path]).await;
}

/// An attempt that takes long is told as well, and that all places are taken.
#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_what_takes_the_places() {
    let hanging = hanging().await;
    let yaml = manifests(
        "InMemoryChannel",
        &[
            ("ordered", ORDERED, to(&hanging, "")),
            ("many", "", to(&hanging, "")),
        ],
    );
    let dispatcher = Dispatcher::of(&yaml).arg("--concurrency").arg("2");
    let dispatcher = dispatcher.start().await;
    send_all(&dispatcher, &["e1", "e2", "e3"]).await;
    let behind = "waits behind e1 (source /test): attempt 1 under way for ";
    for (id, parts) in [
        ("e3", ["default/ordered", behind]),
        (
            "e3",
            [
                "default/many",
                "waits for a free place: 2 of 2 attempts under way",
            ],
        ),
        ("e2", ["default/many", "attempt 1 under way for "]),
    ] {
        explained(&dispatcher, id, &parts).await;
    }
    let row = until_row(&dispatcher, "many", |row| ids(row).len() == 2).await;
    let event = &row["oldestUnfinished"][0];
    assert_eq!(
        (&event["attempts"], &event["leg"], &event["nextAttempt"]),
        (&0.into(), &"subscriber".into(), &Value::Null)
    );
    let since = OffsetDateTime::now_utc() - time_of(&event["underWaySince"]);
    assert!((1..60).contains(&since.whole_seconds()), "{since}");
}

/// A row has the ids of its oldest unfinished events, five at most, until they are delivered.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_names_its_oldest_unfinished_events() {
    let busy = Subscriber::answering(|_| Reply::status(503).header("retry-after", HOURS)).await;
    let flaky = Subscriber::answering(|request| match request.number {
        0 => Reply::status(503).header("retry-after", "3"),
        _ => Reply::status(200),
    })
    .await;
    let yaml = manifests(
        "InMemoryChannel",
        &[
            ("busy", "", to(&busy, PATIENT)),
            ("flaky", "", to(&flaky, PATIENT)),
        ],
    );
    let dispatcher = Dispatcher::standalone(&yaml).await;
    send_all(&dispatcher, &["e1"]).await;
    let flaky = until_row(&dispatcher, "flaky", |row| ids(row) == ["e1"]).await;
    assert_eq!(flaky["oldestUnfinished"][0]["attempts"], 1, "{flaky}");
    until_row(&dispatcher, "busy", |row| ids(row) == ["e1"]).await;
    for (number, id) in ["e2", "e3", "e4", "e5", "e6", "e7"].iter().enumerate() {
        send_all(&dispatcher, &[id]).await;
        eventually("tried", || busy.count() == number + 2).await;
    }
    let five = |row: &Value| row["counts"]["failures"] == 7 && ids(row).len() == 5;
    let busy = until_row(&dispatcher, "busy", five).await;
    assert_eq!(ids(&busy)[0], "e1", "the oldest comes first");
    for event in busy["oldestUnfinished"].as_array().expect("events") {
        assert_eq!(
            (&event["source"], &event["leg"], &event["attempts"]),
            (&"/test".into(), &"subscriber".into(), &1.into())
        );
        let wait = time_of(&event["nextAttempt"]) - OffsetDateTime::now_utc();
        assert!((10_500..10_801).contains(&wait.whole_seconds()), "{wait}");
    }
    until_row(&dispatcher, "flaky", |row| {
        row["counts"]["delivered"] == 7 && ids(row).is_empty()
    })
    .await;
    // That is told beside what is worse.
    let reasons = busy["reasons"].as_array().expect("reasons");
    let waits = reasons.iter().find(|reason| reason["word"] == "Retrying");
    let waits = waits.expect("what waits")["text"].as_str().expect("text");
    assert!(
        waits.starts_with("7 events are not finished; e1: attempt 2 in ")
            && waits.contains(" h ")
            && waits.ends_with("Z)"),
        "{waits}"
    );
    let top = text(&on(&dispatcher, &["top", "--once"]).await.stdout);
    let line = "Subscription default/busy: Unfinished: e1 from /test: subscriber, attempt 2 at 20";
    assert!(top.contains(line), "{top}");
}

/// The word for each row of these, which the status, the page and `top` say.
const WORDS: [(&str, &str); 4] = [
    ("late", "Retrying"),
    ("hanging", "Waiting"),
    ("fine", "Working"),
    ("unused", "Idle"),
];

/// What waits for its next attempt or stands in the queue is not idle.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_called_so_everywhere() {
    let (late, hanging, fine) = (late().await, hanging().await, Subscriber::ok().await);
    let mut yaml = manifests(
        "InMemoryChannel",
        &[
            ("late", "", to(&late, PATIENT)),
            ("hanging", ORDERED, to(&hanging, "")),
            ("fine", "", to(&fine, "")),
        ],
    );
    let unused = ("unused", to(&fine, ""));
    yaml += &format!(
        "---\n{}",
        channel(&[unused]).replace("name: c}", "name: d}")
    );
    let dispatcher = Dispatcher::standalone(&yaml).await;
    send_all(&dispatcher, &["e1"]).await;
    until_row(&dispatcher, "late", |row| ids(row) == ["e1"]).await;
    send_all(&dispatcher, &["e2"]).await;
    let mut browser = crate::support::chromium::Browser::start(1500, 1050).await;
    browser.open(&format!("http://{}/", dispatcher.admin)).await;
    for (name, word) in WORDS {
        if name == "fine" {
            send_all(&dispatcher, &["e3"]).await;
        }
        let row = until_row(&dispatcher, name, |row| row["state"] == word).await;
        assert_eq!(row["reasons"][0]["word"], word, "{row}");
        let top = text(&on(&dispatcher, &["top", "--once"]).await.stdout);
        let line = top
            .lines()
            .find(|line| line.contains(&format!("default/{name} ")));
        assert!(
            line.is_some_and(|line| line.starts_with(word)),
            "{name}: {top}"
        );
        let cell = format!(
            "[...document.querySelectorAll('tr.row')].find(tr => tr.querySelector('.name-text').textContent === '{name}')?.cells[0].innerText.trim()"
        );
        browser.until(&format!("{cell} === '{word}'")).await;
    }
    let queue = row(&dispatcher, "hanging").await;
    let text = queue["reasons"][0]["text"].as_str().expect("text");
    let begin = " events are not finished; e1: attempt 1 under way for ";
    assert!(text.contains(begin), "{text}");
    browser.close().await;
}

/// What waits on disk since before a restart is told, too: that and when, though not yet which.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_since_before_a_restart_is_told() {
    let data = TempDir::new().expect("a directory");
    let path = data.path().to_str().expect("a path");
    let late = late().await;
    let yaml = manifests("DiskChannel", &[("late", "", to(&late, PATIENT))]);
    let start = || Dispatcher::of(&yaml).arg("--data-dir").arg(path).start();
    let mut first = start().await;
    send_all(&first, &["e1"]).await;
    until_row(&first, "late", |row| row["counts"]["deferred"] == 1).await;
    first.signal(Signal::TERM);
    assert!(first.ended().await.success());
    let second = start().await;
    let row = until_row(&second, "late", |row| row["state"] == "Retrying").await;
    let text = row["reasons"][0]["text"].as_str().expect("text");
    assert!(
        text.starts_with("1 event is not finished; the next attempt is in ")
            && text.contains(" h ")
            && text.ends_with("Z)"),
        "{text}"
    );
    assert_eq!(row["reasons"][0]["level"], "doubtful");
    assert_eq!(ids(&row), [""; 0]);
}

/// Of more unfinished events than are noted, nothing is said that is not known: one that waits for
/// its next attempt does not wait for a place.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_not_told() {
    let subscriber = Subscriber::answering(|request| match request.number {
        0..70 => Reply::status(503).header("retry-after", HOURS),
        _ => Reply::status(200).after(SOON),
    })
    .await;
    let yaml = manifests("InMemoryChannel", &[("s", "", to(&subscriber, PATIENT))]);
    let builder = Dispatcher::of(&yaml).arg("--concurrency").arg("1");
    let dispatcher = builder.start().await;
    let ids: Vec<String> = (0..72).map(|id| format!("e{id}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    send_all(&dispatcher, &ids).await;
    subscriber.until(71).await;
    let place = "waits for a free place, unless it has got one: 1 of 1 attempts under way";
    explained(&dispatcher, "e71", &["waiting", "e71", place]).await;
    explained(
        &dispatcher,
        "e0",
        &["waiting", "e0", "waits for attempt 2 in "],
    )
    .await;
    explained(&dispatcher, "e69", &["attempt", "the next attempt is in "]).await;
    let beyond = waits(&dispatcher, "e69").await;
    assert!(beyond.is_empty(), "{beyond:?}");
}

/// Ids that begin in the same way are different ones, however long they are.
#[tokio::test(flavor = "multi_thread")]
async fn long_ids_are_told_apart() {
    let late = late().await;
    let yaml = manifests("InMemoryChannel", &[("s", ORDERED, to(&late, PATIENT))]);
    let dispatcher = Dispatcher::of(&yaml).start().await;
    let [first, second] = ["A", "B"].map(|end| "x".repeat(300) + end);
    send_all(&dispatcher, &[&first, &second]).await;
    explained(&dispatcher, &first, &["waiting", "waits for attempt 2 in "]).await;
    explained(
        &dispatcher,
        &second,
        &["waiting", "waits behind xxx", "attempt 2 in "],
    )
    .await;
}
