//! Manifests in the shapes that people really write, and exactly what `check` says of each.
//!
//! `tests/fixtures/manifests/wrong/NAME.txt` holds the lines for `NAME.yaml`, and so does `warned`
//! for what is right and does not come without a warning. To write them anew after a message has
//! changed, run `sealpost check wrong/NAME.yaml` in `tests/fixtures/manifests`, and read them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::process::Command;

use crate::support::binary;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/manifests")
}

/// The manifests of a directory, by name.
fn manifests(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(directory)).expect("manifests");
    let names = entries.map(|entry| {
        entry
            .expect("a file")
            .file_name()
            .into_string()
            .expect("a name")
    });
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".yaml")).collect();
    names.sort();
    names
        .into_iter()
        .map(|name| format!("{directory}/{name}"))
        .collect()
}

/// Runs `sealpost` where the manifests are, as outside of a pod.
async fn sealpost(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null());
    command
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env_remove("SYSTEM_NAMESPACE");
    command.output().await.expect("it runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_right_is_free_of_errors() {
    let manifests = manifests("right");
    assert!(manifests.len() >= 5);
    for manifest in manifests {
        let output = sealpost(&["check", "--strict", &manifest]).await;
        assert_eq!(
            (text(&output.stdout), output.status.code()),
            ("", Some(0)),
            "{manifest}"
        );
        assert_eq!(
            text(&output.stderr),
            "0 errors, 0 warnings, 0 notes\n",
            "{manifest}"
        );
    }
}

/// Policies without tokens have no effect, and tokens without a cluster are not had.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_right_and_warned_of_is_served() {
    let manifests = manifests("warned");
    assert!(manifests.len() >= 2);
    for manifest in manifests {
        let expected =
            fs::read_to_string(root().join(manifest.replace(".yaml", ".txt"))).expect("the lines");
        let output = sealpost(&["check", &manifest]).await;
        assert_eq!(
            (text(&output.stdout), output.status.code()),
            (expected.as_str(), Some(0)),
            "{manifest}"
        );
        assert!(!expected.is_empty() && expected.lines().all(|line| line.contains(": warning: ")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_line_by_line() {
    let manifests = manifests("wrong");
    assert!(manifests.len() >= 10);
    for manifest in manifests {
        let expected =
            fs::read_to_string(root().join(manifest.replace(".yaml", ".txt"))).expect("the lines");
        let output = sealpost(&["check", &manifest]).await;
        assert_eq!(text(&output.stdout), expected, "{manifest}");
        assert_eq!(output.status.code(), Some(1), "{manifest}");
        // The same as data.
        let output = sealpost(&["check", "-o", "json", "-f", &manifest]).await;
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let problems = found["problems"].as_array().expect("problems");
        assert_eq!(problems.len(), expected.lines().count(), "{manifest}");
        let errors = problems
            .iter()
            .filter(|problem| problem["severity"] == "error")
            .count();
        assert_eq!(found["errors"], errors, "{manifest}");
        assert!(
            problems
                .iter()
                .all(|problem| problem["file"] == manifest && problem["line"].is_u64()),
            "{manifest}"
        );
    }
}

/// `--unknown-fields warn` lets unknown fields be, but none that would let more pass.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_can_be_warnings() {
    let output = sealpost(&[
        "check",
        "--unknown-fields",
        "warn",
        "wrong/misplaced-fields.yaml",
    ])
    .await;
    let said = text(&output.stdout);
    let errors: Vec<&str> = said
        .lines()
        .filter(|line| !line.contains(": warning: "))
        .collect();
    assert_eq!(errors.len(), 3, "{said}");
    let is_of_a_filter =
        |line: &&str| line.contains(": spec.filter.") || line.contains(": spec.filtres:");
    assert!(errors.iter().all(is_of_a_filter), "{said}");
    assert!(
        said.contains("spec.delivery.retries: warning: ") && said.contains("(ignored)"),
        "{said}"
    );
}

/// `check` is told the same as `run`, and so says the same.
#[tokio::test(flavor = "multi_thread")]
async fn check_has_the_flags_of_run() {
    let on_rabbitmq = ["check", "../../../deploy/standalone/rabbitmq.yaml"];
    let output = sealpost(&on_rabbitmq).await;
    assert!(
        text(&output.stdout).contains("needs RabbitMQ: run with --rabbitmq-uri"),
        "{output:?}"
    );
    assert_eq!(output.status.code(), Some(1));
    let uri = ["--rabbitmq-uri", "amqp://guest:guest@127.0.0.1"];
    let output = sealpost(&[&on_rabbitmq[..], &uri].concat()).await;
    assert_eq!((text(&output.stdout), output.status.code()), ("", Some(0)));
    let output = sealpost(&["check", "right/channels.yaml", "--rabbitmq-uri", "http://x"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let output = sealpost(&[
        "check",
        "right/channels.yaml",
        "--tls-cert",
        "/nowhere",
        "--tls-key",
        "/nowhere",
    ])
    .await;
    assert!(text(&output.stdout).starts_with("/nowhere: "), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
    let output = sealpost(&[
        "check",
        "right/channels.yaml",
        "--default-channel",
        "rabbitmq",
    ])
    .await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_counts_warnings() {
    let manifest = "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {name: c}\n---\n\
                    apiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {name: s}\nspec:\n  channel: \
                    {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}\n  subscriber: {uri: \
                    'http://a.default.svc.cluster.local'}\n";
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("m.yaml");
    fs::write(&path, manifest).expect("written");
    let path = path.to_str().expect("a path");
    let output = sealpost(&["check", path]).await;
    let said = text(&output.stdout);
    assert!(
        said.contains(
            "warning: leads to a.default.svc.cluster.local, a name that only a cluster knows"
        ),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        sealpost(&["check", "--strict", path]).await.status.code(),
        Some(1)
    );
    let known = [
        "check",
        "--strict",
        path,
        "--resolve",
        "a.default.svc.cluster.local=127.0.0.1:9",
    ];
    assert_eq!(sealpost(&known).await.status.code(), Some(0));
}

/// Editors get what `check` knows.
#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_published() {
    let listed = sealpost(&["schema"]).await;
    let kinds: Vec<&str> = text(&listed.stdout).lines().collect();
    assert!(
        kinds.contains(&"Trigger") && kinds.contains(&"config-features"),
        "{kinds:?}"
    );
    for kind in kinds {
        let schema: Value =
            serde_json::from_slice(&sealpost(&["schema", kind]).await.stdout).expect("JSON");
        assert_eq!(schema["additionalProperties"], false, "{kind}");
    }
    let unknown = sealpost(&["schema", "Deployment"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        text(&unknown.stderr).contains("there are Broker, Trigger"),
        "{unknown:?}"
    );
}
