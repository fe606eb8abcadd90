//! Dead letters: what a queue gives up, and where that goes.

use std::time::{SystemTime, UNIX_EPOCH};

use amq_protocol::types::{AMQPValue, FieldArray, FieldTable};
use tokio::time::Instant;

use super::broker::{Broker, Due};
use super::faults::{Verdict, Withheld};
use super::queue::{Reason, Stored, text_of};

/// Dead letters of a queue that RabbitMQ has in hand at once, where it moves them at least once.
const IN_HAND: usize = 32;

impl Broker {
    /// Gives up what has expired at the head of a queue.
    pub(super) fn expire(&mut self, name: &str, now: Instant) {
        while let Some(queue) = self.queues.get_mut(name)
            && let Some(message) = queue
                .ready
                .pop_front_if(|message| message.expires.is_some_and(|at| at <= now))
        {
            self.give_up(name, message, Reason::Expired);
        }
    }

    /// Gives up the oldest messages of a queue that is longer than it may be.
    pub(super) fn shorten(&mut self, name: &str) {
        while let Some(queue) = self.queues.get_mut(name)
            && let Some(longest) = queue
                .number("x-max-length")
                .and_then(|longest| usize::try_from(longest).ok())
            && queue.ready.len() > longest
            && !queue.refuses_overflow()
            && let Some(message) = queue.ready.pop_front()
        {
            self.give_up(name, message, Reason::MaxLen);
        }
    }

    /// A queue gives a message up; without a dead letter exchange it is gone.
    pub(super) fn give_up(&mut self, name: &str, message: Stored, reason: Reason) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        if queue.moves_at_least_once() {
            queue.dead.push_back((message, reason));
            self.touch(name);
            return;
        }
        let Some((targets, dead)) = self.dead_letter(name, message, reason) else {
            return;
        };
        for target in targets {
            match self.verdict(0, &target) {
                Verdict::Store | Verdict::StoreAndConfirmAfter(_) => {
                    self.store(&target, dead.clone());
                }
                Verdict::Refuse => {}
                Verdict::Withhold => {
                    self.withheld.push(Withheld {
                        pending: 0,
                        queue: target,
                        message: dead.clone(),
                    });
                }
            }
        }
    }

    /// Moves dead letters on that are not to be lost: some at once, each until its new queue has
    /// it.
    pub(super) fn forward_dead(&mut self, name: &str) {
        while let Some(queue) = self.queues.get_mut(name)
            && queue.under_way.len() < IN_HAND
            && let Some((message, reason)) = queue.dead.pop_front()
        {
            if self.forward(name, &message, reason) {
                continue;
            }
            let Some(queue) = self.queues.get_mut(name) else {
                return;
            };
            queue.under_way.push((message, reason));
            if queue.under_way.len() == 1 {
                self.after(
                    self.settings.dead_letter_retry,
                    Due::RetryDead(name.to_owned()),
                );
            }
        }
    }

    /// Tries those again that found no queue.
    pub(super) fn retry_dead(&mut self, name: &str) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        for dead in std::mem::take(&mut queue.under_way).into_iter().rev() {
            queue.dead.push_front(dead);
        }
        self.touch(name);
    }

    /// Whether every queue that a dead letter goes to has it, and there is one.
    fn forward(&mut self, name: &str, message: &Stored, reason: Reason) -> bool {
        let Some((targets, dead)) = self.dead_letter(name, message.clone(), reason) else {
            return true;
        };
        let takes = |target: &String| {
            matches!(
                self.verdict(0, target),
                Verdict::Store | Verdict::StoreAndConfirmAfter(_)
            )
        };
        let targets: Vec<String> = targets.into_iter().filter(takes).collect();
        let stored = targets
            .iter()
            .filter(|target| self.store(target, dead.clone()))
            .count();
        stored > 0
    }

    /// A message as its dead letter, and the queues that it goes to. `None` if there is no dead
    /// letter exchange, or it goes in a circle.
    fn dead_letter(
        &mut self,
        name: &str,
        mut message: Stored,
        reason: Reason,
    ) -> Option<(Vec<String>, Stored)> {
        let queue = self.queues.get(name)?;
        let exchange = queue.text("x-dead-letter-exchange")?;
        let key = queue
            .text("x-dead-letter-routing-key")
            .unwrap_or_else(|| message.routing_key.clone());
        let headers = with_death(&message, name, reason);
        let routed = self.route(&exchange, &key).unwrap_or_default();
        let deaths = deaths(&headers);
        let targets: Vec<String> = routed
            .iter()
            .filter(|target| !is_circle(&deaths, target))
            .cloned()
            .collect();
        if targets.len() < routed.len() && targets.is_empty() {
            return None;
        }
        message.properties = without_expiration(&message).with_headers(headers);
        (message.exchange, message.routing_key) = (exchange, key);
        Some((targets, message))
    }
}

/// An expired message does not expire again.
fn without_expiration(message: &Stored) -> amq_protocol::protocol::BasicProperties {
    let properties = message.properties.clone();
    if properties.expiration().is_some() {
        properties.with_expiration("".into())
    } else {
        properties
    }
}

/// What `x-death` says, the last death first.
fn deaths(headers: &FieldTable) -> Vec<FieldTable> {
    let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get("x-death") else {
        return Vec::new();
    };
    let table = |value: &AMQPValue| {
        if let AMQPValue::FieldTable(table) = value {
            Some(table.clone())
        } else {
            None
        }
    };
    deaths.as_slice().iter().filter_map(table).collect()
}

/// Whether a message came from there without having been rejected on its way.
fn is_circle(deaths: &[FieldTable], target: &str) -> bool {
    let is_there = |death: &FieldTable| text_of(death, "queue").as_deref() == Some(target);
    let Some(at) = deaths.iter().position(is_there) else {
        return false;
    };
    deaths
        .iter()
        .take(at + 1)
        .all(|death| text_of(death, "reason").as_deref() != Some("rejected"))
}

fn with_death(message: &Stored, queue: &str, reason: Reason) -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let mut headers = message.properties.headers().clone().unwrap_or_default();
    let mut deaths = deaths(&headers);
    let same = |death: &FieldTable| {
        text_of(death, "queue").as_deref() == Some(queue)
            && text_of(death, "reason").as_deref() == Some(reason.as_str())
    };
    let before = deaths.iter().position(same).map(|at| deaths.remove(at));
    let count = match before.as_ref().and_then(|death| death.inner().get("count")) {
        Some(AMQPValue::LongLongInt(count)) => *count,
        _ => 0,
    };
    let mut death = FieldTable::default();
    death.insert("count".into(), AMQPValue::LongLongInt(count + 1));
    death.insert("reason".into(), text(reason.as_str()));
    death.insert("queue".into(), text(queue));
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    death.insert("time".into(), AMQPValue::Timestamp(since.as_secs()));
    death.insert("exchange".into(), text(&message.exchange));
    death.insert(
        "routing-keys".into(),
        AMQPValue::FieldArray(vec![text(&message.routing_key)].into()),
    );
    deaths.insert(0, death);
    for (name, value) in [
        ("reason", reason.as_str()),
        ("queue", queue),
        ("exchange", &message.exchange),
    ] {
        let name = format!("x-first-death-{name}");
        if !headers.contains_key(&name) {
            headers.insert(name.as_str().into(), text(value));
        }
    }
    let deaths: FieldArray = deaths
        .into_iter()
        .map(AMQPValue::FieldTable)
        .collect::<Vec<_>>()
        .into();
    headers.insert("x-death".into(), AMQPValue::FieldArray(deaths));
    headers
}
