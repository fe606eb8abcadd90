//! The AMQP server of the unit tests against RabbitMQ: one script on both, and a client sees the
//! same.

#[expect(dead_code, unused_imports, reason = "unit tests use the rest of it")]
#[path = "../../../src/channel/rabbitmq/tests"]
mod tests {
    mod fake;
    pub(crate) use fake::{FakeServer, Settings, Version};
}

use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions,
    BasicQosOptions, BasicRejectOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ErrorKind,
    ExchangeKind,
};

use self::tests::{FakeServer, Settings, Version};
use crate::support::rabbitmq::{namespace, shared};

/// How long nothing comes, where nothing is to come.
const NOTHING: Duration = Duration::from_secs(2);
const REQUEUE: BasicNackOptions = BasicNackOptions {
    requeue: true,
    multiple: false,
};

/// A client, and what it has seen.
struct Script {
    connection: Connection,
    prefix: String,
    seen: Vec<String>,
}

fn short(text: &str) -> ShortString {
    ShortString::try_new(text).expect("a short text")
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(short(name), value);
    }
    table
}

/// A value in a readable form, without times.
fn shown(value: &AMQPValue) -> String {
    match value {
        AMQPValue::FieldTable(table) => {
            let entries = table
                .inner()
                .iter()
                .filter(|(name, _)| name.as_str() != "time");
            let entries: Vec<String> = entries
                .map(|(name, value)| format!("{name}: {}", shown(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        AMQPValue::FieldArray(array) => {
            format!(
                "[{}]",
                array
                    .as_slice()
                    .iter()
                    .map(shown)
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        }
        AMQPValue::LongString(text) => text.to_string(),
        other => format!("{other:?}"),
    }
}

fn headers(properties: &BasicProperties) -> String {
    shown(&AMQPValue::FieldTable(
        properties.headers().clone().unwrap_or_default(),
    ))
}

impl Script {
    async fn run(uri: &str, prefix: &str) -> Vec<String> {
        let connection = Connection::connect(uri, ConnectionProperties::default())
            .await
            .expect("a connection");
        let mut script = Self {
            connection,
            prefix: prefix.to_owned(),
            seen: Vec::new(),
        };
        script.declare_otherwise().await;
        script.name_what_is_not_there().await;
        for kind in ["classic", "quorum"] {
            script.give_back(kind).await;
            script.reject(kind).await;
            script.expire(kind).await;
            script.fill(kind).await;
        }
        script.exceed_the_limit().await;
        script.have_no_limit().await;
        script.seen
    }

    /// A name that no other test has.
    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn note(&mut self, what: &str, seen: impl std::fmt::Debug) {
        self.seen.push(format!("{what}: {seen:?}"));
    }

    fn note_result<T>(&mut self, what: &str, result: lapin::Result<T>) {
        let error = result.map(drop).map_err(|error| match error.kind() {
            ErrorKind::ProtocolError(error) => (error.get_id(), error.get_message().to_string()),
            other => (0, format!("{other:?}")),
        });
        self.note(what, error);
    }

    async fn note_next(&mut self, what: &str, consumer: &mut lapin::Consumer) -> Option<Delivery> {
        let next = tokio::time::timeout(NOTHING, consumer.next()).await;
        let Ok(Some(Ok(delivery))) = next else {
            self.note(what, matches!(next, Ok(None)).then_some("cancelled"));
            return None;
        };
        let body = String::from_utf8_lossy(&delivery.data).into_owned();
        let place = (
            delivery.exchange.to_string(),
            delivery.routing_key.to_string(),
            delivery.delivery_tag,
        );
        self.note(
            what,
            (
                body,
                place,
                delivery.redelivered,
                headers(&delivery.properties),
            ),
        );
        Some(delivery)
    }

    async fn channel(&self) -> Channel {
        let channel = self.connection.create_channel().await.expect("a channel");
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .expect("confirms");
        channel
    }

    async fn declare(&mut self, queue: &str, arguments: FieldTable) {
        let (options, queue) = (
            QueueDeclareOptions {
                durable: true,
                ..Default::default()
            },
            short(&self.name(queue)),
        );
        let result = self
            .channel()
            .await
            .queue_declare(queue, options, arguments)
            .await;
        self.note_result("declared", result);
    }

    async fn publish(&mut self, queue: &str, body: &str) {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let (channel, queue, properties) = (
            self.channel().await,
            short(&self.name(queue)),
            BasicProperties::default(),
        );
        let confirm = channel
            .basic_publish(short(""), queue, options, body.as_bytes(), properties)
            .await;
        let confirmed = confirm.expect("published").await.expect("a confirm");
        let is_nacked = matches!(confirmed, Confirmation::Nack(_));
        self.note(
            "published",
            (is_nacked, matches!(confirmed, Confirmation::Ack(Some(_)))),
        );
        channel.close(200, short("done")).await.expect("closed");
    }

    async fn consume(&self, queue: &str, prefetch: u16) -> (Channel, lapin::Consumer) {
        let (channel, queue) = (self.channel().await, short(&self.name(queue)));
        channel
            .basic_qos(prefetch, BasicQosOptions::default())
            .await
            .expect("a prefetch");
        let options = BasicConsumeOptions::default();
        let consumer = channel
            .basic_consume(queue, short(""), options, FieldTable::default())
            .await;
        (channel, consumer.expect("a consumer"))
    }

    async fn delete(&mut self, queue: &str) {
        let queue = short(&self.name(queue));
        let result = self
            .channel()
            .await
            .queue_delete(queue, QueueDeleteOptions::default())
            .await;
        self.note("deleted", result.map_err(|error| error.to_string()));
    }

    async fn declare_otherwise(&mut self) {
        let quorum = || ("x-queue-type", text("quorum"));
        let arguments = [
            table([quorum()]),
            table([("x-queue-type", text("classic"))]),
            FieldTable::default(),
            table([quorum(), ("x-delivery-limit", AMQPValue::LongInt(5))]),
            table([quorum(), ("x-max-length", AMQPValue::LongLongInt(7))]),
            table([
                quorum(),
                ("x-single-active-consumer", AMQPValue::Boolean(true)),
            ]),
            table([quorum(), ("x-dead-letter-exchange", text(""))]),
        ];
        for arguments in arguments {
            self.declare("q", arguments).await;
        }
        let queue = short(&self.name("q"));
        let transient = QueueDeclareOptions::default();
        let result = self
            .channel()
            .await
            .queue_declare(queue, transient, table([quorum()]))
            .await;
        self.note_result("declared transient", result);
        for kind in [ExchangeKind::Direct, ExchangeKind::Fanout] {
            let (name, options) = (short(&self.name("e")), ExchangeDeclareOptions::default());
            let result = self
                .channel()
                .await
                .exchange_declare(name, kind, options, FieldTable::default())
                .await;
            self.note_result("exchange", result);
        }
        self.delete("q").await;
        self.delete("q").await;
    }

    async fn name_what_is_not_there(&mut self) {
        self.declare("q", FieldTable::default()).await;
        for (queue, exchange) in [("q", "none"), ("none", "e"), ("q", "e")] {
            let (queue, exchange) = (short(&self.name(queue)), short(&self.name(exchange)));
            let (options, key, none) = (
                QueueBindOptions::default(),
                short("k"),
                FieldTable::default(),
            );
            let bind = self
                .channel()
                .await
                .queue_bind(queue.clone(), exchange.clone(), key.clone(), options, none)
                .await;
            self.note_result("bound", bind);
            let unbind = self
                .channel()
                .await
                .queue_unbind(queue, exchange, key, FieldTable::default())
                .await;
            self.note_result("unbound", unbind);
        }
        let none = || short(&self.name("none"));
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let look = self
            .channel()
            .await
            .queue_declare(none(), passive, FieldTable::default())
            .await;
        let get = self
            .channel()
            .await
            .basic_get(none(), BasicGetOptions::default())
            .await;
        let (options, properties) = (BasicConsumeOptions::default(), BasicProperties::default());
        let consume = self
            .channel()
            .await
            .basic_consume(none(), short(""), options, FieldTable::default())
            .await;
        let options = BasicPublishOptions::default();
        let channel = self.channel().await;
        let publish = channel
            .basic_publish(none(), short("k"), options, b"x", properties)
            .await;
        let publish = publish.expect("published").await;
        self.note_result("looked", look);
        self.note_result("got", get);
        self.note_result("consumed", consume);
        self.note_result("published to no exchange", publish);
        self.publish("none", "x").await;
    }

    /// Each way of giving back, and in which order things come again.
    async fn give_back(&mut self, kind: &str) {
        let queue = format!("back-{kind}");
        self.declare(&queue, table([("x-queue-type", text(kind))]))
            .await;
        for body in ["1", "2", "3", "4", "5"] {
            self.publish(&queue, body).await;
        }
        let (channel, mut consumer) = self.consume(&queue, 3).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            held.extend(self.note_next("delivered", &mut consumer).await);
        }
        held[1].nack(REQUEUE).await.expect("sent");
        let fourth = self
            .note_next("after a return", &mut consumer)
            .await
            .expect("one");
        fourth.ack(BasicAckOptions::default()).await.expect("sent");
        self.note_next("after an acknowledgement", &mut consumer)
            .await;
        channel.close(200, short("done")).await.expect("closed");
        self.get_all(&queue).await;
        let (_channel, mut consumer) = self.consume(&queue, 10).await;
        while self.note_next("after all", &mut consumer).await.is_some() {}
        self.delete(&queue).await;
        self.note_next("deleted", &mut consumer).await;
    }

    /// Looks at all without acknowledging, and then acknowledges what is not there.
    async fn get_all(&mut self, queue: &str) {
        let (channel, queue) = (self.channel().await, short(&self.name(queue)));
        while let Some(got) = channel
            .basic_get(queue.clone(), BasicGetOptions::default())
            .await
            .expect("an answer")
        {
            let body = String::from_utf8_lossy(&got.delivery.data).into_owned();
            self.note(
                "got",
                (
                    body,
                    got.redelivered,
                    got.message_count,
                    headers(&got.delivery.properties),
                ),
            );
        }
        channel
            .basic_ack(99, BasicAckOptions::default())
            .await
            .expect("sent");
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let closed = channel
            .queue_declare(queue, passive, FieldTable::default())
            .await;
        self.note("acknowledged what is not there", closed.is_err());
    }

    /// Declares a queue whose dead letters go to another one.
    async fn declare_with_dead_letters(
        &mut self,
        queue: &str,
        to: &str,
        kind: &str,
        argument: (&str, AMQPValue),
    ) {
        let key = text(&self.name(to));
        let to = [
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", key),
        ];
        let [a, b] = to;
        self.declare(queue, table([("x-queue-type", text(kind)), a, b, argument]))
            .await;
    }

    /// A rejected message goes in a circle.
    async fn reject(&mut self, kind: &str) {
        let (first, second) = (format!("first-{kind}"), format!("second-{kind}"));
        let longest = || ("x-max-length", AMQPValue::LongInt(100));
        self.declare_with_dead_letters(&first, &second, kind, longest())
            .await;
        self.declare_with_dead_letters(&second, &first, kind, longest())
            .await;
        self.publish(&first, "x").await;
        for _ in 0..2 {
            for queue in [&first, &second] {
                let (channel, mut consumer) = self.consume(queue, 1).await;
                let delivery = self
                    .note_next("rejected", &mut consumer)
                    .await
                    .expect("one");
                delivery
                    .reject(BasicRejectOptions::default())
                    .await
                    .expect("sent");
                channel.close(200, short("done")).await.expect("closed");
            }
        }
    }

    /// An expired message comes once, and does not go in a circle.
    async fn expire(&mut self, kind: &str) {
        let (first, second) = (format!("ttl-{kind}"), format!("ttl-there-{kind}"));
        let lifetime = || ("x-message-ttl", AMQPValue::LongInt(200));
        self.declare_with_dead_letters(&first, &second, kind, lifetime())
            .await;
        self.declare(&second, FieldTable::default()).await;
        self.publish(&first, "x").await;
        let (_channel, mut consumer) = self.consume(&second, 1).await;
        self.note_next("expired", &mut consumer).await;
        let circle = format!("circle-{kind}");
        self.declare_with_dead_letters(&circle, &circle, kind, lifetime())
            .await;
        self.publish(&circle, "x").await;
        self.await_empty(&circle).await;
    }

    /// Waits until nothing is in a queue.
    async fn await_empty(&mut self, queue: &str) {
        let deadline = tokio::time::Instant::now() + 5 * NOTHING;
        let (channel, name) = (self.channel().await, short(&self.name(queue)));
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        loop {
            let look = channel
                .queue_declare(name.clone(), passive, FieldTable::default())
                .await
                .expect("a queue");
            if look.message_count() == 0 || tokio::time::Instant::now() > deadline {
                self.note("left", look.message_count());
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn fill(&mut self, kind: &str) {
        let (full, over) = (format!("full-{kind}"), format!("over-{kind}"));
        self.declare(&over, FieldTable::default()).await;
        self.declare_with_dead_letters(&full, &over, kind, ("x-max-length", AMQPValue::LongInt(1)))
            .await;
        self.publish(&full, "1").await;
        self.publish(&full, "2").await;
        for queue in [&over, &full] {
            let (_channel, mut consumer) = self.consume(queue, 10).await;
            self.note_next("of a full queue", &mut consumer).await;
        }
    }

    async fn exceed_the_limit(&mut self) {
        self.declare("over", FieldTable::default()).await;
        self.declare_with_dead_letters(
            "limit",
            "over",
            "quorum",
            ("x-delivery-limit", AMQPValue::LongInt(1)),
        )
        .await;
        self.publish("limit", "x").await;
        let (_channel, mut consumer) = self.consume("limit", 1).await;
        for _ in 0..2 {
            let delivery = self
                .note_next("to be returned", &mut consumer)
                .await
                .expect("one");
            delivery.nack(REQUEUE).await.expect("sent");
        }
        let (_channel, mut consumer) = self.consume("over", 1).await;
        self.note_next("returned too often", &mut consumer).await;
    }

    /// The delivery limit -1 is for newer versions.
    async fn have_no_limit(&mut self) {
        self.declare("over-none", FieldTable::default()).await;
        let none = ("x-delivery-limit", AMQPValue::LongInt(-1));
        self.declare_with_dead_letters("none", "over-none", "quorum", none)
            .await;
        self.publish("none", "x").await;
        let (_channel, mut consumer) = self.consume("none", 1).await;
        for _ in 0..2 {
            let Some(delivery) = self.note_next("without limit", &mut consumer).await else {
                break;
            };
            delivery.nack(REQUEUE).await.expect("sent");
        }
        let (_channel, mut consumer) = self.consume("over-none", 1).await;
        self.note_next("given up without limit", &mut consumer)
            .await;
    }
}

#[tokio::test]
async fn the_server_of_the_unit_tests_is_like_rabbitmq() {
    let is_four =
        std::env::var("SEALPOST_TEST_RABBITMQ_VERSION").is_ok_and(|version| version == "4");
    let version = if is_four {
        Version::Four
    } else {
        Version::Three
    };
    let (server, prefix) = (
        FakeServer::start_with(Settings {
            version,
            ..Settings::default()
        })
        .await,
        namespace(),
    );
    let (here, there) = (
        Script::run(&server.uri(), &prefix).await,
        Script::run(&shared(), &prefix).await,
    );
    for (here, there) in here.iter().zip(&there) {
        let is_same = here == there;
        println!("{}{here}", if is_same { "  " } else { "- " });
        if !is_same {
            println!("+ {there}");
        }
    }
    assert!(here.len() > 100, "{}", here.len());
    assert!(here == there, "- is here, + is there");
}
