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
    self, ApiServerAvailability, ControlSettings, DataDirectoryAvailability, FollowerChannels,
    LatestResolution, ManifestSet, Resolution, ServedConfiguration,
};
use crate::telemetry::cluster_metrics::ClusterMetrics;

/// The first configuration, and the receiver of those after it.
pub(super) struct ConfigurationSource {
    /// The configuration that is served, of which the first is the one to start with; for everybody
    /// who follows it.
    pub(super) served: watch::Sender<ServedConfiguration>,
    /// True if the first configuration is the real one; in a cluster it is empty, and the real one
    /// comes later.
    pub(super) is_complete: bool,
    pub(super) newest: watch::Receiver<LatestResolution>,
    /// The client of the API server; `None` without a cluster.
    pub(super) api_server: Option<ApiClient>,
    /// What is counted of the cluster; `None` without a cluster.
    pub(super) cluster_metrics: Option<Arc<ClusterMetrics>>,
    /// True while this process writes status into the cluster; `None` if its role never does.
    pub(super) is_leader: Option<watch::Receiver<bool>>,
}

impl ConfigurationSource {
    /// Starts following files or a cluster. Status about the configurations that are served is
    /// written into the cluster.
    pub(super) async fn start(
        options: &RunOptions,
        settings: ControlSettings,
        stages: &mut ShutdownStages,
    ) -> anyhow::Result<Self> {
        if options.kubernetes {
            follow_cluster(options, settings, stages).await
        } else {
            follow_files(options, settings, stages).await
        }
    }

    /// The configuration to start with.
    pub(super) fn first_resolution(&self) -> Arc<Resolution> {
        Arc::clone(&self.served.borrow().resolution)
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
    let (paths, stop) = (
        options.manifests.filename.clone(),
        stages.stop_accepting.clone(),
    );
    stages.accepting.spawn("configuration", async move {
        // Settings do not change while the process runs; their sender lives as long as the watcher.
        let (_settings, settings) = watch::channel(settings);
        // Reading blocks this thread: nothing waits yet, and the memory that reading needs is used
        // again by this thread.
        let first = control::read_manifests(&paths);
        let publish = |new: &Arc<Resolution>| drop(resolved.send_replace(Some(Arc::clone(new))));
        control::watch_files(paths, settings, first, publish, stop).await;
    });
    let first = first_resolution(&mut newest).await;
    let first = first.context("the manifests could not be read")?;
    Ok(ConfigurationSource {
        served: watch::Sender::new(ServedConfiguration::first(first)),
        is_complete: true,
        newest,
        api_server: None,
        cluster_metrics: None,
        is_leader: None,
    })
}

/// Waits for the first configuration; `None` if there will be none.
async fn first_resolution(newest: &mut watch::Receiver<LatestResolution>) -> LatestResolution {
    newest.changed().await.ok()?;
    newest.borrow_and_update().clone()
}

/// Follows a cluster. Returns at once with an empty configuration, so that ports are opened and
/// probes are answered however long the API server takes.
async fn follow_cluster(
    options: &RunOptions,
    settings: ControlSettings,
    stages: &mut ShutdownStages,
) -> anyhow::Result<ConfigurationSource> {
    let cluster = options.cluster_settings().map_err(anyhow::Error::msg)?;
    let connected = cluster.connect().await?;
    let api_server = Some(ApiClient {
        client: connected.client(),
        token_file: connected.token_file(),
    });
    let cluster_metrics = Some(connected.metrics());
    let first = Arc::new(control::resolve(&ManifestSet::default(), None, &settings));
    let served = watch::Sender::new(ServedConfiguration::first(first));
    let (resolved, newest) = watch::channel(None);
    let (leader, is_leader) = watch::channel(false);
    let is_leader = Some(is_leader).filter(|_| settings.task.served_channels().is_some());
    let channels = FollowerChannels {
        resolved,
        served: served.subscribe(),
        leader,
    };
    let following = connected.follow_cluster(settings, channels, stages.stop_signals());
    stages.accepting.spawn("configuration", following);
    Ok(ConfigurationSource {
        served,
        is_complete: false,
        newest,
        api_server,
        cluster_metrics,
        is_leader,
    })
}

/// Returns the settings that are not in the objects. Only the role `channel` has addresses of its
/// own, and only without a cluster; the other roles use the addresses of the cluster's Services.
pub(super) fn control_settings(
    options: &RunOptions,
    listeners: &BoundListeners,
    certificates: &ServerCertificateKeeper,
) -> anyhow::Result<ControlSettings> {
    let urls = (options.task().serves_manifests())
        .then(|| listeners.urls())
        .transpose()?;
    let access = &options.rabbitmq.access;
    let settings =
        options
            .served
            .control_settings(&options.manifests, access, urls, certificates.ca_certs());
    if options.kubernetes {
        with_cluster_settings(settings, options)
    } else {
        Ok(settings)
    }
}

fn with_cluster_settings(
    settings: ControlSettings,
    options: &RunOptions,
) -> anyhow::Result<ControlSettings> {
    let cluster = options.cluster_settings().map_err(anyhow::Error::msg)?;
    Ok(ControlSettings {
        task: options.task(),
        api_server: ApiServerAvailability::Given,
        data_directory: if options.disk.data_dir.is_some() {
            DataDirectoryAvailability::Given
        } else {
            DataDirectoryAvailability::Missing
        },
        config_logging: cluster.config_logging,
        config_observability: cluster.config_observability,
        ..settings
    })
}

/// Fails if a path does not exist, or is a file without content. At the start that is a mistake,
/// and what the file should say would be missing, such as who may send; later the content may come
/// back.
fn require_paths(options: &RunOptions) -> anyhow::Result<()> {
    for path in options
        .manifests
        .filename
        .iter()
        .filter(|path| path.as_os_str() != "-")
    {
        if !path.exists() {
            anyhow::bail!("-f {}: no such file or directory", path.display());
        }
        if path
            .metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
        {
            anyhow::bail!(
                "-f {}: is empty: write the objects into it, or leave it out",
                path.display()
            );
        }
    }
    Ok(())
}
