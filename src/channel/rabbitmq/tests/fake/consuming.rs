//! Consuming: which consumer gets a message, what is acknowledged, and what comes back.

use amq_protocol::protocol::{BasicProperties, basic};
use amq_protocol::types::AMQPValue;

use super::broker::{Broker, Due, Refusal, Unacked};
use super::queue::{Consumer, Queue, Reason, Stored};
use super::topology::{count, not_found};

const TIMED_OUT: &str =
    "This timeout value can be configured, see consumers doc guide to learn more";

/// How a message is returned that was not done. A classic queue puts it where it was, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Return {
    /// Its channel is gone.
    ToTheFront,
    /// The client wants it to be delivered again.
    ToTheEnd,
    /// The client does not.
    ForGood,
}

impl Broker {
    pub(super) fn on_basic(
        &mut self,
        channel: u64,
        method: basic::AMQPMethod,
    ) -> Result<(), Refusal> {
        use basic::AMQPMethod as M;
        match method {
            M::Qos(qos) => {
                self.channels
                    .entry(channel)
                    .and_modify(|channel| channel.prefetch = qos.prefetch_count);
                self.send_basic(channel, M::QosOk(basic::QosOk {}));
            }
            M::Consume(consume) => self.consume(channel, &consume)?,
            M::Cancel(cancel) => {
                self.remove_consumer(channel, cancel.consumer_tag.as_str());
                self.send_basic(
                    channel,
                    M::CancelOk(basic::CancelOk {
                        consumer_tag: cancel.consumer_tag,
                    }),
                );
            }
            M::Publish(publish) => self.begin_publish(channel, publish),
            M::Get(get) => self.get(channel, &get)?,
            M::Ack(ack) => drop(self.take_unacked(channel, (ack.delivery_tag, ack.multiple))?),
            M::Nack(nack) => {
                let unacked = self.take_unacked(channel, (nack.delivery_tag, nack.multiple))?;
                self.give_back(
                    unacked,
                    if nack.requeue {
                        Return::ToTheEnd
                    } else {
                        Return::ForGood
                    },
                );
            }
            M::Reject(reject) => {
                let unacked = self.take_unacked(channel, (reject.delivery_tag, false))?;
                self.give_back(
                    unacked,
                    if reject.requeue {
                        Return::ToTheEnd
                    } else {
                        Return::ForGood
                    },
                );
            }
            other => return Err(Refusal::new(540, format!("NOT_IMPLEMENTED - {other:?}"))),
        }
        Ok(())
    }

    fn consume(&mut self, serial: u64, consume: &basic::Consume) -> Result<(), Refusal> {
        let name = consume.queue.as_str();
        let queue = self
            .queues
            .get_mut(name)
            .ok_or_else(|| not_found("queue", name))?;
        let Some(channel) = self.channels.get_mut(&serial) else {
            return Ok(());
        };
        let mut tag = consume.consumer_tag.to_string();
        if tag.is_empty() {
            channel.tags += 1;
            tag = format!("amq.ctag-{serial}.{}", channel.tags);
        }
        let (prefetch, no_ack) = (channel.prefetch, consume.no_ack);
        queue.consumers.push_back(Consumer {
            channel: serial,
            tag: tag.clone(),
            prefetch,
            no_ack,
        });
        self.send_basic(
            serial,
            basic::AMQPMethod::ConsumeOk(basic::ConsumeOk {
                consumer_tag: tag.into(),
            }),
        );
        self.touch(name);
        Ok(())
    }

    /// What a consumer holds stays with its channel.
    pub(super) fn remove_consumer(&mut self, channel: u64, tag: &str) {
        for (name, queue) in &mut self.queues {
            let before = queue.consumers.len();
            queue
                .consumers
                .retain(|consumer| consumer.channel != channel || consumer.tag != tag);
            if queue.consumers.len() < before {
                let name = name.clone();
                self.touch(&name);
                return;
            }
        }
    }

    fn get(&mut self, channel: u64, get: &basic::Get) -> Result<(), Refusal> {
        let name = get.queue.as_str();
        let queue = self.queue_mut(name)?;
        let Some(message) = queue.ready.pop_front() else {
            self.send_basic(channel, basic::AMQPMethod::GetEmpty(basic::GetEmpty {}));
            return Ok(());
        };
        let message_count = count(queue.ready.len());
        let properties = told(&message, queue);
        let Stored {
            exchange,
            routing_key,
            body,
            ..
        } = message.clone();
        let redelivered = message.returns > 0;
        let delivery_tag = self.hold(channel, name, None, (!get.no_ack).then_some(message));
        let (exchange, routing_key) = (exchange.into(), routing_key.into());
        let found = basic::GetOk {
            delivery_tag,
            redelivered,
            exchange,
            routing_key,
            message_count,
        };
        self.send_content(channel, basic::AMQPMethod::GetOk(found), properties, &body);
        Ok(())
    }

    /// Hands out what is ready to consumers that have room, in turn.
    pub(super) fn deliver(&mut self, name: &str) {
        if self.is_leaderless(name) {
            return;
        }
        while let Some(queue) = self.queues.get_mut(name) {
            let among = if queue.has_single_active_consumer() {
                1
            } else {
                queue.consumers.len()
            };
            let channels = &self.channels;
            let room = |consumer: &Consumer| {
                let held = channels
                    .get(&consumer.channel)
                    .map_or(0, |channel| channel.held_by(&consumer.tag));
                consumer.no_ack || consumer.prefetch == 0 || held < usize::from(consumer.prefetch)
            };
            let Some(at) = queue.consumers.iter().take(among).position(room) else {
                return;
            };
            let Some(message) = queue.ready.pop_front() else {
                return;
            };
            let Some(consumer) = queue.consumers.get(at) else {
                return;
            };
            let (channel, tag, no_ack) = (consumer.channel, consumer.tag.clone(), consumer.no_ack);
            if among > 1 {
                queue.consumers.rotate_left(at + 1);
            }
            let properties = told(&message, queue);
            let Stored {
                exchange,
                routing_key,
                body,
                ..
            } = message.clone();
            let redelivered = message.returns > 0;
            let delivery_tag = self.hold(
                channel,
                name,
                Some(tag.clone()),
                (!no_ack).then_some(message),
            );
            let (exchange, routing_key) = (exchange.into(), routing_key.into());
            let deliver = basic::Deliver {
                consumer_tag: tag.into(),
                delivery_tag,
                redelivered,
                exchange,
                routing_key,
            };
            self.send_content(
                channel,
                basic::AMQPMethod::Deliver(deliver),
                properties,
                &body,
            );
        }
    }

    /// Notes that a channel holds a message, if it is to acknowledge it, and numbers it.
    fn hold(
        &mut self,
        serial: u64,
        queue: &str,
        consumer: Option<String>,
        message: Option<Stored>,
    ) -> u64 {
        let Some(channel) = self.channels.get_mut(&serial) else {
            return 0;
        };
        channel.delivered += 1;
        let tag = channel.delivered;
        if let Some(message) = message {
            let timeout = self
                .queues
                .get(queue)
                .and_then(|queue| queue.consumer_timeout(&self.settings));
            channel.unacked.insert(
                tag,
                Unacked {
                    queue: queue.to_owned(),
                    consumer,
                    message,
                },
            );
            if let Some(timeout) = timeout {
                self.after(timeout, Due::ConsumerTimeout(serial, tag));
            }
        }
        tag
    }

    fn take_unacked(
        &mut self,
        channel: u64,
        (tag, multiple): (u64, bool),
    ) -> Result<Vec<Unacked>, Refusal> {
        let Some(channel) = self.channels.get_mut(&channel) else {
            return Ok(Vec::new());
        };
        let unknown = || {
            Refusal::new(
                406,
                format!("PRECONDITION_FAILED - unknown delivery tag {tag}"),
            )
        };
        let taken: Vec<Unacked> = match (multiple, tag) {
            (true, 0) => std::mem::take(&mut channel.unacked).into_values().collect(),
            (true, _)
                if channel
                    .unacked
                    .first_key_value()
                    .is_none_or(|(first, _)| *first > tag) =>
            {
                return Err(unknown());
            }
            (true, _) => {
                let others = channel.unacked.split_off(&(tag + 1));
                std::mem::replace(&mut channel.unacked, others)
                    .into_values()
                    .collect()
            }
            (false, _) => vec![channel.unacked.remove(&tag).ok_or_else(unknown)?],
        };
        for unacked in &taken {
            self.touch(&unacked.queue);
        }
        Ok(taken)
    }

    /// Puts what was not done into its queue again, unless it came back too often, or gives it up.
    fn give_back(&mut self, unacked: Vec<Unacked>, how: Return) {
        for Unacked {
            queue: name,
            mut message,
            ..
        } in unacked
        {
            let serial = self.serial();
            let Some(queue) = self.queues.get_mut(&name) else {
                continue;
            };
            message.returns += 1;
            if queue.is_quorum() {
                message.place = (how == Return::ToTheEnd, serial);
            }
            if how == Return::ForGood {
                self.give_up(&name, message, Reason::Rejected);
            } else if queue
                .delivery_limit(&self.settings)
                .is_some_and(|limit| message.returns > limit)
            {
                self.give_up(&name, message, Reason::DeliveryLimit);
            } else {
                queue.put(message);
            }
            self.touch(&name);
        }
    }

    /// A channel is gone: its consumers with it, and what it held comes back.
    pub(super) fn release(&mut self, serial: u64) {
        let names: Vec<String> = self.queues.keys().cloned().collect();
        for name in names {
            let Some(queue) = self.queues.get_mut(&name) else {
                continue;
            };
            let before = queue.consumers.len();
            queue
                .consumers
                .retain(|consumer| consumer.channel != serial);
            if queue.consumers.len() < before {
                self.touch(&name);
            }
        }
        let Some(channel) = self.channels.get_mut(&serial) else {
            return;
        };
        channel.stuck = None;
        let unacked = std::mem::take(&mut channel.unacked).into_values().collect();
        self.give_back(unacked, Return::ToTheFront);
    }

    /// A delivery has been held for too long, if it is still held: the channel is closed.
    pub(super) fn time_out(&mut self, channel: u64, tag: u64) {
        let Some(open) = self.channels.get(&channel) else {
            return;
        };
        if let Some(unacked) = open.unacked.get(&tag) {
            let timeout = self
                .queues
                .get(&unacked.queue)
                .and_then(|queue| queue.consumer_timeout(&self.settings));
            let (id, millis) = (
                open.id,
                timeout.map_or(1_800_000, |timeout| timeout.as_millis()),
            );
            let text = format!(
                "delivery acknowledgement on channel {id} timed out. Timeout value used: {millis} ms"
            );
            let refusal = Refusal::new(406, format!("PRECONDITION_FAILED - {text}. {TIMED_OUT}"));
            self.close_channel(channel, &refusal, (0, 0));
        }
    }
}

/// A message's properties as a client is told them.
fn told(message: &Stored, queue: &Queue) -> BasicProperties {
    let properties = message.properties.clone();
    if !queue.is_quorum() || message.returns == 0 {
        return properties;
    }
    let mut headers = properties.headers().clone().unwrap_or_default();
    let returns = i64::try_from(message.returns).unwrap_or(i64::MAX);
    headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(returns));
    properties.with_headers(headers)
}
