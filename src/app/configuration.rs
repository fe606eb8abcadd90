//! The source of configurations: files, or a cluster.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;

use super::certificate::ServerCertificateKeeper;
use super::listeners::BoundListeners;
use super::senders::ApiClient;
use super::shutdown::ShutdownStages;
use crate::cli::RunOptions;
use crate::control::{
    self, ApiServerAvailability, ChannelScope, ControlSettings, LatestResolution, ManifestSet, ObjectSource,
    Resolution, StopSignals,
};
use crate::model::ProcessRole;

/// The first configuration, and the receiver of those after it.
pub(super) struct ConfigurationSource {
    pub(super) first_resolution: Arc<Resolution>,
    /// True if the first configuration is the real one; in a cluster it is empty, and the real one
    /// comes later.
    pub(super) is_complete: bool,
    pub(super) newest: watch::Receiver<LatestResolution>,
    /// The client of the API server; `None` without a cluster.
    pub(super) api_server: Option<ApiClient>,
    /// True while this process writes status into the cluster; `None` if its role never does.
    pub(super) is_leader: Option<watch::Receiver<bool>>,
}

impl ConfigurationSource {
    /// Starts following files or a cluster. Status about the configurations that appear in `served`
    /// is written into the cluster.
    pub(super) async fn start(
        options: &RunOptions,
        settings: ControlSettings,
        served: watch::Receiver<LatestResolution>,
        stages: &mut ShutdownStages,
    ) -> anyhow::Result<Self> {
        if options.kubernetes {
            follow_cluster(options, settings, served, stages).await
        } else {
            follow_files(options, settings, stages).await
        }
    }
}

/// Follows files. Returns when everything is read, before anything is served.
async fn follow_files(
    options: &RunOptions,
    settings: ControlSettings,
    stages: &mut ShutdownStages,
) -> anyhow::Result<ConfigurationSource> {
    require_paths(options)?;
    let (resolved, mut newest) = watch::channel(None);
    let (paths, stop) = (options.manifests.filename.clone(), stages.stop_accepting.clone());
    stages.accepting.spawn("configuration", async move {
        // Settings do not change while the process runs; their sender lives as long as the watcher.
        let (_settings, settings) = watch::channel(settings);
        // Reading blocks this thread: nothing waits yet, and the memory that reading needs is used
        // again by this thread.
        let first = control::read_manifests(&paths);
        let publish = |new: &Arc<Resolution>| drop(resolved.send_replace(Some(Arc::clone(new))));
        control::watch_files(paths, settings, first, publish, stop).await;
    });
    newest.changed().await.context("the manifests could not be read")?;
    let first = newest.borrow_and_update().clone().context("the manifests could not be read")?;
    Ok(ConfigurationSource { first_resolution: first, is_complete: true, newest, api_server: None, is_leader: None })
}

/// Follows a cluster. Returns at once with an empty configuration, so that ports are opened and
/// probes are answered however long the API server takes.
async fn follow_cluster(
    options: &RunOptions,
    settings: ControlSettings,
    served: watch::Receiver<LatestResolution>,
    stages: &mut ShutdownStages,
) -> anyhow::Result<ConfigurationSource> {
    let connected = options.cluster_settings().map_err(anyhow::Error::msg)?.connect().await?;
    let api_server = Some(ApiClient { client: connected.client(), token_file: connected.token_file() });
    let first = Arc::new(control::resolve(&ManifestSet::default(), None, &settings));
    let (resolved, newest) = watch::channel(None);
    let (leader, leads) = watch::channel(false);
    let leads = Some(leads).filter(|_| settings.role == ProcessRole::Channel);
    let stops = StopSignals { stop_writing: stages.stop_announced.clone(), stop_all: stages.stop_accepting.clone() };
    stages.accepting.spawn("configuration", connected.follow_cluster(settings, resolved, (served, leader), stops));
    Ok(ConfigurationSource { first_resolution: first, is_complete: false, newest, api_server, is_leader: leads })
}

/// Returns the settings that are not in the objects. Only the role `channel` has addresses of its
/// own, and only without a cluster; the other roles use the addresses of the cluster's Services.
pub(super) fn control_settings(
    options: &RunOptions,
    listeners: &BoundListeners,
    certificates: &ServerCertificateKeeper,
) -> anyhow::Result<ControlSettings> {
    let role = options.role();
    let urls = if role == ProcessRole::Channel && !options.kubernetes { Some(listeners.urls()?) } else { None };
    let access = &options.rabbitmq.access;
    let settings = options.served.control_settings(&options.manifests, access, urls, certificates.ca_certs());
    if !options.kubernetes {
        return Ok(settings);
    }
    let cluster = options.cluster_settings().map_err(anyhow::Error::msg)?;
    let scope = if cluster.namespace.is_some() { ChannelScope::Namespace } else { ChannelScope::Cluster };
    Ok(ControlSettings {
        role,
        api_server: ApiServerAvailability::Given,
        object_source: ObjectSource::Reconciled(scope),
        channel_kind: options.cluster.channel_kind.into(),
        config_logging: cluster.config_logging,
        config_observability: cluster.config_observability,
        ..settings
    })
}

/// Fails if a path does not exist, or is a file without content. At the start that is a mistake, and
/// what the file should say would be missing, such as who may send; later the content may come back.
fn require_paths(options: &RunOptions) -> anyhow::Result<()> {
    for path in options.manifests.filename.iter().filter(|path| path.as_os_str() != "-") {
        if !path.exists() {
            anyhow::bail!("-f {}: no such file or directory", path.display());
        }
        if path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0) {
            anyhow::bail!("-f {}: is empty: write the objects into it, or leave it out", path.display());
        }
    }
    Ok(())
}
