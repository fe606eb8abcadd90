//! Who may make requests, and which ids are genuine: keys of Secrets, what becomes of them,
//! policies.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::{BROKER, post, reply_to, request_reply, trigger};
use crate::support::dispatcher::{Dispatcher, ready};
use crate::support::eventually;
use crate::support::sender::{event, plain};
use crate::support::subscriber::Subscriber;

const KEYS: [&str; 2] = [
    "passphrasewhichneedstobe32bytes!",
    "passphrasewhichneedstobe32bytes?",
];
/// Of the event `exampleid`, sealed with the first of these keys and a nonce of the bytes 0 to 11,
/// by another implementation of AES-GCM.
const GENUINE: &str = "exampleid:AAECAwQFBgcICQoLI4cVEgRpyRh2fu6PxvLL91inrlTXyOCyZg==:0";

/// The Secret with these entries.
fn secret(entries: &[(&str, &str)]) -> String {
    let mut yaml =
        "---\napiVersion: v1\nkind: Secret\nmetadata: {name: request-reply-keys, namespace: knative-eventing}\ndata:\n"
            .to_owned();
    for (name, key) in entries {
        yaml.push_str(&format!("  {name}: {}\n", BASE64_STANDARD.encode(key)));
    }
    yaml
}

/// A Trigger as upstream's controller writes it, whose subscriber is somebody else.
fn verifying(subscriber: &Subscriber) -> String {
    format!(
        "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: v}}\nspec:\n  broker: b\n  filters:\n  \
         - cesql: 'KN_VERIFY_CORRELATION_ID(replyid, \"rr\", \"default\", \"request-reply-keys\", 0, 1)'\n  \
         subscriber: {{uri: '{}'}}\n",
        subscriber.url()
    )
}

/// The last key seals, all of them verify, and one that is taken out does not any more: while it
/// runs.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated() {
    let (subscriber, seen) = (
        Subscriber::answering(reply_to).await,
        Subscriber::ok().await,
    );
    let manifests =
        BROKER.to_owned() + &request_reply("") + &trigger(&subscriber) + &verifying(&seen);
    let with = |entries: &[(&str, &str)]| manifests.clone() + &secret(entries);
    let dispatcher = Dispatcher::standalone(&with(&[("default.rr.key-0", KEYS[0])])).await;
    let replay = async |expected: usize| {
        let request =
            event(&plain(), dispatcher.http_url("/default/b"), "old").header("ce-replyid", GENUINE);
        assert_eq!(
            request
                .header("ce-correlationid", "-")
                .send()
                .await
                .expect("an answer")
                .status(),
            202
        );
        let genuine = seen
            .received()
            .iter()
            .filter(|event| event.header("ce-replyid") == Some(GENUINE))
            .count();
        assert_eq!(genuine, expected);
    };
    assert_eq!(post(&plain(), &dispatcher, "one").await.status(), 200);
    replay(1).await;
    dispatcher
        .apply(&with(&[
            ("default.rr.key-0", KEYS[0]),
            ("default.rr.key-1", KEYS[1]),
        ]))
        .await;
    assert_eq!(post(&plain(), &dispatcher, "two").await.status(), 200);
    replay(2).await;
    dispatcher
        .apply(&with(&[("default.rr.key-1", KEYS[1])]))
        .await;
    assert_eq!(post(&plain(), &dispatcher, "three").await.status(), 200);
    replay(2).await;
    // Who is answered does not wait for other Triggers.
    let replies = || {
        seen.received()
            .iter()
            .filter(|event| event.id() == "r")
            .count()
    };
    eventually("each reply has passed", || replies() == 3).await;
}

/// A key that cannot be used is an error of its Secret; the RequestReply keeps its last good form.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_is_told() {
    let subscriber = Subscriber::answering(reply_to).await;
    let manifests = BROKER.to_owned() + &request_reply("") + &trigger(&subscriber);
    let dispatcher =
        Dispatcher::standalone(&(manifests.clone() + &secret(&[("default.rr.key-0", KEYS[0])])))
            .await;
    dispatcher
        .apply(&(manifests.clone() + &secret(&[("default.rr.key-0", "short")])))
        .await;
    let object = dispatcher
        .until_object("requestreplies", "rr", |object| {
            ready(object)["status"] == "False"
        })
        .await;
    let message = ready(&object)["message"].as_str().expect("a message");
    assert!(
        message.contains("default.rr") && message.contains("last good form"),
        "{message}"
    );
    let log = dispatcher.log();
    assert!(
        log.contains("16, 24 or 32") && !log.contains("short"),
        "{log}"
    );
    dispatcher
        .apply(&(manifests + &secret(&[("default.other.key-0", KEYS[0])])))
        .await;
    let object = dispatcher
        .until_object("requestreplies", "rr", |object| {
            ready(object)["status"] == "True"
        })
        .await;
    assert_eq!(
        object["status"]["conditions"].as_array().map(Vec::len),
        Some(5)
    );
    assert_eq!(
        post(&plain(), &dispatcher, "i").await.status(),
        200,
        "a key was made for it"
    );
}

/// `filter test` tells as a process would that has the Secret.
#[tokio::test(flavor = "multi_thread")]
async fn filters_are_tried_with_keys() {
    let subscriber = Subscriber::ok().await;
    let directory = tempfile::TempDir::new().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let manifests =
        BROKER.to_owned() + &verifying(&subscriber) + &secret(&[("default.rr.key-0", KEYS[0])]);
    std::fs::write(at("m.yaml"), manifests).expect("written");
    let said = async |id: &str| {
        let event = format!(
            r#"{{"specversion":"1.0","id":"i","source":"/s","type":"t","replyid":"{id}"}}"#
        );
        std::fs::write(at("event.json"), event).expect("written");
        let mut test = tokio::process::Command::new(crate::support::binary());
        test.args(["filter", "test", "-f"])
            .arg(at("m.yaml"))
            .arg("--event")
            .arg(at("event.json"));
        String::from_utf8(test.output().await.expect("it runs").stdout).expect("text")
    };
    assert_eq!(said(GENUINE).await, "Trigger default/v: passes\n");
    let forged = GENUINE.replace("exampleid", "otherid");
    assert!(
        said(&forged)
            .await
            .starts_with("Trigger default/v: does not pass: cesql: is false, where replyid is ")
    );
}

/// The schema and `check` know every field of upstream's CRD, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn its_fields_are_known() {
    let run = async |arguments: &[&str]| {
        let output = tokio::process::Command::new(crate::support::binary())
            .args(arguments)
            .output()
            .await;
        output.expect("it runs")
    };
    let schema: serde_json::Value =
        serde_json::from_slice(&run(&["schema", "RequestReply"]).await.stdout).expect("JSON");
    let fields = schema["definitions"]["RequestReplySpec"]["properties"]
        .as_object()
        .expect("fields");
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "brokerRef",
            "correlationAttribute",
            "replyAttribute",
            "timeout",
            "delivery"
        ]
    );
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("m.yaml");
    for (spec, status) in [
        ("  timeout: PT5S\n", 0),
        ("  replyAtribute: r\n", 1),
        ("  secrets: [k]\n", 1),
    ] {
        std::fs::write(&path, BROKER.to_owned() + &request_reply(spec)).expect("written");
        let checked = run(&["check", path.to_str().expect("text")]).await;
        assert_eq!(
            checked.status.code(),
            Some(status),
            "{spec}: {}",
            String::from_utf8_lossy(&checked.stdout)
        );
    }
}
