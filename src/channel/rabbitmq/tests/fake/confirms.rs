//! Publishing: a message is put together from its frames, routed, stored or not, and confirmed or
//! not.

use amq_protocol::frame::AMQPContentHeader;
use amq_protocol::protocol::{BasicProperties, basic};
use tokio::time::Instant;

use super::broker::{Assembling, Broker, Due, Refusal};
use super::faults::{Verdict, Withheld};
use super::queue::Stored;
use super::topology::not_found;
use super::views::{Confirm, Published};

/// How long confirms are gathered that are to be told at once.
const GATHER: std::time::Duration = std::time::Duration::from_millis(20);

/// A message that is not confirmed yet.
pub(super) struct Pending {
    channel: u64,
    /// Its number on the channel; `None` if confirms are off.
    tag: Option<u64>,
    /// Where it stands in the history.
    place: usize,
    /// Queues that have not said whether they have it.
    waiting: usize,
    refused: bool,
}

impl Broker {
    pub(super) fn begin_publish(&mut self, channel: u64, publish: basic::Publish) {
        let assembling = Assembling {
            publish,
            header: None,
            body: Vec::new(),
        };
        self.channels
            .entry(channel)
            .and_modify(|channel| channel.assembling = Some(assembling));
    }

    pub(super) fn on_header(
        &mut self,
        channel: u64,
        header: AMQPContentHeader,
    ) -> Result<(), Refusal> {
        let assembling = self
            .channels
            .get_mut(&channel)
            .and_then(|channel| channel.assembling.as_mut());
        let Some(assembling) = assembling else {
            return Err(unexpected());
        };
        assembling.header = Some(header);
        self.complete(channel)
    }

    pub(super) fn on_body(&mut self, channel: u64, part: &[u8]) -> Result<(), Refusal> {
        let assembling = self
            .channels
            .get_mut(&channel)
            .and_then(|channel| channel.assembling.as_mut());
        let Some(assembling) = assembling else {
            return Err(unexpected());
        };
        assembling.body.extend_from_slice(part);
        self.complete(channel)
    }

    fn complete(&mut self, serial: u64) -> Result<(), Refusal> {
        let Some(channel) = self.channels.get_mut(&serial) else {
            return Ok(());
        };
        let whole = |assembling: &mut Assembling| {
            let header = assembling.header.as_ref();
            header.is_some_and(|header| assembling.body.len() as u64 >= header.body_size)
        };
        let Some(Assembling {
            publish,
            header: Some(header),
            body,
        }) = channel.assembling.take_if(whole)
        else {
            return Ok(());
        };
        self.publish(serial, &publish, header.properties, body)
    }

    /// The queues that a message goes to.
    pub(super) fn route(&self, exchange: &str, key: &str) -> Result<Vec<String>, Refusal> {
        if exchange.is_empty() {
            return Ok(self
                .queues
                .contains_key(key)
                .then(|| key.to_owned())
                .into_iter()
                .collect());
        }
        let found = self
            .exchanges
            .get(exchange)
            .ok_or_else(|| not_found("exchange", exchange))?;
        let bound = found
            .bindings
            .iter()
            .filter(|(bound, _)| found.kind == "fanout" || bound == key);
        let mut queues: Vec<String> = bound.map(|(_, queue)| queue.clone()).collect();
        queues.dedup();
        Ok(queues)
    }

    fn publish(
        &mut self,
        serial: u64,
        publish: &basic::Publish,
        properties: BasicProperties,
        body: Vec<u8>,
    ) -> Result<(), Refusal> {
        let (exchange, routing_key) = (
            publish.exchange.to_string(),
            publish.routing_key.to_string(),
        );
        let queues = self.route(&exchange, &routing_key)?;
        let Some(channel) = self.channels.get_mut(&serial) else {
            return Ok(());
        };
        let tag = channel.published.as_mut().map(|published| {
            *published += 1;
            *published
        });
        channel.unconfirmed.extend(tag);
        let (place, waiting) = (self.history.len(), queues.len().max(1));
        let pending = self.serial();
        self.pending.insert(
            pending,
            Pending {
                channel: serial,
                tag,
                place,
                waiting,
                refused: false,
            },
        );
        let message = Stored {
            exchange,
            routing_key,
            properties,
            body,
            returns: 0,
            place: (true, pending),
            expires: None,
        };
        self.note(serial, &message, queues.clone(), publish);
        match self.settings.returned_confirmed_after {
            Some(wait) if queues.is_empty() => self.after(wait, Due::Confirm(pending)),
            None if queues.is_empty() => self.part_done(pending, Confirm::Acked),
            _ => {}
        }
        for queue in queues {
            self.offer(pending, &queue, message.clone());
        }
        Ok(())
    }

    /// Keeps what was published for the history, and returns it to the client if no queue wants it.
    fn note(
        &mut self,
        channel: u64,
        message: &Stored,
        queues: Vec<String>,
        publish: &basic::Publish,
    ) {
        let is_returned = publish.mandatory && queues.is_empty();
        let Stored {
            exchange,
            routing_key,
            properties,
            body,
            ..
        } = message.clone();
        if is_returned {
            let (reply_code, reply_text) = (312, "NO_ROUTE".into());
            let (exchange, routing_key) = (exchange.as_str().into(), routing_key.as_str().into());
            let returned = basic::Return {
                reply_code,
                reply_text,
                exchange,
                routing_key,
            };
            self.send_content(
                channel,
                basic::AMQPMethod::Return(returned),
                properties.clone(),
                &body,
            );
        }
        let session = self
            .channels
            .get(&channel)
            .and_then(|channel| self.sessions.get(&channel.session));
        let connection = session
            .map(|session| session.name.clone())
            .unwrap_or_default();
        let (at, confirm) = (Instant::now(), Confirm::Pending);
        let published = Published {
            exchange,
            routing_key,
            queues,
            properties,
            body,
            channel,
            connection,
            is_returned,
            confirm,
            at,
        };
        self.history.push(published);
    }

    /// Offers a message to a queue, which takes it or not.
    pub(super) fn offer(&mut self, pending: u64, queue: &str, message: Stored) {
        let channel = self
            .pending
            .get(&pending)
            .map_or(0, |pending| pending.channel);
        match self.verdict(channel, queue) {
            Verdict::Store => {
                let stored = self.store(queue, message);
                self.part_done(
                    pending,
                    if stored {
                        Confirm::Acked
                    } else {
                        Confirm::Nacked
                    },
                );
            }
            Verdict::StoreAndConfirmAfter(wait) => {
                self.store(queue, message);
                self.after(wait, Due::Confirm(pending));
            }
            Verdict::Refuse => self.part_done(pending, Confirm::Nacked),
            Verdict::Withhold => {
                let queue = queue.to_owned();
                self.withheld.push(Withheld {
                    pending,
                    queue,
                    message,
                });
            }
        }
    }

    /// Puts a message into a queue, unless that is full or gone.
    pub(super) fn store(&mut self, name: &str, mut message: Stored) -> bool {
        let place = self.serial();
        let Some(queue) = self.queues.get_mut(name) else {
            return false;
        };
        if queue.is_full() && queue.refuses_overflow() {
            return false;
        }
        let lifetime = queue.lifetime(&message.properties);
        message.expires = lifetime.map(|lifetime| Instant::now() + lifetime);
        (message.returns, message.place) = (0, (true, place));
        queue.put(message);
        if let Some(lifetime) = lifetime {
            self.after(lifetime, Due::Expire(name.to_owned()));
        }
        self.touch(name);
        true
    }

    /// One of the queues of a message has it, or does not take it. When all have said so, the
    /// client is told.
    pub(super) fn part_done(&mut self, serial: u64, confirm: Confirm) {
        let Some(pending) = self.pending.get_mut(&serial) else {
            return;
        };
        pending.waiting -= 1;
        pending.refused |= confirm == Confirm::Nacked;
        if pending.waiting > 0 {
            return;
        }
        let Some(Pending {
            channel,
            tag: Some(tag),
            place,
            refused,
            ..
        }) = self.pending.remove(&serial)
        else {
            return;
        };
        let Some(open) = self
            .channels
            .get_mut(&channel)
            .filter(|channel| !channel.is_closing)
        else {
            return;
        };
        self.history[place].confirm = if refused {
            Confirm::Nacked
        } else {
            Confirm::Acked
        };
        open.unconfirmed.remove(&tag);
        if refused {
            let nack = basic::Nack {
                delivery_tag: tag,
                multiple: false,
                requeue: false,
            };
            self.send_basic(channel, basic::AMQPMethod::Nack(nack));
            return;
        }
        open.confirmed.push(tag);
        if open.confirmed.len() >= self.settings.confirms_at_once {
            self.flush_confirms(channel);
        } else {
            self.after(GATHER, Due::Flush(channel));
        }
    }

    /// Tells what is confirmed: all before the first that is not in one frame, the others one by
    /// one.
    pub(super) fn flush_confirms(&mut self, serial: u64) {
        let Some(channel) = self.channels.get_mut(&serial) else {
            return;
        };
        let mut confirmed = std::mem::take(&mut channel.confirmed);
        confirmed.sort_unstable();
        let first = channel.unconfirmed.first().copied().unwrap_or(u64::MAX);
        let others = confirmed.split_off(confirmed.partition_point(|tag| *tag < first));
        let multiple = confirmed.len() > 1;
        let group = confirmed.last().map(|tag| basic::Ack {
            delivery_tag: *tag,
            multiple,
        });
        let each = others.into_iter().map(|tag| basic::Ack {
            delivery_tag: tag,
            multiple: false,
        });
        for ack in group.into_iter().chain(each) {
            self.send_basic(serial, basic::AMQPMethod::Ack(ack));
        }
    }
}

fn unexpected() -> Refusal {
    Refusal::new(505, "UNEXPECTED_FRAME - expected a method frame")
}
