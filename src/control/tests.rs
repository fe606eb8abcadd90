//! Manifests in, tables and problems out.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::model::{ChannelKind, Find, Target};

const NOW: i64 = 1_800_000_000;

fn settings() -> Settings {
    Settings {
        system_namespace: "knative-eventing".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        default_namespace: "default".to_owned(),
        transport_encryption: None,
        resolve: Vec::new(),
        urls: None,
        ca_certs: CaCerts::Unknown,
    }
}

fn resolve_text(text: &str) -> Resolution {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("m.yaml");
    fs::write(&file, text).expect("written");
    let mut resolution = resolve(&read(&[file], &settings()), None, &settings(), NOW);
    let prefix = format!("{}/", directory.path().display());
    for problem in &mut resolution.problems {
        problem.file = problem.file.as_ref().map(|file| file.replace(&prefix, "").into());
        problem.message = problem.message.replace(&prefix, "");
    }
    resolution
}

fn problems(text: &str) -> Vec<String> {
    resolve_text(text).problems.iter().map(ToString::to_string).collect()
}

const SEED: &str = "
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata:
  name: br
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: tr
spec:
  broker: br
  subscriber:
    ref:
      apiVersion: v1
      kind: Service
      name: event-display
---
apiVersion: v1
kind: Service
metadata:
  name: event-display
spec:
  selector:
    app: event-display
  ports:
    - protocol: TCP
      port: 80
      targetPort: 8080
---
apiVersion: v1
kind: Pod
metadata:
  name: event-display
  labels:
    app: event-display
spec:
  containers:
    - name: event-display
      image: gcr.io/knative-releases/knative.dev/eventing/cmd/event_display
      imagePullPolicy: Always
      ports:
        - containerPort: 8080
";

#[test]
fn the_example_of_the_documentation() {
    let resolution = resolve_text(SEED);
    assert_eq!(resolution.problems, []);
    let Find::Found(_, broker) = resolution.table.find(Some("localhost"), "/default/br") else { panic!("no broker") };
    assert_eq!(broker.key.kind, ChannelKind::Broker);
    let trigger = &broker.subscriptions[0];
    assert_eq!(trigger.subscriber.as_ref().map(|subscriber| &subscriber.target), Some(&Target::Display));
    assert_eq!(trigger.reply.as_ref().map(|reply| &reply.target), Some(&Target::Local(broker.key.clone())));
}

fn channel_with(spec: &str) -> String {
    let spec = spec.replace('\n', "\n  ");
    format!(
        "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {{name: c}}\n---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: s}}\nspec:\n  channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}}\n  {spec}\n"
    )
}

/// interface.md §1: what `check` prints.
#[test]
fn problems_say_where_what_and_how_to_mend_it() {
    for (spec, expected) in [
        (
            "subscriber: {uri: http://s}\ndelivery: {backoffDelay: 5s}",
            "m.yaml:11: Subscription default/s: spec.delivery.backoffDelay: \"5s\" is not an ISO 8601 duration: write for example PT0.5S, PT10S, PT1M30S or P1D",
        ),
        (
            "subscriber: {uri: http://s}\ndelivery:\n  retry: -1",
            "m.yaml:12: Subscription default/s: spec.delivery.retry: -1 is not a number of retries: write 0 to 1000000",
        ),
        (
            "subscriber: {uri: http://s}\ndelivery:\n  retry: many",
            "m.yaml:12: Subscription default/s: spec.delivery.retry: invalid type: string \"many\", expected i64",
        ),
        (
            "subscriber: {uri: http://s}\ndelivery: {backoffPolicy: Linear}",
            "m.yaml:11: Subscription default/s: spec.delivery.backoffPolicy: \"Linear\" is not a policy: write linear or exponential",
        ),
        (
            "subscriber: {uri: s/path}",
            "m.yaml:10: Subscription default/s: spec.subscriber.uri: \"s/path\" is not an absolute URI (relative URL without a base): write for example https://host/path",
        ),
        (
            "subscriber: {uri: ftp://s}",
            "m.yaml:10: Subscription default/s: spec.subscriber.uri: scheme \"ftp\" is not supported: use http or https",
        ),
        (
            "subscriber: {uri: 'http://me:secret@s'}",
            "m.yaml:10: Subscription default/s: spec.subscriber.uri: must not hold a user name or password",
        ),
        (
            "reply: {uri: http://r}\ndeadletterSink: {uri: http://d}\n",
            "m.yaml:11: Subscription default/s: spec.deadletterSink: warning: is not a known field and ignored: did you mean deadLetterSink?",
        ),
        (
            "subscriber:\n  uri: https://s\n  CAcerts: x",
            "m.yaml:12: Subscription default/s: spec.subscriber.CAcerts: warning: is not a known field and ignored: did you mean CACerts?",
        ),
        (
            "subscriber: {}",
            "m.yaml:10: Subscription default/s: spec.subscriber: is missing: write subscriber, or reply, or both",
        ),
        (
            "subscriber: {ref: {apiVersion: v1, kind: Service, name: none}}",
            "m.yaml:10: Subscription default/s: spec.subscriber.ref: there is no Service default/none: add it (with annotation sealpost.dev/endpoint to say where it is), correct the name or namespace, or use uri",
        ),
        (
            "reply: {ref: {kind: Broker, name: none}}",
            "m.yaml:10: Subscription default/s: spec.reply.ref: there is no Broker default/none: add it, or correct the name or namespace",
        ),
        (
            "subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: x}}",
            "m.yaml:10: Subscription default/s: spec.subscriber.ref.kind: \"Service\" of \"serving.knative.dev/v1\" cannot be referred to: use a v1 Service, a channel, a Broker, or uri",
        ),
        (
            "subscriber: {uri: https://s, CACerts: nothing}",
            "m.yaml:10: Subscription default/s: spec.subscriber.CACerts: holds no PEM certificate; it must contain -----BEGIN CERTIFICATE----- lines, indented evenly below the YAML key",
        ),
    ] {
        assert_eq!(problems(&channel_with(spec)), [expected]);
    }
}

#[test]
fn objects_that_cannot_be_told() {
    let channel = "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {name: c}\n";
    for (text, expected) in [
        (format!("{channel}---\n{channel}"), "m.yaml:7: InMemoryChannel default/c: metadata.name: is a second InMemoryChannel of this name, the first is at m.yaml:1: remove one"),
        (format!("{channel}---\n{}", channel.replace("InMemory", "")), "m.yaml:7: Channel default/c: metadata.name: is a second channel of this name, the InMemoryChannel at m.yaml:1 is one already (a Channel makes its InMemoryChannel itself): remove one"),
        (channel.replace("dev/v1", "dev/v1beta1"), "m.yaml:1: InMemoryChannel default/c: apiVersion: \"messaging.knative.dev/v1beta1\" has no InMemoryChannel that is read: write messaging.knative.dev/v1"),
        (channel.replace("InMemoryChannel", "InMemoryChanel"), "m.yaml:2: InMemoryChanel default/c: kind: InMemoryChanel is not a kind: did you mean InMemoryChannel?"),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n".to_owned(), "m.yaml:2: Deployment default/d: kind: note: Deployment is not read and left alone"),
        ("apiVersion: v1\nmetadata: {name: x}\n".to_owned(), "m.yaml:1: kind: is missing: every object needs one, and it must be text"),
        ("- 1\n".to_owned(), "m.yaml:1: kind: is missing: every object needs one, and it must be text"),
        (String::new(), "m.yaml:1: note: holds no object"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config-features, namespace: knative-eventing}\ndata:\n  transport-encryption: tls-please\n".to_owned(), "m.yaml:5: ConfigMap knative-eventing/config-features: data.transport-encryption: \"tls-please\" is not a mode: write disabled, permissive or strict; until then both listeners take events, as in permissive"),
    ] {
        assert_eq!(problems(&text), [expected]);
    }
    let broken = problems("kind: [\n");
    assert!(broken[0].contains("not valid YAML, nothing in this file is applied"), "{broken:?}");
}

/// BF-3, control-plane.md 5.4.
#[test]
fn delivery_specs_are_replaced_and_dead_letter_sinks_fall_back() {
    let text = |own: &str| {
        format!(
            "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {{name: c}}\nspec:\n  delivery: {{retry: 7, backoffPolicy: linear, backoffDelay: PT1S, deadLetterSink: {{uri: http://parents}}}}\n---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: s}}\nspec:\n  channel: {{kind: Channel, name: c}}\n  subscriber: {{uri: http://s}}\n{own}"
        )
    };
    for (own, retry, sink) in [
        ("", 7, "http://parents/"),
        ("  delivery: {timeout: PT1S}\n", 0, "http://parents/"),
        ("  delivery: {retry: 2, deadLetterSink: {uri: http://own}}\n", 2, "http://own/"),
    ] {
        let resolution = resolve_text(&text(own));
        let subscription = &resolution.table.channels()[0].subscriptions[0];
        assert_eq!(subscription.delivery.retry, retry, "{own}");
        assert_eq!(subscription.dead_letter_sink.as_ref().map(|sink| sink.url.as_str()), Some(sink), "{own}");
    }
}

/// interface.md §2: one bad object never stops the others and keeps its last good form.
#[test]
fn a_broken_object_keeps_its_last_good_form() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("m.yaml");
    let good = channel_with("subscriber: {uri: http://s}\ndelivery: {retry: 3}");
    fs::write(&file, &good).expect("written");
    let mut watcher = Watcher::new(std::slice::from_ref(&file), settings());
    let first = watcher.read();
    let other = "---\napiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: other}\n";
    fs::write(&file, good.replace("retry: 3", "retry: -3") + other).expect("written");
    let second = watcher.read();
    assert_eq!(second.table.channels().len(), 2, "the new channel is served");
    assert!(std::sync::Arc::ptr_eq(&first.table.channels()[0], &second.table.channels()[0]), "what is equal is shared");
    let object = second.inventory.objects.iter().find(|object| object.name == "s").expect("listed");
    let ready = &object.value["status"]["conditions"][0];
    assert_eq!(ready["status"], "False");
    let message = ready["message"].as_str().expect("a message");
    assert!(message.contains("retry") && message.contains("last good form is still served"), "{message}");
    fs::write(&file, "kind: [").expect("written");
    let third = watcher.read();
    assert_eq!(third.table, second.table, "a file that is not YAML changes nothing");
    fs::write(&file, other).expect("written");
    assert_eq!(watcher.read().table.channels().len(), 1, "what is gone is gone");
}

/// interface.md §3.
#[test]
fn addresses_by_mode() {
    let urls = Urls {
        http: "http://127.0.0.1:1".parse().expect("a URL"),
        https: "https://127.0.0.1:2".parse().expect("a URL"),
    };
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("m.yaml");
    fs::write(&file, "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b, namespace: ns}\n")
        .expect("written");
    for (mode, address, addresses) in [
        (TransportEncryption::Disabled, "http://127.0.0.1:1/ns/b", &["http"][..]),
        (TransportEncryption::Permissive, "http://127.0.0.1:1/ns/b", &["https", "http"]),
        (TransportEncryption::Strict, "https://127.0.0.1:2/ns/b", &["https"]),
    ] {
        let settings = Settings {
            transport_encryption: Some(mode),
            urls: Some(urls.clone()),
            ca_certs: CaCerts::Development("PEM".to_owned()),
            ..settings()
        };
        let resolution = resolve(&read(std::slice::from_ref(&file), &settings), None, &settings, NOW);
        let status = &resolution.inventory.objects[0].value["status"];
        assert_eq!(status["address"]["url"], address);
        let names: Vec<&str> = status["addresses"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|a| a["name"].as_str().expect("a name"))
            .collect();
        assert_eq!(names, addresses);
        for address in
            status["addresses"].as_array().expect("a list").iter().filter(|address| address["name"] == "https")
        {
            assert_eq!(address["CACerts"], "PEM");
        }
    }
}

#[test]
fn overrides() {
    let parsed: ResolveOverride = "sink.ns.svc.cluster.local:443=127.0.0.1:9443".parse().expect("an override");
    let url = |text: &str| Url::parse(text).expect("a URL");
    assert!(parsed.applies_to(&url("https://SINK.ns.svc.cluster.local/x")).is_some());
    assert!(parsed.applies_to(&url("http://sink.ns.svc.cluster.local/x")).is_none());
    for text in ["", "a", "a=b", "=127.0.0.1:1", "a:b=127.0.0.1:1", "a=127.0.0.1"] {
        assert!(text.parse::<ResolveOverride>().is_err(), "{text}");
    }
    let settings = Settings {
        resolve: vec!["none.default.svc.cluster.local=127.0.0.1:9".parse().expect("an override")],
        ..settings()
    };
    let directory = TempDir::new().expect("a directory");
    let file: PathBuf = directory.path().join("m.yaml");
    fs::write(&file, channel_with("subscriber: {ref: {apiVersion: v1, kind: Service, name: none}}")).expect("written");
    let resolution = resolve(&read(&[file], &settings), None, &settings, NOW);
    assert_eq!(resolution.problems, [], "a service that is only known by an override is none that is missing");
}
