//! Secrets that stand where people put them, and that nothing shows: not the admin port, not a
//! command, no log, no number, no trace.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::process::Command;

use crate::support::collector::{Collector, tree};
use crate::support::dispatcher::Dispatcher;
use crate::support::pki::Ca;
use crate::support::sender::{event, plain};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{binary, block, eventually};

/// What every secret begins with.
const MARK: &str = "S3CR3T";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The addresses that the manifests name.
struct Places {
    good: String,
    failing: String,
    dead: String,
}

/// Metadata of an object with secrets in everything that is not its name.
fn metadata(name: &str) -> String {
    format!(
        "metadata:\n  name: {name}\n  labels: {{token: {MARK}-label, app.kubernetes.io/name: shown}}\n  annotations:\n    \
         kubectl.kubernetes.io/last-applied-configuration: '{{\"spec\": \"{MARK}-applied\"}}'\n    example.com/token: \
         {MARK}-annotation\n  managedFields: [{{manager: {MARK}-manager}}]\n"
    )
}

/// A subscription of `default/c`, or a Trigger of `default/b`.
fn consumer(kind: &str, name: &str, spec: &str) -> String {
    let (api, parent) = match kind {
        "Trigger" => ("eventing", "broker: b"),
        _ => (
            "messaging",
            "channel: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}",
        ),
    };
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "---\napiVersion: {api}.knative.dev/v1\nkind: {kind}\n{}spec:\n  {parent}\n{spec}",
        metadata(name)
    )
}

/// Consumers of this kind, with a secret in every field that takes a text, and in some that do not
/// take it.
fn add_consumers(yaml: &mut String, kind: &str, places: &Places, ca: &Ca) {
    let Places {
        good,
        failing,
        dead,
    } = places;
    let key = ca.issue(&["localhost"]).key_pem;
    let mut add = |name: &str, spec: String| yaml.push_str(&consumer(kind, name, &spec));
    let sink = format!(
        "delivery:\n  retry: 0\n  deadLetterSink: {{uri: '{dead}/dead?code={MARK}-sink#{MARK}-end'}}\n"
    );
    add(
        "good",
        format!("subscriber: {{uri: '{good}/good?code={MARK}-query#{MARK}-fragment'}}\n{sink}"),
    );
    add(
        "failing",
        format!("subscriber: {{uri: '{failing}/failing?code={MARK}-query'}}\n{sink}"),
    );
    add(
        "closed",
        format!("subscriber: {{uri: 'http://127.0.0.1:1/x?code={MARK}-query'}}\n{sink}"),
    );
    add(
        "user",
        format!("subscriber: {{uri: 'http://me:{MARK}-password@sink.example/x'}}\n{sink}"),
    );
    add(
        "crooked",
        format!("subscriber: {{uri: 'http://me:{MARK}/word@sink.example/x'}}\n{sink}"),
    );
    add(
        "relative",
        format!("subscriber: {{uri: '//me:{MARK}-password@sink?{MARK}'}}\n"),
    );
    add(
        "by-ref",
        format!(
            "subscriber: {{ref: {{apiVersion: v1, kind: Service, name: s}}, uri: '/x?code={MARK}'}}\n"
        ),
    );
    add(
        "gone",
        format!(
            "subscriber: {{ref: {{apiVersion: v1, kind: Service, name: nowhere}}, uri: '/x?code={MARK}'}}\n"
        ),
    );
    add(
        "text",
        format!("subscriber: 'http://sink.example/?code={MARK}'\n"),
    );
    add(
        "number",
        format!("subscriber: {{uri: '{good}/?code={MARK}'}}\ndelivery: {{retry: {MARK}-number}}\n"),
    );
    add(
        "unknown",
        format!(
            "subscriber: {{uri: '{good}', password: {MARK}}}\ntoken: {MARK}\nheaders: {{a: {MARK}}}\n"
        ),
    );
    let pasted = block(&format!("{}{key}{MARK}", ca.pem), 4);
    add(
        "pasted",
        format!("subscriber:\n  uri: https://localhost:1/x?{MARK}\n  CACerts: {pasted}"),
    );
    add(
        "key",
        format!(
            "subscriber:\n  uri: https://localhost:1/x?{MARK}\n  CACerts: {}",
            block(&key, 4)
        ),
    );
}

/// Manifests with a secret in every field that takes a text.
fn manifests(places: &Places) -> String {
    let Places { good, failing, .. } = places;
    let ca = Ca::new("shown");
    let mut yaml = format!(
        "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\n{}spec:\n  delivery:\n    retry: 0\n---\napiVersion: \
         eventing.knative.dev/v1\nkind: Broker\n{}",
        metadata("c"),
        metadata("b")
    );
    for kind in ["Trigger", "Subscription"] {
        add_consumers(&mut yaml, kind, places, &ca);
    }
    yaml.push_str(&consumer(
        "Subscription",
        "reply",
        &format!("subscriber: {{uri: '{good}/reply?{MARK}'}}\nreply: {{uri: '{failing}/r?code={MARK}-reply'}}\n"),
    ));
    write!(
        yaml,
        "---\napiVersion: sources.knative.dev/v1\nkind: PingSource\n{}spec:\n  schedule: '* * * * * *'\n  data: {MARK}-data\n  \
         sink: {{uri: '{failing}/ping?code={MARK}-ping'}}\n  ceOverrides: {{extensions: {{token: {MARK}-override}}}}\n\
         ---\napiVersion: v1\nkind: Service\nmetadata: {{name: s, annotations: {{sealpost.dev/endpoint: \
         'http://127.0.0.1:1/?code={MARK}-endpoint'}}}}\nspec: {{selector: {{app: s}}}}\n\
         ---\napiVersion: v1\nkind: Pod\nmetadata: {{name: s, labels: {{app: s}}}}\nspec:\n  containers:\n  - {{image: x, env: \
         [{{name: TOKEN, value: {MARK}-env}}]}}\n\
         ---\napiVersion: v1\nkind: Secret\nmetadata: {{name: imc-dispatcher-server-tls, namespace: knative-eventing}}\n\
         stringData: {{tls.crt: {MARK}-crt, tls.key: {MARK}-key}}\n\
         ---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-features, namespace: knative-eventing}}\ndata: \
         {{transport-encryption: disabled, oidc-discovery-base-url: 'https://me:{MARK}-issuer@issuer.example/?{MARK}'}}\n\
         ---\napiVersion: messaging.knative.dev/v1alpha1\nkind: RabbitmqChannel\n{}",
        metadata("p"),
        metadata("r")
    )
    .expect("a text");
    yaml
}

/// Everything that a command of the program prints.
async fn printed(arguments: &[&str]) -> String {
    let output = Command::new(binary())
        .args(arguments)
        .output()
        .await
        .expect("it runs");
    format!(
        "{arguments:?}\n{}",
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
    )
}

/// What a running process shows of itself, by name of the place.
async fn shown(
    dispatcher: &Dispatcher,
    manifests: &str,
    collector: &Collector,
) -> Vec<(String, String)> {
    let mut shown = Vec::new();
    let kinds = ["channels", "brokers", "triggers", "subscriptions"];
    let admin = format!("http://{}", dispatcher.admin);
    let paths = [
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/nothing",
        "/api/v1/status",
        "/api/v1/parked",
    ];
    for path in paths
        .into_iter()
        .map(str::to_owned)
        .chain(kinds.map(|kind| format!("/api/v1/{kind}")))
    {
        let (status, text) = dispatcher.admin_text(&path).await;
        assert!(status >= 200, "{path} is answered");
        shown.push((path, text));
    }
    for kind in kinds {
        for output in ["table", "yaml", "json"] {
            let text = printed(&["get", kind, "-o", output, "--admin", &admin]).await;
            shown.push((format!("get {kind} -o {output}"), text));
        }
    }
    shown.push((
        "parked list".to_owned(),
        printed(&["parked", "list", "--admin", &admin]).await,
    ));
    shown.push((
        "check".to_owned(),
        printed(&["check", "-f", manifests]).await,
    ));
    shown.push(("log".to_owned(), dispatcher.log()));
    shown.push(("standard output".to_owned(), dispatcher.printed()));
    shown.push(("traces".to_owned(), tree(&collector.spans())));
    shown.push(("spans".to_owned(), format!("{:?}", collector.spans())));
    shown
}

/// The keys that were pasted, line by line: no line of theirs is shown either.
fn lines_of_keys(manifests: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    for key in manifests.split("-----BEGIN PRIVATE KEY-----").skip(1) {
        let body = key.split("-----END").next().expect("a key");
        lines.extend(body.lines().map(str::trim).filter(|line| line.len() > 8));
    }
    lines
}

/// Subscribers that take events, fail with secrets in their answers, and take dead letters.
struct SecretScene {
    good: Subscriber,
    failing: Subscriber,
    dead: Subscriber,
}

async fn good_subscriber() -> Subscriber {
    Subscriber::answering(|got| {
        if got.path.starts_with("/reply") {
            Reply::event("test.reply", "r")
        } else {
            Reply::status(200)
        }
    })
    .await
}

async fn failing_subscriber() -> Subscriber {
    Subscriber::answering(|got| {
        let reply = Reply::text(
            if got.path.starts_with("/failing") {
                307
            } else {
                500
            },
            format!("{MARK}-body"),
        );
        reply.header(
            "location",
            format!("http://me:{MARK}-there@127.0.0.1:1/?{MARK}-there"),
        )
    })
    .await
}

fn base(subscriber: &Subscriber) -> String {
    subscriber.url().trim_end_matches('/').to_owned()
}

impl SecretScene {
    async fn start() -> Self {
        Self {
            good: good_subscriber().await,
            failing: failing_subscriber().await,
            dead: Subscriber::ok().await,
        }
    }

    fn manifests(&self) -> String {
        manifests(&Places {
            good: base(&self.good),
            failing: base(&self.failing),
            dead: base(&self.dead),
        })
    }

    /// Everything is sent where it belongs, with its secrets.
    async fn assert_sent(&self) {
        let sent = |query: &str| Some(format!("code={MARK}-{query}"));
        let received = self.good.until(2).await;
        assert!(
            received
                .iter()
                .any(|got| got.path == "/good" && got.query == sent("query")),
            "{received:?}"
        );
        let buried = self.dead.until(4).await;
        assert!(
            buried.iter().all(|got| got.query == sent("sink")),
            "{buried:?}"
        );
        let failed = format!("{}/failing?code={MARK}-query", base(&self.failing));
        assert!(
            buried
                .iter()
                .any(|got| got.header("ce-knativeerrordest") == Some(&*failed)),
            "{buried:?}"
        );
        eventually("a PingSource has failed", || {
            self.failing
                .received()
                .iter()
                .any(|got| got.path.starts_with("/ping"))
        })
        .await;
    }
}

/// A dispatcher whose own settings hold secrets, too.
async fn launch(yaml: &str, collector: &Collector) -> Dispatcher {
    let token = format!("{MARK}-token-of-operators");
    let builder = Dispatcher::of(yaml)
        .file("token", &token)
        .arg("--log-level")
        .arg("debug");
    let path = builder.path("token");
    let builder = builder
        .arg("--admin-token-file")
        .arg(path.to_str().expect("a path"));
    let builder = builder
        .arg("--tracing-endpoint")
        .arg(collector.url())
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let builder = builder.env(
        "OTEL_EXPORTER_OTLP_HEADERS",
        &format!("authorization={MARK}-collector"),
    );
    let uri = format!("amqp://me:{MARK}-rabbitmq@127.0.0.1:1/%2f?{MARK}=x");
    builder
        .env(
            "SEALPOST_RABBITMQ_URI",
            uri.split('?').next().expect("a URI"),
        )
        .launch()
        .await
}

/// What another process says of what is no YAML: it repeats nothing of it.
async fn check_of_broken_yaml(dispatcher: &Dispatcher) -> String {
    let broken = format!(
        "a: [{MARK}-flow\n---\nkind: {{{MARK}\n---\n\t- {MARK}: '{MARK}\n---\na: b: {MARK}\n---\n*{MARK}\n"
    );
    std::fs::write(dispatcher.path("broken.yaml"), &broken).expect("written");
    let broken = printed(&[
        "check",
        "-f",
        dispatcher.path("broken.yaml").to_str().expect("a path"),
    ])
    .await;
    assert!(broken.lines().count() > 3, "{broken}");
    broken
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_shows_a_secret() {
    let scene = SecretScene::start().await;
    let collector = Collector::start().await;
    let yaml = scene.manifests();
    let dispatcher = launch(&yaml, &collector).await;
    eventually("it has tried RabbitMQ", || {
        !dispatcher.logged(&["No connection to RabbitMQ"]).is_empty()
    })
    .await;
    // Before, it answers 503.
    eventually("it serves its configuration", || {
        !dispatcher.logged(&["Configuration changed"]).is_empty()
    })
    .await;

    for path in ["/default/c", "/default/b"] {
        let sent = event(&plain(), dispatcher.http_url(path), "1").header("traceparent", TRACE);
        let sent = sent.header("authorization", format!("Bearer {MARK}-sender"));
        let status = sent.send().await.expect("an answer").status().as_u16();
        assert!([202, 500].contains(&status), "{path}: {status}");
    }
    scene.assert_sent().await;
    eventually("spans have come", || collector.spans().len() > 20).await;
    assert!(
        collector
            .requests()
            .iter()
            .all(|(_, headers)| headers["authorization"] == format!("{MARK}-collector"))
    );

    let directory = dispatcher.path("manifests");
    let mut shown = shown(&dispatcher, directory.to_str().expect("a path"), &collector).await;
    let broken = check_of_broken_yaml(&dispatcher).await;
    shown.push(("check of what is no YAML".to_owned(), broken));

    let keys = lines_of_keys(&yaml);
    let planted = (yaml.matches(MARK).count(), keys.len());
    assert!(
        planted.0 > 150 && planted.1 > 7,
        "there is something to be found: {planted:?}"
    );
    for (place, text) in shown {
        for secret in [MARK, &STANDARD.encode(MARK)]
            .into_iter()
            .chain(keys.iter().copied())
        {
            let found = text.find(secret).map(|at| {
                text.split_at(text.floor_char_boundary(at.saturating_sub(200)))
                    .1
            });
            let found = found.map(|from| from.chars().take(300).collect::<String>());
            assert_eq!(found, None, "{place}");
        }
    }
}
