//! What RabbitMQ is told of the flags.

use std::sync::Arc;

use crate::budget::Budget;
use crate::channel::rabbitmq;
use crate::cli::{QueueType, RabbitmqOptions, RunOptions};

/// How RabbitMQ is used; `None` without one.
pub(super) fn options(options: &RunOptions, budget: &Arc<Budget>) -> anyhow::Result<Option<rabbitmq::Options>> {
    let RabbitmqOptions { access, rabbitmq_queue_type, .. } = &options.rabbitmq;
    let Some((uri, credentials, ca)) = access.given() else { return Ok(None) };
    Ok(Some(rabbitmq::Options {
        address: rabbitmq::Address::new(uri, credentials, ca)?,
        queue_type: match rabbitmq_queue_type {
            QueueType::Quorum => rabbitmq::QueueType::Quorum,
            QueueType::Classic => rabbitmq::QueueType::Classic,
        },
        prefetch: options.rabbitmq.rabbitmq_prefetch,
        concurrency: options.limits.concurrency,
        consumer_timeout: options.rabbitmq.rabbitmq_consumer_timeout,
        patience: options.rabbitmq.rabbitmq_patience,
        budget: Arc::clone(budget),
        attributes: options.limits.attributes(),
        delete_after: options.rabbitmq.rabbitmq_delete_after,
    }))
}
