//! A Sequence whose channels are on RabbitMQ: its queues have the names of what it is made of.

use std::time::Duration;

use super::{step, to, trails};
use crate::support::SOON;
use crate::support::dispatcher::{Dispatcher, ready};
use crate::support::rabbitmq::{Client, namespace, shared};
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_on_rabbitmq() {
    let (a, b, end) = (step("a").await, step("b").await, Subscriber::ok().await);
    let namespace = namespace();
    let yaml = format!(
        "apiVersion: flows.knative.dev/v1\nkind: Sequence\nmetadata: {{name: s, namespace: {namespace}}}\nspec:\n  \
         channelTemplate: {{apiVersion: messaging.knative.dev/v1alpha1, kind: RabbitmqChannel}}\n  steps:\n  - {}\n  - {}\n  \
         reply: {{{}}}\n",
        to(&a),
        to(&b),
        to(&end)
    );
    let dispatcher = Dispatcher::of(&yaml)
        .env("SEALPOST_RABBITMQ_URI", &shared())
        .start()
        .await;
    let url = dispatcher.http_url(&format!("/{namespace}/s-kn-sequence-0"));
    let deadline = std::time::Instant::now() + SOON;
    while send(&plain(), &url, "1").await != 202 {
        assert!(std::time::Instant::now() < deadline, "no event is accepted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    end.until(1).await;
    assert_eq!(
        (trails(&a), trails(&b), trails(&end)),
        (
            vec![String::new()],
            vec!["a".to_owned()],
            vec!["ab".to_owned()]
        )
    );
    let object = dispatcher.object("sequences", "s").await;
    assert_eq!(ready(&object)["status"], "True", "{object}");
    let channel = &object["status"]["channelStatuses"][1]["channel"];
    assert_eq!(
        (&channel["kind"], &channel["apiVersion"]),
        (
            &"RabbitmqChannel".into(),
            &"messaging.knative.dev/v1alpha1".into()
        )
    );
    for index in 0..2 {
        let queue = format!(
            "sealpost:channel:{namespace}:s-kn-sequence-{index}:subscription:{namespace}:s-kn-sequence-{index}"
        );
        assert!(Client::ready(&shared(), &queue).await.is_some(), "{queue}");
    }
}
