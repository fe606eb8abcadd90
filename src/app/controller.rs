//! The role `controller`: an admin port, and what reconciles the channels of a cluster.

use std::process::ExitCode;
use std::sync::Arc;

use super::listeners;
use super::shutdown::{Signals, Stage};
use crate::admin::Health;
use crate::cli::RunOptions;
use crate::control::{CaCerts, Channels, Objects, Resolution, Scope, Settings, Stops};
use crate::server::{self, Limits};
use crate::supervisor::Readiness;
use crate::telemetry::LogLevel;
use crate::telemetry::counters::Counters;

/// Runs it until it is told to stop.
///
/// # Errors
/// If it cannot start: the address is taken, nothing says where the cluster is.
pub(super) async fn run(options: RunOptions, log: LogLevel) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen()?;
    let connected = options.cluster().map_err(anyhow::Error::msg)?.connect().await?;
    let settings = settings(&options)?;
    let (readiness, counters) = (Readiness::default(), Arc::new(Counters::default()));
    let admin = listeners::admin(&options).await?;
    let handler = Arc::new(Health::new(admin.local_addr()?, readiness.clone(), Arc::clone(&counters)));
    let mut stages = Stage::default();
    let stop = stages.answering_stop.clone();
    stages.answering.spawn("admin", server::serve(admin, None, Limits::default(), handler, stop));
    let log = Some(log).filter(|_| options.log_level.is_none());
    let ready = readiness.clone();
    let read = move |resolution: &Resolution| {
        if let (Some(log), Some(level)) = (&log, resolution.log_level) {
            log.set(level);
        }
        if ready.started() {
            tracing::info!("Ready");
        }
    };
    let stops = Stops { leaving: stages.leaving.clone(), stop: stages.stop.clone() };
    stages.accepting.spawn("controller", connected.control(settings, read, stops));
    Ok(stages.run(signals, options.drain_timeout, &readiness, &counters).await)
}

fn settings(options: &RunOptions) -> anyhow::Result<Settings> {
    let cluster = options.cluster().map_err(anyhow::Error::msg)?;
    Ok(Settings {
        objects: Objects::Reconciled(Scope::Cluster),
        channels: Channels::Rabbitmq,
        config_logging: cluster.config_logging,
        ..options.manifests.settings(options.served.transport_encryption, None, CaCerts::Unknown)
    })
}
