//! Exchanges and queues: declared, bound, and deleted.

use amq_protocol::protocol::{AMQPClass, basic, exchange, queue};

use super::broker::{Broker, Exchange, Refusal};
use super::queue::Queue;

pub(super) fn not_found(kind: &str, name: &str) -> Refusal {
    Refusal::new(404, format!("NOT_FOUND - no {kind} '{name}' in vhost '/'"))
}

impl Broker {
    pub(super) fn on_exchange(
        &mut self,
        channel: u64,
        method: exchange::AMQPMethod,
    ) -> Result<(), Refusal> {
        use exchange::AMQPMethod as M;
        let answer = match method {
            M::Declare(declare) => {
                self.declare_exchange(&declare)?;
                M::DeclareOk(exchange::DeclareOk {})
            }
            M::Delete(delete) => {
                self.exchanges.remove(delete.exchange.as_str());
                M::DeleteOk(exchange::DeleteOk {})
            }
            other => return Err(Refusal::new(540, format!("NOT_IMPLEMENTED - {other:?}"))),
        };
        self.send(channel, AMQPClass::Exchange(answer));
        Ok(())
    }

    fn declare_exchange(&mut self, declare: &exchange::Declare) -> Result<(), Refusal> {
        let (name, received) = (declare.exchange.as_str(), declare.kind.as_str());
        match self.exchanges.get(name) {
            None if declare.passive => Err(not_found("exchange", name)),
            None => {
                let exchange = Exchange {
                    kind: received.to_owned(),
                    bindings: Default::default(),
                };
                self.exchanges.insert(name.to_owned(), exchange);
                Ok(())
            }
            Some(there) if there.kind != received && !declare.passive => {
                let text = format!("inequivalent arg 'type' for exchange '{name}' in vhost '/'");
                let text = format!(
                    "{text}: received '{received}' but current is '{}'",
                    there.kind
                );
                Err(Refusal::new(406, format!("PRECONDITION_FAILED - {text}")))
            }
            Some(_) => Ok(()),
        }
    }

    pub(super) fn on_queue(
        &mut self,
        channel: u64,
        method: queue::AMQPMethod,
    ) -> Result<(), Refusal> {
        use queue::AMQPMethod as M;
        let answer = match method {
            M::Declare(declare) => M::DeclareOk(self.declare_queue(declare)?),
            M::Bind(bind) => {
                self.bind(&bind)?;
                M::BindOk(queue::BindOk {})
            }
            M::Unbind(unbind) => {
                let binding = (unbind.routing_key.to_string(), unbind.queue.to_string());
                if let Some(exchange) = self.exchanges.get_mut(unbind.exchange.as_str()) {
                    exchange.bindings.remove(&binding);
                }
                M::UnbindOk(queue::UnbindOk {})
            }
            M::Purge(purge) => {
                let queue = self.queue_mut(purge.queue.as_str())?;
                let message_count = count(std::mem::take(&mut queue.ready).len());
                M::PurgeOk(queue::PurgeOk { message_count })
            }
            M::Delete(delete) => M::DeleteOk(self.delete_queue(&delete)?),
            other => return Err(Refusal::new(540, format!("NOT_IMPLEMENTED - {other:?}"))),
        };
        self.send(channel, AMQPClass::Queue(answer));
        Ok(())
    }

    pub(super) fn queue_mut(&mut self, name: &str) -> Result<&mut Queue, Refusal> {
        self.queues
            .get_mut(name)
            .ok_or_else(|| not_found("queue", name))
    }

    fn declare_queue(&mut self, mut declare: queue::Declare) -> Result<queue::DeclareOk, Refusal> {
        if declare.queue.as_str().is_empty() {
            declare.queue = format!("amq.gen-{}", self.serial()).into();
        }
        let name = declare.queue.to_string();
        if declare.passive {
            *self.looks.entry(name.clone()).or_default() += 1;
        } else {
            *self.declares.entry(name.clone()).or_default() += 1;
        }
        if let Some(refusal) = self.declare_fault(&name) {
            return Err(refusal);
        }
        match self.queues.get(&name) {
            None if declare.passive => return Err(not_found("queue", &name)),
            None => {
                self.queues.insert(name.clone(), Queue::new(declare));
            }
            Some(queue) if !declare.passive => queue.compare(&declare, self.settings.version)?,
            Some(_) => {}
        }
        let queue = self.queue_mut(&name)?;
        let (message_count, consumer_count) =
            (count(queue.ready.len()), count(queue.consumers.len()));
        Ok(queue::DeclareOk {
            queue: name.into(),
            message_count,
            consumer_count,
        })
    }

    fn bind(&mut self, bind: &queue::Bind) -> Result<(), Refusal> {
        self.queue_mut(bind.queue.as_str())?;
        let name = bind.exchange.as_str();
        let exchange = self
            .exchanges
            .get_mut(name)
            .ok_or_else(|| not_found("exchange", name))?;
        exchange
            .bindings
            .insert((bind.routing_key.to_string(), bind.queue.to_string()));
        Ok(())
    }

    fn delete_queue(&mut self, delete: &queue::Delete) -> Result<queue::DeleteOk, Refusal> {
        let name = delete.queue.as_str();
        if let Some(queue) = self.queues.get(name) {
            let unwanted = [(delete.if_unused && !queue.consumers.is_empty(), "in use")];
            let unwanted = unwanted
                .into_iter()
                .chain([(delete.if_empty && !queue.ready.is_empty(), "not empty")]);
            if let Some((_, what)) = unwanted.into_iter().find(|(is, _)| *is) {
                let text = format!("PRECONDITION_FAILED - queue '{name}' in vhost '/' {what}");
                return Err(Refusal::new(406, text));
            }
        }
        Ok(queue::DeleteOk {
            message_count: count(self.drop_queue(name)),
        })
    }

    /// Deletes a queue with all that is in it, and tells its consumers; returns how many were
    /// ready.
    pub(super) fn drop_queue(&mut self, name: &str) -> usize {
        let Some(queue) = self.queues.remove(name) else {
            return 0;
        };
        for exchange in self.exchanges.values_mut() {
            exchange.bindings.retain(|(_, queue)| queue != name);
        }
        for channel in self.channels.values_mut() {
            channel
                .unacked
                .retain(|_, unacked| unacked.queue != name || unacked.consumer.is_none());
        }
        for consumer in queue.consumers {
            self.tell_cancelled(consumer.channel, &consumer.tag);
        }
        queue.ready.len()
    }

    pub(super) fn tell_cancelled(&mut self, channel: u64, tag: &str) {
        let cancel = basic::Cancel {
            consumer_tag: tag.into(),
            nowait: true,
        };
        self.send_basic(channel, basic::AMQPMethod::Cancel(cancel));
    }
}

/// As AMQP counts.
pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
