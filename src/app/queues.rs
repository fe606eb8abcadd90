//! The backends that keep events, and the watch of whether they serve what is configured.

use std::sync::Arc;

use tokio::sync::watch;

use super::disk;
use super::rabbitmq;
use super::serving_watch::ServingWatch;
use super::shared_services::SharedServices;
use super::shutdown::ShutdownStages;
use crate::channel::backends::ChannelBackends;
use crate::channel::memory::MemoryBackend;
use crate::channel::rabbitmq::RabbitmqBackend;
use crate::channel::trouble::TroubleSource;
use crate::cli::RunOptions;
use crate::control::ServedConfiguration;
use crate::model::{BackendKind, RoutingTable};
use crate::supervisor::Readiness;
use crate::telemetry::counters::ProcessCounters;

/// Makes the backends; RabbitMQ and the disk end last, so that the ends of the last deliveries are
/// recorded. `table` is the first that is served.
pub(super) fn channel_backends(
    options: &RunOptions,
    services: &SharedServices,
    table: &RoutingTable,
    stages: &mut ShutdownStages,
) -> anyhow::Result<ChannelBackends> {
    let counters = &services.counters;
    let memory = MemoryBackend::new(options.limits.queue_capacity, Arc::clone(counters));
    let memory = memory.with_budget(Arc::clone(&services.budget));
    let mut backends = ChannelBackends::new(memory);
    if let Some(disk) = disk::disk_backend(options, services, table, stages)? {
        backends = backends.with_backend(BackendKind::Disk, disk);
    }
    let Some(rabbitmq) = rabbitmq::rabbitmq_options(options, &services.budget)? else {
        rabbitmq::expose_unused_metrics(counters);
        return Ok(backends);
    };
    let rabbitmq = Arc::new(RabbitmqBackend::new(rabbitmq, Arc::clone(counters)));
    let (ended, stop) = (Arc::clone(&rabbitmq), stages.answering_stop.clone());
    stages.answering.spawn("rabbitmq", async move {
        stop.cancelled().await;
        ended.shut_down().await;
    });
    Ok(backends.with_backend(BackendKind::Rabbitmq, rabbitmq))
}

/// Watches whether the configuration is served, if a backend can be away; memory never is.
pub(super) fn watch_serving(
    served: &watch::Sender<ServedConfiguration>,
    backends: &Arc<ChannelBackends>,
    readiness: &Readiness,
    counters: &Arc<ProcessCounters>,
    stages: &mut ShutdownStages,
) {
    if backends.connections().is_empty() {
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
