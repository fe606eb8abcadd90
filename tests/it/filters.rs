//! Filters that are much work: their events do not pass, everybody is told, and nobody else waits.

use std::fmt::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::binary;
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::plain;
use crate::support::subscriber::Subscriber;

/// A pattern for which places are tried one by one, and none fits.
fn dear() -> String {
    format!("x LIKE '%{}_b%'", "a".repeat(8_000))
}

fn broker(triggers: &[(&str, &str)], subscriber: &Subscriber) -> String {
    let mut yaml =
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n".to_owned();
    for (name, expression) in triggers {
        let head = format!(
            "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}}}\n"
        );
        let subscriber = subscriber.url();
        let spec = format!(
            "spec: {{broker: b, filters: [{{cesql: \"{expression}\"}}], subscriber: {{uri: '{subscriber}'}}}}\n"
        );
        write!(yaml, "{head}{spec}").expect("text");
    }
    yaml
}

/// Sends an event with an attribute of 50,000 bytes, which passes every limit of what is accepted.
async fn send_long(dispatcher: &Dispatcher, id: &str) -> u16 {
    let x = "a".repeat(50_000);
    let event = json!({"specversion": "1.0", "id": id, "source": "/s", "type": "t", "x": x});
    let request = plain()
        .post(dispatcher.http_url("/default/b"))
        .header("content-type", "application/cloudevents+json");
    request
        .body(event.to_string())
        .send()
        .await
        .expect("an answer")
        .status()
        .as_u16()
}

/// An event that is too much work does not pass this filter, nor its opposite, and passes the
/// others.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_work_is_counted_and_told() {
    let (subscriber, dear) = (Subscriber::ok().await, dear());
    let (opposite, either) = (format!("NOT ({dear})"), format!("{dear} OR TRUE"));
    let triggers = [
        ("dear", dear.as_str()),
        ("opposite", &opposite),
        ("either", &either),
        ("cheap", "EXISTS x"),
        ("wrong", "missing = 1"),
    ];
    let dispatcher = Dispatcher::standalone(&broker(&triggers, &subscriber)).await;
    assert_eq!(send_long(&dispatcher, "1").await, 202);
    assert_eq!(
        subscriber.received().len(),
        1,
        "only the cheap one lets it pass"
    );
    let metrics = dispatcher.admin_text("/metrics").await.1;
    for (name, reason) in [
        ("dear", "limit"),
        ("opposite", "limit"),
        ("either", "limit"),
        ("wrong", "expression"),
    ] {
        let labels = format!(
            "subscription_kind=\"trigger\",subscription_namespace=\"default\",subscription_name=\"{name}\""
        );
        let line = format!(
            "sealpost_subscription_filter_errors_total{{{labels},reason=\"{reason}\"}} 1\n"
        );
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    assert_eq!(dispatcher.counter("filter_errors_total").await, 4);
    let annotations = async |name: &str| {
        dispatcher.object("triggers", name).await["status"]["annotations"].clone()
    };
    let told = |limit: &str| json!({"sealpost.dev/filter-errors": "1", "sealpost.dev/filter-limit-exceeded": limit});
    assert_eq!(annotations("dear").await, told("1"));
    assert_eq!(annotations("wrong").await, told("0"));
    assert_eq!(annotations("cheap").await, Value::Null);
    let status: Value =
        serde_json::from_str(&dispatcher.admin_text("/api/v1/status").await.1).expect("JSON");
    let rows = status["groups"][0]["subscriptions"]
        .as_array()
        .expect("rows");
    let counts =
        |name: &str| &rows.iter().find(|row| row["name"] == name).expect("a row")["counts"];
    assert_eq!(
        (
            &counts("dear")["filterErrors"],
            &counts("dear")["filterLimitExceeded"]
        ),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (
            &counts("wrong")["filterErrors"],
            &counts("wrong")["filterLimitExceeded"]
        ),
        (&json!(1), &json!(0))
    );
    assert_eq!(send_long(&dispatcher, "2").await, 202);
    let told = dispatcher.logged(&[
        "WARN",
        "A filter takes too much work",
        "trigger default/dear",
    ]);
    assert_eq!(told.len(), 1, "{told:?}");
    let mut get = tokio::process::Command::new(binary());
    get.args([
        "get",
        "triggers",
        "dear",
        "--admin",
        &format!("http://{}", dispatcher.admin),
    ])
    .stdout(Stdio::piped());
    let table = get.output().await.expect("it runs").stdout;
    let table = String::from_utf8_lossy(&table);
    let (head, row) = table.split_once('\n').expect("two lines");
    let column = head.find("FILTER_ERRORS").expect("the column");
    assert!(
        row.get(column..).is_some_and(|cell| cell.starts_with('2')),
        "{table}"
    );
}

/// Probes are answered while every thread has such events to filter.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_filters() {
    let (subscriber, dear) = (Subscriber::ok().await, dear());
    let names: Vec<String> = (0..20).map(|number| format!("t{number}")).collect();
    let triggers: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (name.as_str(), dear.as_str()))
        .collect();
    let dispatcher = Dispatcher::standalone(&broker(&triggers, &subscriber)).await;
    let ids: Vec<String> = (0..8).map(|id| id.to_string()).collect();
    let sending = futures_util::future::join_all(ids.iter().map(|id| send_long(&dispatcher, id)));
    let probing = async {
        let (mut longest, mut probes) = (Duration::ZERO, 0);
        while dispatcher.counter("filter_errors_total").await < 160 {
            let asked = Instant::now();
            assert_eq!(dispatcher.admin_text("/healthz").await.0, 200);
            longest = longest.max(asked.elapsed());
            probes += 1;
        }
        (longest, probes)
    };
    let (statuses, (longest, probes)) = tokio::join!(sending, probing);
    assert_eq!(statuses, [202; 8]);
    // Without limits, each of these filters takes hundreds of milliseconds, and all of them half a
    // minute of a thread.
    assert!(longest < Duration::from_secs(1), "a probe took {longest:?}");
    eprintln!("the longest of {probes} probes took {longest:?}");
}
