//! References by which events really get somewhere: Knative Services, other kinds, displays of
//! templates, other names.

use crate::support::channel;
use crate::support::dispatcher::{Dispatcher, ready};
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;

fn to(api_version: &str, kind: &str, name: &str) -> String {
    format!("subscriber: {{ref: {{apiVersion: {api_version}, kind: {kind}, name: {name}}}}}")
}

fn annotated(api_version: &str, kind: &str, name: &str, url: &str) -> String {
    format!(
        "---\napiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: {name}\n  annotations: {{sealpost.dev/endpoint: '{url}'}}\n"
    )
}

/// The YAML of a Knative Service beside its Triggers runs: by an annotation, and as the display.
#[tokio::test(flavor = "multi_thread")]
async fn events_reach_what_references_name() {
    let (knative, other, external) = (
        Subscriber::ok().await,
        Subscriber::ok().await,
        Subscriber::ok().await,
    );
    let serving = "serving.knative.dev/v1";
    let subscriptions = [
        ("knative", to(serving, "Service", "knative")),
        ("other", to("example.com/v1", "Function", "f")),
        ("shown", to(serving, "Service", "event-display")),
        ("selected", to("v1", "Service", "by-selector")),
        ("external", to("v1", "Service", "external")),
    ];
    let port = external.address().port();
    let yaml = [
        channel(&subscriptions),
        annotated(serving, "Service", "knative", &knative.url()),
        annotated("example.com/v1alpha1", "Function", "f", &other.url()),
        format!(
            "---\napiVersion: {serving}\nkind: Service\nmetadata: {{name: event-display}}\nspec: {{template: {{spec: {{containers: \
             [{{image: gcr.io/knative-releases/knative.dev/eventing/cmd/event_display}}]}}}}}}\n"
        ),
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: by-selector}\nspec: {selector: {app: d}}\n---\napiVersion: \
         apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {selector: {matchLabels: {app: d}}, template: {metadata: {labels: \
         {app: d}}, spec: {containers: [{name: d, image: 'localhost/event_display:v1'}]}}}\n"
            .to_owned(),
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: external}\nspec: {type: ExternalName, externalName: \
         sink.example}\n"
            .to_owned(),
    ]
    .concat();
    let resolve = format!("sink.example:80=127.0.0.1:{port}");
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--resolve")
        .arg(resolve)
        .start()
        .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "i").await,
        202
    );
    for sink in [&knative, &other, &external] {
        assert_eq!(sink.until(1).await[0].id(), "i");
    }
    assert_eq!(external.received()[0].header("host"), Some("sink.example"));
    assert_eq!(
        dispatcher.printed().matches("id: i").count(),
        2,
        "{}",
        dispatcher.printed()
    );
    for (name, _) in &subscriptions {
        assert_eq!(
            ready(&dispatcher.object("subscriptions", name).await)["status"],
            "True",
            "{name}"
        );
    }
    assert_eq!(dispatcher.logged(&["Configuration has"]), [""; 0]);
}

/// What leads nowhere, and what leads to something that is left alone, fails and says so: never 202
/// and nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn what_leads_nowhere_fails() {
    let kafka = "---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: k, annotations: \
                 {eventing.knative.dev/broker.class: Kafka}}\n";
    for (reference, words) in [
        (
            to("example.com/v1", "Function", "f"),
            "leads to a Function of example.com, and nothing says where that is",
        ),
        (
            to("serving.knative.dev/v1", "Service", "s"),
            "there is no Service of serving.knative.dev, default/s",
        ),
        (
            to("eventing.knative.dev/v1", "Broker", "k"),
            "broker default/k is not served here",
        ),
        (
            to("sinks.knative.dev/v1alpha1", "JobSink", "j"),
            "leads to a JobSink of sinks.knative.dev, which is left alone here",
        ),
    ] {
        let yaml = channel(&[("s", reference.clone())]) + kafka;
        let dispatcher = Dispatcher::standalone(&yaml).await;
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), "i").await,
            500,
            "{reference}"
        );
        let object = dispatcher.object("subscriptions", "s").await;
        assert_eq!(ready(&object)["status"], "False", "{reference}");
        let message = ready(&object)["message"].as_str().expect("a message");
        assert!(message.contains(words), "{message}");
        // A dead letter sink gets it, with the reason.
        let sink = Subscriber::ok().await;
        let dead = format!(
            "{reference}\ndelivery: {{deadLetterSink: {{uri: '{}'}}}}",
            sink.url()
        );
        dispatcher.apply(&(channel(&[("s", dead)]) + kafka)).await;
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), "d").await,
            202,
            "{reference}"
        );
        let received = sink.until(1).await;
        let reason = received[0].header("ce-knativeerrordata").expect("a reason");
        assert!(!reason.is_empty(), "{reference}");
    }
}
