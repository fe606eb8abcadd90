//! Makes the options of the RabbitMQ backend from the flags, and exposes its metrics where there is
//! none.

use std::sync::Arc;

use crate::budget::MemoryBudget;
use crate::channel::rabbitmq;
use crate::channel::rabbitmq::metrics::RabbitmqMetrics;
use crate::cli::{QueueTypeArg, RabbitmqOptions, RunOptions};
use crate::telemetry::counters::ProcessCounters;

/// Returns the options of the RabbitMQ backend; `None` if no RabbitMQ is configured.
pub(super) fn rabbitmq_options(
    options: &RunOptions,
    budget: &Arc<MemoryBudget>,
) -> anyhow::Result<Option<rabbitmq::RabbitmqBackendOptions>> {
    let RabbitmqOptions {
        access,
        rabbitmq_queue_type,
        ..
    } = &options.rabbitmq;
    let Some(address) = access.address()? else {
        return Ok(None);
    };
    Ok(Some(rabbitmq::RabbitmqBackendOptions {
        address,
        queue_type: match rabbitmq_queue_type {
            QueueTypeArg::Quorum => rabbitmq::RabbitmqQueueType::Quorum,
            QueueTypeArg::Classic => rabbitmq::RabbitmqQueueType::Classic,
        },
        prefetch: options.rabbitmq.rabbitmq_prefetch,
        concurrency: options.limits.concurrency,
        consumer_timeout: options.rabbitmq.rabbitmq_consumer_timeout,
        max_held_wait: options.rabbitmq.rabbitmq_patience,
        budget: Arc::clone(budget),
        attributes: options.limits.attribute_limit(),
        delete_after: options.rabbitmq.rabbitmq_delete_after,
    }))
}

/// Exposes the metrics of RabbitMQ as 0 in a process that has none: whoever reads metrics finds the
/// same names everywhere.
pub(super) fn expose_unused_metrics(counters: &ProcessCounters) {
    counters.add_backend_metrics(Arc::new(RabbitmqMetrics::default()));
}
