//! The role `controller`: an admin port, and the task that reconciles the channels of a cluster.

use std::process::ExitCode;
use std::sync::Arc;

use super::shutdown::{ShutdownSignals, ShutdownStages};
use super::{listeners, rabbitmq};
use crate::admin::HealthHandler;
use crate::cli::RunOptions;
use crate::control::{AdvertisedCaCerts, ControlSettings, Resolution};
use crate::server::{self, ListenerLimits};
use crate::supervisor::Readiness;
use crate::telemetry::LogLevel;
use crate::telemetry::counters::ProcessCounters;

/// Runs the controller until it is told to stop.
///
/// # Errors
/// Fails if it cannot start: the address is taken, nothing says where the cluster is.
pub(super) async fn run(options: RunOptions, log: LogLevel) -> anyhow::Result<ExitCode> {
    let signals = ShutdownSignals::listen()?;
    let connected = options
        .cluster_settings()
        .map_err(anyhow::Error::msg)?
        .connect()
        .await?;
    let settings = control_settings(&options)?;
    let (readiness, counters) = (Readiness::default(), Arc::new(ProcessCounters::default()));
    rabbitmq::expose_unused_metrics(&counters);
    counters.expose_cluster_metrics(connected.metrics());
    let mut stages = ShutdownStages::default();
    // The admin port is served before the first object is read, so that probes are answered
    // meanwhile.
    serve_health(&options, &readiness, &counters, &mut stages).await?;
    let log = Some(log).filter(|_| options.log_level.is_none());
    let ready = readiness.clone();
    let read = move |resolution: &Resolution| {
        if let (Some(log), Some(level)) = (&log, resolution.log_level) {
            log.set(level);
        }
        if ready.set_started() {
            tracing::info!("Ready");
        }
    };
    let reconciling = connected.reconcile_channels(settings, read, stages.stop_signals());
    stages.accepting.spawn("controller", reconciling);
    Ok(stages
        .run(signals, options.drain_timeout, &readiness, &counters)
        .await)
}

/// Serves health and metrics at the admin port.
async fn serve_health(
    options: &RunOptions,
    readiness: &Readiness,
    counters: &Arc<ProcessCounters>,
    stages: &mut ShutdownStages,
) -> anyhow::Result<()> {
    let admin = listeners::bind_admin(options).await?;
    let handler = Arc::new(HealthHandler::new(
        admin.local_addr()?,
        readiness.clone(),
        Arc::clone(counters),
    ));
    let stop = stages.answering_stop.clone();
    stages.answering.spawn(
        "admin",
        server::serve(admin, None, ListenerLimits::default(), handler, stop),
    );
    Ok(())
}

fn control_settings(options: &RunOptions) -> anyhow::Result<ControlSettings> {
    let cluster = options.cluster_settings().map_err(anyhow::Error::msg)?;
    Ok(ControlSettings {
        task: options.task(),
        config_logging: cluster.config_logging,
        ..options.manifests.control_settings(
            options.served.transport_encryption,
            None,
            AdvertisedCaCerts::Unknown,
        )
    })
}
