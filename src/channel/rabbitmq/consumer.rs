//! Consuming one subscription's queue: what comes is handed to its worker; when the connection, the channel or the queue
//! goes, everything is declared and begun again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection};
use tokio::sync::mpsc;

use super::acknowledger::{Acknowledger, Settled, Verdict};
use super::connection::{Current, Seat};
use super::outbox::{Confirmed, Letter, short};
use super::ticket::Ticket;
use super::{Queue, Shared};
use super::{message, stage};
use crate::channel::{Message, Progress};
use crate::telemetry::series::{Destination, Dropped};

/// The wait before a consumer is begun again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often the queue is looked at.
const WATCH: Duration = Duration::from_secs(10);

/// Consumes one queue.
pub(super) struct Consumer {
    pub(super) queue: Arc<Queue>,
    pub(super) shared: Arc<Shared>,
    pub(super) messages: mpsc::Sender<Box<Message>>,
    pub(super) seat: Seat,
}

impl Consumer {
    /// Consumes until the queue is given up, over as many connections as it takes.
    pub(super) async fn run(self) {
        let mut connections = self.seat.current.clone();
        while let Some(connection) = self.next_connection(&mut connections).await {
            if let Err(error) = self.consume(&connection).await {
                self.shared.counters.rabbitmq_consumers_restarted.increment();
                tracing::warn!(queue = self.queue.place.queue, error, "Consumer is gone, beginning again");
            }
            self.queue.stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
        }
    }

    /// `None` when the queue is given up.
    async fn next_connection(&self, connections: &mut Current) -> Option<Arc<Connection>> {
        let connected = self.queue.stop.run_until_cancelled(connections.wait_for(Option::is_some)).await;
        connected?.ok().and_then(|current| current.clone())
    }

    /// Consumes on one connection until something breaks, or the queue is given up and all that came is settled.
    async fn consume(&self, connection: &Connection) -> Result<(), String> {
        let text = |error: lapin::Error| error.to_string();
        let begun = self.queue.stop.run_until_cancelled(self.begin(connection)).await;
        let Some((channel, deliveries)) = begun.transpose().map_err(text)? else { return Ok(()) };
        let (acknowledger, settled) =
            Acknowledger::new(channel, self.shared.options.prefetch, Arc::clone(&self.shared.counters));
        let mut acknowledged = std::pin::pin!(acknowledger.run());
        let receive = self.receive(connection, deliveries, settled);
        tokio::select! {
            received = self.queue.stop.run_until_cancelled(receive) => if let Some(broken) = received {
                return broken;
            },
            acknowledged = &mut acknowledged => return acknowledged.map_err(text),
        }
        acknowledged.await.map_err(text)
    }

    async fn begin(&self, connection: &Connection) -> lapin::Result<(lapin::Channel, lapin::Consumer)> {
        self.declare(connection).await?;
        let channel = connection.create_channel().await?;
        channel.basic_qos(self.shared.options.prefetch, BasicQosOptions::default()).await?;
        let (queue, tag, options) = (short(&self.queue.place.queue), short(""), BasicConsumeOptions::default());
        let deliveries = channel.basic_consume(queue, tag, options, FieldTable::default()).await?;
        Ok((channel, deliveries))
    }

    /// Some at once: a thousand queues that are made anew would keep RabbitMQ from everything else.
    async fn declare(&self, connection: &Connection) -> lapin::Result<()> {
        let turn = self.shared.declaring.acquire().await;
        self.queue.place.declare(connection, self.shared.options.queue_type).await?;
        drop(turn);
        self.queue.declared.store(true, Ordering::Release);
        Ok(())
    }

    async fn receive(
        &self,
        connection: &Connection,
        mut deliveries: lapin::Consumer,
        settled: mpsc::Sender<Settled>,
    ) -> Result<(), String> {
        let mut seen = 0u64;
        let mut watch = tokio::time::interval_at(tokio::time::Instant::now() + WATCH, WATCH);
        loop {
            tokio::select! {
                next = deliveries.next() => match next {
                    Some(Ok(delivery)) => {
                        seen += 1;
                        self.take(delivery, &settled).await?;
                    }
                    Some(Err(error)) => return Err(error.to_string()),
                    None => return Err("the queue was deleted, or the channel closed".to_owned()),
                },
                () = self.queue.missing.notified() => {
                    tracing::warn!(queue = self.queue.place.queue, "Something of a queue is missing, declaring it again");
                    self.declare(connection).await.map_err(|error| error.to_string())?;
                }
                _ = watch.tick() => {
                    if self.is_stuck(connection, seen).await? {
                        self.shared.counters.rabbitmq_consumers_silent.increment();
                        return Err("messages wait, but none comes".to_owned());
                    }
                    seen = 0;
                }
            }
        }
    }

    /// Hands a message to the worker; one that is no event is parked, and delays nobody.
    async fn take(&self, delivery: Delivery, settled: &mpsc::Sender<Settled>) -> Result<(), String> {
        let Delivery { delivery_tag, properties, data, .. } = delivery;
        let data = Bytes::from(data);
        match stage::decode(&properties, data.clone()) {
            Ok((event, note, stage)) => {
                let patience = Some(self.shared.options.patience);
                let progress = Progress { stage, attempts: note.attempts, wait: note.wait(), patience };
                let ticket = Ticket::new((delivery_tag, settled.clone()), &self.queue, &self.shared);
                let ticket = crate::channel::Ticket::Rabbitmq(Box::new(ticket));
                let sent = self.messages.send(Message::new(Arc::new(event), progress, ticket)).await;
                sent.map_err(|_closed| "its worker has ended".to_owned())
            }
            Err(error) => {
                self.park(&format!("not an event: {error}"), properties, &data).await?;
                let told = settled.send((delivery_tag, Verdict::Done)).await;
                told.map_err(|_closed| "the channel is broken".to_owned())
            }
        }
    }

    async fn park(&self, reason: &str, properties: BasicProperties, data: &[u8]) -> Result<(), String> {
        tracing::warn!(queue = self.queue.place.queue, reason, "Message parked");
        let properties = message::parked(properties, reason, None);
        let letter = Letter { exchange: "", routing_key: &self.queue.place.parked, properties, body: data };
        match self.shared.outbox.publish(letter).await {
            Ok(Confirmed::Stored) => {
                self.shared.counters.parked_messages.increment();
                self.queue.series.dropped(Dropped::Parked, Destination::Subscriber, "invalid");
            }
            Ok(Confirmed::Unroutable) => return Err("the parking queue is gone".to_owned()),
            Err(error) => return Err(format!("a message could not be parked: {error}")),
        }
        Ok(())
    }

    /// Whether messages are ready although nothing has come since the last time; also finds that the queue is gone.
    async fn is_stuck(&self, connection: &Connection, seen: u64) -> Result<bool, String> {
        let look = async {
            let channel = connection.create_channel().await?;
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let queue = channel.queue_declare(short(&self.queue.place.queue), passive, FieldTable::default()).await?;
            channel.close(200, short("looked")).await?;
            Ok::<_, lapin::Error>(queue.message_count())
        };
        let ready = look.await.map_err(|error| error.to_string())?;
        self.queue.series.ready.set(ready.into());
        Ok(seen == 0 && ready > 0 && self.queue.is_hungry(self.shared.options.prefetch))
    }
}
