//! The backends that keep events, and the watch of whether they serve what is configured.

use std::sync::Arc;

use tokio::sync::watch;

use super::rabbitmq;
use super::serving_watch::ServingWatch;
use super::shared_services::SharedServices;
use super::shutdown::ShutdownStages;
use crate::channel::backends::ChannelBackends;
use crate::channel::memory::MemoryBackend;
use crate::channel::rabbitmq::RabbitmqBackend;
use crate::cli::RunOptions;
use crate::control::ServedConfiguration;
use crate::supervisor::Readiness;
use crate::telemetry::counters::ProcessCounters;

/// Makes the backends; RabbitMQ ends last, so that the last deliveries are acknowledged.
pub(super) fn channel_backends(
    options: &RunOptions,
    services: &SharedServices,
    stages: &mut ShutdownStages,
) -> anyhow::Result<ChannelBackends> {
    let counters = &services.counters;
    let memory = MemoryBackend::new(options.limits.queue_capacity, Arc::clone(counters));
    let Some(rabbitmq) = rabbitmq::rabbitmq_options(options, &services.budget)? else {
        return Ok(ChannelBackends::new(memory, None));
    };
    let rabbitmq = Arc::new(RabbitmqBackend::new(rabbitmq, Arc::clone(counters)));
    let (ended, stop) = (Arc::clone(&rabbitmq), stages.answering_stop.clone());
    stages.answering.spawn("rabbitmq", async move {
        stop.cancelled().await;
        ended.shut_down().await;
    });
    Ok(ChannelBackends::new(memory, Some(rabbitmq)))
}

/// Watches whether the configuration is served, if a backend can be away; memory never is.
pub(super) fn watch_serving(
    served: &watch::Sender<ServedConfiguration>,
    backends: &Arc<ChannelBackends>,
    readiness: &Readiness,
    counters: &Arc<ProcessCounters>,
    stages: &mut ShutdownStages,
) {
    if backends.is_rabbitmq_connected().is_none() {
        return;
    }
    let watch = ServingWatch {
        served: served.subscribe(),
        backends: Arc::clone(backends),
        readiness: readiness.clone(),
        counters: Arc::clone(counters),
    };
    watch.add_readiness_checks();
    stages
        .answering
        .spawn("service", watch.run(stages.stop_announced.clone()));
}
