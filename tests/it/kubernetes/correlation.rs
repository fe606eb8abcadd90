//! The role `filter` where Triggers of RequestReplies verify correlation ids, by the Secret that
//! upstream keeps their keys in (contract TF-17).

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::{Value, json};

use super::relays::{path, trigger};
use super::{cluster, until_answer};
use crate::support::cluster::SYSTEM;
use crate::support::cluster::objects::object;
use crate::support::dispatcher::Dispatcher;
use crate::support::eventually;
use crate::support::pod::Pod;
use crate::support::sender::{event, plain};
use crate::support::subscriber::Subscriber;

/// Of the event `exampleid`, sealed with the key of [`secret`] and a nonce of the bytes 0 to 11, by
/// another implementation of AES-GCM.
const GENUINE: &str = "exampleid:AAECAwQFBgcICQoLI4cVEgRpyRh2fu6PxvLL91inrlTXyOCyZg==:0";

fn secret(key: &str) -> Value {
    let mut secret = object("Secret", &format!("{SYSTEM}/request-reply-keys"));
    secret["data"] = json!({"t.rr.key-0": BASE64.encode(key)});
    secret
}

async fn send(pod: &Dispatcher, trigger: &Value, id: &str) -> u16 {
    let request = event(&plain(), pod.http_url(&path(trigger, "")), "r").header("ce-replyid", id);
    request
        .header("ce-knativebrokerttl", "7")
        .send()
        .await
        .expect("an answer")
        .status()
        .as_u16()
}

/// Contract TF-17.
#[tokio::test(flavor = "multi_thread")]
async fn filters_verify_by_the_secret() {
    let cluster = cluster().await;
    let subscriber = Subscriber::replying(&[202]).await;
    let filter = r#"KN_VERIFY_CORRELATION_ID(replyid, "rr", "t", "request-reply-keys", 0, 1)"#;
    let made = trigger(&cluster, "t/rr0-1", json!({"filters": [{"cesql": filter}]})).await;
    cluster
        .merge_status(
            "Trigger",
            "t/rr0-1",
            &json!({"subscriberUri": subscriber.url()}),
        )
        .await;
    let pod = Pod::filter(&cluster).await.start().await;
    // What is filtered out is answered 200, and what the subscriber has taken 202.
    until_answer(200, async || send(&pod, &made, GENUINE).await).await;
    assert_eq!(subscriber.count(), 0, "there is no key");
    eventually("it is told", || {
        !pod.logged(&["WARN", "request-reply-keys", "not there"])
            .is_empty()
    })
    .await;

    cluster
        .create(&secret("passphrasewhichneedstobe32bytes!"))
        .await;
    until_answer(202, async || send(&pod, &made, GENUINE).await).await;
    let forged = GENUINE.replace("exampleid", "otherid");
    assert_eq!(send(&pod, &made, &forged).await, 200);
    assert!(
        subscriber
            .received()
            .iter()
            .all(|event| event.header("ce-replyid") == Some(GENUINE))
    );

    cluster
        .merge(
            "Secret",
            &format!("{SYSTEM}/request-reply-keys"),
            &secret("passphrasewhichneedstobe32bytes?"),
        )
        .await;
    until_answer(200, async || send(&pod, &made, GENUINE).await).await;
    let asked = cluster.log();
    let secrets = asked
        .iter()
        .filter(|entry| entry.user.ends_with(":mt-broker-filter") && entry.resource == "secrets");
    assert!(
        secrets
            .into_iter()
            .all(|entry| ["list", "watch"].contains(&entry.verb.as_str())),
        "{asked:?}"
    );
}
