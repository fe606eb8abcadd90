//! Starts what sends the operator's events, if a Broker or channel is named for them.

use std::sync::Arc;

use super::configuration::ConfigurationSource;
use super::process_parts::ProcessParts;
use super::process_setup::ProcessSetup;
use super::shutdown::ShutdownStages;
use crate::model::NamespacedName;
use crate::system_events::{SystemEventRunner, SystemEventSettings};

/// Starts to send the operator's events.
pub(super) fn start(
    parts: &ProcessParts,
    setup: &ProcessSetup,
    configuration: &ConfigurationSource,
    stages: &mut ShutdownStages,
) -> anyhow::Result<()> {
    let options = &setup.options;
    let named = options.system_events.as_deref();
    let Some((namespace, name)) = named.and_then(|name| name.split_once('/')) else {
        return Ok(());
    };
    let source = if options.kubernetes {
        let cluster = options.cluster_settings().map_err(anyhow::Error::msg)?;
        format!("/sealpost/{}", cluster.pod_name)
    } else {
        "/sealpost".to_owned()
    };
    let settings = SystemEventSettings {
        target: NamespacedName::new(namespace, name),
        source,
        max_ttl: options.broker_max_ttl().map_err(anyhow::Error::msg)?,
        is_leader: configuration.is_leader.clone(),
        server_identity: setup.certificates.identity().clone(),
    };
    let counters = Arc::clone(&parts.services.counters);
    let runner = SystemEventRunner::new(Arc::clone(&parts.delivery), counters, settings);
    let (served, stop) = (
        configuration.served.subscribe(),
        stages.stop_accepting.clone(),
    );
    stages
        .accepting
        .spawn("system events", runner.run(served, stop));
    Ok(())
}
