//! Builds every part of the process once, starts them in order and takes them down in order.

mod admin_port;
mod certificate;
mod configuration;
mod configuration_metrics;
mod controller;
mod descriptor_shares;
mod disk;
mod event_ports;
mod history_sampler;
mod listeners;
mod namespace_limits;
mod observability;
mod operators;
mod periodic_log;
mod process_parts;
mod process_setup;
mod publisher;
mod queues;
mod rabbitmq;
mod senders;
mod serving_watch;
mod shared_services;
mod shutdown;
mod system_events;

use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::RunOptions;
use crate::control::ControlTask;
use crate::telemetry::LogLevel;
use crate::tls::SystemRoots;
use certificate::ServerCertificateKeeper;
use configuration::ConfigurationSource;
use descriptor_shares::DescriptorShares;
use listeners::BoundListeners;
use namespace_limits::NamespaceLimitFile;
use observability::TelemetryConfigurator;
use operators::OperatorAccess;
use process_parts::ProcessParts;
use process_setup::{BoundPorts, OutgoingTls, ProcessSetup};
use publisher::ConfigurationPublisher;
use shutdown::{ShutdownSignals, ShutdownStages};

/// Runs the process in its role until it is told to stop.
///
/// # Errors
/// Fails if it cannot start: an address is taken, a path does not exist, no cluster is found.
pub async fn run(options: RunOptions, log: LogLevel) -> anyhow::Result<ExitCode> {
    if matches!(options.task(), ControlTask::ReconcileChannels(_)) {
        return controller::run(options, log).await;
    }
    // The limit of descriptors comes first: everything below opens some.
    let descriptor_shares = DescriptorShares::raise_limit(&options.limits);
    let signals = ShutdownSignals::listen()?;
    let namespace_limits = NamespaceLimitFile::load(&options)?;
    let min_version = options.min_tls_version().map_err(anyhow::Error::msg)?;
    // Bound before anything is read: a taken port fails at once, and URLs need the real ports.
    let listeners = BoundListeners::bind(&options).await?;
    let certificates = ServerCertificateKeeper::load(&options)?;
    let operators = OperatorAccess::open(&options).await?;
    // The settings hold the listeners' URLs and the CA that these advertise.
    let settings = configuration::control_settings(&options, &listeners, &certificates)?;
    let mut stages = ShutdownStages::default();
    // Waits for the first configuration of files; a cluster's comes later.
    let configuration = ConfigurationSource::start(&options, settings, &mut stages).await?;
    certificates.apply_resolution(&configuration.first_resolution());
    let setup = ProcessSetup {
        options,
        descriptor_shares,
        // The roots are read once for all clients: parsing them is a good part of the start.
        outgoing_tls: OutgoingTls {
            roots: SystemRoots::load(),
            min_version,
        },
        certificates,
        namespace_limits,
    };
    let ports = BoundPorts {
        listeners,
        operators,
    };
    let log = Some(log).filter(|_| setup.options.log_level.is_none());
    let parts = start(&setup, configuration, ports, log, &mut stages)?;
    let (limit, counters) = (setup.options.drain_timeout, &parts.services.counters);
    Ok(stages.run(signals, limit, &parts.readiness, counters).await)
}

/// Builds the parts of the process and starts them, each before those that need it. `log` is the
/// level of the log, if configurations may set it.
fn start(
    setup: &ProcessSetup,
    configuration: ConfigurationSource,
    ports: BoundPorts,
    log: Option<LogLevel>,
    stages: &mut ShutdownStages,
) -> anyhow::Result<ProcessParts> {
    let (parts, tasks) = ProcessParts::new(setup, &configuration, stages)?;
    tasks.start(configuration.served.subscribe(), stages);
    if let Some(file) = setup.namespace_limits.clone() {
        let (budget, counters) = (&parts.services.budget, &parts.services.counters);
        let stop = stages.answering_stop.clone();
        let follow = file.run(Arc::clone(budget), Arc::clone(counters), stop);
        stages.answering.spawn("namespace limits", follow);
    }
    // Tracing starts before events come, so that the first ones are traced.
    let first = configuration.first_resolution();
    let telemetry = TelemetryConfigurator::start(setup, &parts.services, &first, stages);
    // Connections wait in the backlog from here until the ports are served.
    let ports_file = setup.options.ports_file.as_deref();
    ports.listeners.publish_ports(ports_file)?;
    let changes = parts.serve(setup, &configuration, ports, stages)?;
    system_events::start(&parts, setup, &configuration, stages)?;
    // Ready only now, when everything above serves.
    let counters = &parts.services.counters;
    if configuration.is_complete {
        configuration_metrics::record_configuration(counters, &first);
        publisher::record_changes(None, &first);
        if parts.readiness.set_started() {
            serving_watch::log_started(&parts.readiness);
        }
    }
    let publisher = ConfigurationPublisher {
        changes,
        served: configuration.served,
        certificates: setup.certificates.clone(),
        counters: Arc::clone(counters),
        telemetry,
        readiness: parts.readiness.clone(),
        log,
    };
    publisher.start(configuration.newest, stages);
    Ok(parts)
}
