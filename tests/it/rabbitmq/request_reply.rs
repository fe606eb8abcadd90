//! RequestReplies of Brokers on RabbitMQ: request and reply go through its queues.

use futures_util::future::join_all;

use super::{on, take_events};
use crate::support::rabbitmq::{namespace, shared};
use crate::support::sender::{event, plain};
use crate::support::subscriber::{Reply, Subscriber};

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_through_queues() {
    let namespace = namespace();
    let subscriber = Subscriber::answering(|received| {
        let id = received
            .header("ce-correlationid")
            .unwrap_or_default()
            .to_owned();
        Reply::event("test.reply", received.id()).header("ce-replyid", id)
    })
    .await;
    let yaml = format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: b, namespace: {namespace}}}\n---\n\
         apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t, namespace: {namespace}}}\n\
         spec: {{broker: b, filter: {{attributes: {{type: test.event}}}}, subscriber: {{uri: '{}'}}}}\n---\n\
         apiVersion: eventing.knative.dev/v1alpha1\nkind: RequestReply\nmetadata: {{name: rr, namespace: {namespace}}}\n\
         spec: {{brokerRef: {{apiVersion: eventing.knative.dev/v1, kind: Broker, name: b}}}}\n",
        subscriber.url()
    );
    let dispatcher = on(&shared(), &yaml)
        .arg("--default-channel")
        .arg("rabbitmq")
        .start()
        .await;
    take_events(&dispatcher, &format!("/{namespace}/b")).await;
    let url = dispatcher.http_url(&format!("/{namespace}/rr"));
    let requests = (0..20).map(|number| {
        let url = url.clone();
        async move {
            let id = format!("i{number}");
            let answer = event(&plain(), &url, &id).send().await.expect("an answer");
            assert_eq!(
                (
                    answer.status().as_u16(),
                    answer.headers()["ce-id"].to_str().expect("text")
                ),
                (200, id.as_str())
            );
        }
    });
    join_all(requests).await;
    dispatcher.until_counter("deliveries_unfinished", 0).await;
    assert_eq!(dispatcher.counter("deliveries_lost_total").await, 0);
}
