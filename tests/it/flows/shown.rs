//! What `get`, the page and `check` say of flows.

use std::process::Output;

use serde_json::Value;
use tokio::process::Command;

use super::{parallel, sequence, step, to};
use crate::support::binary;
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;

async fn sealpost(arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .output()
        .await
        .expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A Sequence with a step that is nowhere, and a Parallel.
fn flows(a: &Subscriber, b: &Subscriber) -> String {
    let steps = format!(
        "steps:\n- {}\n- ref: {{apiVersion: v1, kind: Service, name: nobody}}",
        to(a)
    );
    let branches = format!("branches:\n- subscriber: {{{}}}", to(b));
    sequence("s", &steps) + &parallel("p", &branches)
}

async fn get(dispatcher: &Dispatcher, arguments: &[&str]) -> String {
    let admin = format!("http://{}", dispatcher.admin);
    let output = sealpost(&[&["get"], arguments, &["--admin", &admin]].concat()).await;
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

fn columns(table: &str) -> Vec<Vec<String>> {
    table
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

/// Tables, YAML and JSON, in the plural and the singular; and the channels and Subscriptions that
/// flows are made of.
#[tokio::test(flavor = "multi_thread")]
async fn get_shows_flows_and_what_they_are_made_of() {
    let (a, b) = (step("a").await, step("b").await);
    let dispatcher = Dispatcher::standalone(&flows(&a, &b)).await;
    let get = async |arguments: &[&str]| get(&dispatcher, arguments).await;
    let url = dispatcher.http_url("/default/s-kn-sequence-0");
    assert_eq!(
        columns(&get(&["sequences"]).await),
        [
            vec!["NAMESPACE", "NAME", "URL", "READY", "REASON"],
            vec![
                "default",
                "s",
                url.as_str(),
                "False",
                "ReferenceNotResolved"
            ],
        ]
    );
    let url = dispatcher.http_url("/default/p-kn-parallel");
    assert_eq!(
        columns(&get(&["parallel"]).await)[1],
        ["default", "p", url.as_str(), "True"]
    );
    let written: Value =
        serde_json::from_str(&get(&["sequence", "s", "-o", "json"]).await).expect("JSON");
    assert_eq!(
        (
            &written["kind"],
            &written["spec"]["steps"][1]["ref"]["name"]
        ),
        (&"Sequence".into(), &"nobody".into())
    );
    assert_eq!(
        written["status"]["subscriptionStatuses"][1]["ready"]["status"],
        "False"
    );
    assert!(
        get(&["parallels", "-o", "yaml"])
            .await
            .contains("branchStatuses:")
    );
    let channels = get(&["channels"]).await;
    for name in [
        "s-kn-sequence-0",
        "s-kn-sequence-1",
        "p-kn-parallel",
        "p-kn-parallel-0",
    ] {
        assert!(
            columns(&channels)
                .iter()
                .any(|row| row.get(1).is_some_and(|cell| cell == name)),
            "{channels}"
        );
    }
    let made: Value =
        serde_json::from_str(&get(&["subscription", "s-kn-sequence-0", "-o", "json"]).await)
            .expect("JSON");
    assert_eq!(made["spec"]["channel"]["name"], "s-kn-sequence-0");
    assert_eq!(made["spec"]["reply"]["ref"]["name"], "s-kn-sequence-1");
    assert_eq!(made["metadata"]["ownerReferences"][0]["kind"], "Sequence");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_flows_and_what_they_are_made_of() {
    let (a, b) = (step("a").await, step("b").await);
    let dispatcher = Dispatcher::standalone(&flows(&a, &b)).await;
    let url = dispatcher.http_url("/default/p-kn-parallel");
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/p-kn-parallel"), "1").await,
        202
    );
    let (_, status) = dispatcher.admin_text("/api/v1/status").await;
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let groups = status["groups"].as_array().expect("groups");
    let group = |kind: &str, name: &str| {
        groups
            .iter()
            .find(|group| group["kind"] == kind && group["name"] == name)
            .expect("a group")
    };
    assert_eq!(group("Sequence", "s")["ready"]["status"], "False");
    assert_eq!(
        (
            &group("Parallel", "p")["url"],
            &group("Parallel", "p")["storage"]
        ),
        (&url.as_str().into(), &"flow".into())
    );
    assert_eq!(
        group("InMemoryChannel", "p-kn-parallel-0")["subscriptions"][0]["counts"]["delivered"],
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schemas_of_flows_are_printed() {
    for (kind, field) in [("Sequence", "steps"), ("Parallel", "branches")] {
        let output = sealpost(&["schema", kind]).await;
        let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(
            schema["properties"]["apiVersion"]["enum"],
            serde_json::json!(["flows.knative.dev/v1"])
        );
        let spec = &schema["definitions"][format!("{kind}Spec")]["properties"];
        assert!(
            spec[field].is_object()
                && spec["channelTemplate"].is_object()
                && spec["reply"].is_object(),
            "{schema}"
        );
    }
}
