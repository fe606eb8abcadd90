//! Lists of any size and shape, as `kubectl get -o yaml` and `-o json` print them.

use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::binary;
use crate::support::dispatcher::{Dispatcher, ready};
use crate::support::sender::plain;
use crate::support::subscriber::Subscriber;

const BROKER: &str = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n";

/// So many Triggers of `b` in one `List`, as an API server has them; the last one alone wants the
/// type `last`.
fn list(count: usize, url: &str) -> String {
    let mut list = "apiVersion: v1\nitems:\n".to_owned();
    for number in 1..=count {
        let ty = if number == count {
            "last".to_owned()
        } else {
            format!("type-{number}")
        };
        list.push_str(&format!(
            "- apiVersion: eventing.knative.dev/v1\n  kind: Trigger\n  metadata:\n    annotations:\n      \
             eventing.knative.dev/creator: kubernetes-admin\n    creationTimestamp: \"2026-06-20T08:00:00Z\"\n    generation: 1\n    \
             labels:\n      eventing.knative.dev/broker: b\n    name: t{number}\n    namespace: default\n    resourceVersion: \
             \"{number}\"\n    uid: 0f1e2d3c-{number}\n  spec:\n    broker: b\n    filter:\n      attributes:\n        type: {ty}\n    \
             subscriber:\n      uri: {url}\n  status:\n    conditions:\n    - status: \"True\"\n      type: Ready\n    \
             observedGeneration: 1\n"
        ));
    }
    list + "kind: List\nmetadata:\n  resourceVersion: \"\"\n"
}

async fn check(input: &str) -> Output {
    let mut command = Command::new(binary());
    command
        .args(["check", "--strict", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("standard input");
    stdin.write_all(input.as_bytes()).await.expect("written");
    drop(stdin);
    child.wait_with_output().await.expect("it ends")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// As many as memory holds; what is beyond the limit is told in bytes.
#[tokio::test(flavor = "multi_thread")]
async fn lists_of_thousands_are_read() {
    for count in [2_600, 5_000] {
        let output = check(&format!(
            "{BROKER}---\n{}",
            list(count, "http://sink.example")
        ))
        .await;
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            ("", "0 errors, 0 warnings, 0 notes\n"),
            "{count}"
        );
    }
    let large = format!("{BROKER}{}", "#".repeat(64 << 20));
    let output = check(&large).await;
    assert_eq!(
        text(&output.stdout),
        "stdin: cannot be read: it is larger than 64 MiB: split it\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_from_standard_input_is_served() {
    let sink = Subscriber::ok().await;
    let dispatcher = Dispatcher::of(BROKER)
        .stdin(&list(3_000, &sink.url()))
        .start()
        .await;
    let url = dispatcher.http_url("/default/b");
    let event = |ty: &str| {
        plain()
            .post(&url)
            .header("ce-specversion", "1.0")
            .header("ce-type", ty)
            .header("ce-id", ty)
    };
    for ty in ["last", "type-1", "of nobody"] {
        let answer = event(ty)
            .header("ce-source", "s")
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 202);
    }
    let ids: Vec<String> = sink
        .until(2)
        .await
        .iter()
        .map(|received| received.id().to_owned())
        .collect();
    assert_eq!(ids, ["last", "type-1"]);
    let object = dispatcher.object("triggers", "t3000").await;
    assert_eq!(ready(&object)["status"], "True");
}

/// Lists of a kind, lists in lists, streams of JSON and one document a line; each problem names its
/// line.
#[tokio::test(flavor = "multi_thread")]
async fn lists_of_every_shape_are_read() {
    let trigger = |name: &str, more: &str| {
        format!(
            "{{\"metadata\":{{\"name\":\"{name}\"}},\"spec\":{{\"broker\":\"b\",\"subscriber\":{{\"uri\":\"http://s\"}}{more}}}}}"
        )
    };
    let broker = "{\"apiVersion\":\"eventing.knative.dev/v1\",\"kind\":\"Broker\",\"metadata\":{\"name\":\"b\"}}";
    let of = |items: &[String]| {
        let items = items.join(",\n");
        format!(
            "{{\"apiVersion\":\"eventing.knative.dev/v1\",\"kind\":\"TriggerList\",\"metadata\":{{}},\"items\":[\n{items}]}}"
        )
    };
    let triggers = of(&[trigger("x", ""), trigger("y", "")]);
    let nested = format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{broker},{}]}}",
        triggers
    );
    for input in [
        format!("{broker}\n{triggers}\n"),
        format!("{broker}{triggers}"),
        nested,
        format!("---\n{broker}\n---\n{triggers}"),
        format!(
            "apiVersion: eventing.knative.dev/v1\nkind: BrokerList\nitems:\n- metadata: {{name: b}}\n---\n{triggers}"
        ),
    ] {
        let dispatcher = Dispatcher::of("# nothing\n").stdin(&input).start().await;
        for name in ["x", "y"] {
            assert_eq!(
                ready(&dispatcher.object("triggers", name).await)["status"],
                "True",
                "{input}"
            );
        }
    }
    let bad = of(&[trigger("x", ""), trigger("y", ",\"filtres\":[]")]);
    let said = check(&format!("{broker}\n{bad}\n")).await;
    assert!(
        text(&said.stdout).starts_with("stdin:4: Trigger default/y: spec.filtres: is not a field"),
        "{said:?}"
    );
    let said = check(&format!("{broker}\n{{\"kind\": \"Broker\"\n")).await;
    assert!(text(&said.stdout).contains("is not valid YAML"), "{said:?}");
    assert_eq!(said.status.code(), Some(1));
    let said = check("kind: BrokerList\nitems: {a: b}\n").await;
    assert!(
        text(&said.stdout)
            .starts_with("stdin:2: items: is no list: write each object on lines of its own"),
        "{said:?}"
    );
}
