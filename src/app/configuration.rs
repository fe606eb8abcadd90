//! Where configurations come from: files, or a cluster.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;

use super::certificate::Certificates;
use super::listeners::Listeners;
use super::senders::ApiClient;
use super::shutdown::Stage;
use crate::cli::RunOptions;
use crate::control::{self, ApiServer, Latest, Manifests, Objects, Resolution, Scope, Settings, Stops};
use crate::model::Role;

/// The configuration to begin with, and those after it.
pub(super) struct Configuration {
    pub(super) first: Arc<Resolution>,
    /// Whether the first one is the real one; else the process starts with nothing.
    pub(super) is_complete: bool,
    pub(super) newest: watch::Receiver<Latest>,
    /// The API server, if there is one.
    pub(super) api_server: Option<ApiClient>,
    /// Whether this process tells the cluster; `None` where nobody does.
    pub(super) leads: Option<watch::Receiver<bool>>,
}

impl Configuration {
    /// Starts following files or a cluster, which is told of what appears in `served`.
    pub(super) async fn start(
        options: &RunOptions,
        settings: Settings,
        served: watch::Receiver<Latest>,
        stages: &mut Stage,
    ) -> anyhow::Result<Self> {
        if options.kubernetes {
            of_cluster(options, settings, served, stages).await
        } else {
            of_files(options, settings, stages).await
        }
    }
}

/// Everything is read before anything is served.
async fn of_files(options: &RunOptions, settings: Settings, stages: &mut Stage) -> anyhow::Result<Configuration> {
    require_paths(options)?;
    let (resolved, mut newest) = watch::channel(None);
    let (paths, stop) = (options.manifests.filename.clone(), stages.stop.clone());
    stages.accepting.spawn("configuration", async move {
        // Settings do not change while running; their sender lives as long as the watcher.
        let (_settings, settings) = watch::channel(settings);
        // Nothing waits yet, and what reading needs is memory that this thread uses again.
        let first = control::read(&paths);
        let publish = |new: &Arc<Resolution>| drop(resolved.send_replace(Some(Arc::clone(new))));
        control::watch(paths, settings, first, publish, stop).await;
    });
    newest.changed().await.context("the manifests could not be read")?;
    let first = newest.borrow_and_update().clone().context("the manifests could not be read")?;
    Ok(Configuration { first, is_complete: true, newest, api_server: None, leads: None })
}

/// Ports are opened at once, so that probes are answered however long the API server takes.
async fn of_cluster(
    options: &RunOptions,
    settings: Settings,
    served: watch::Receiver<Latest>,
    stages: &mut Stage,
) -> anyhow::Result<Configuration> {
    let connected = options.cluster().map_err(anyhow::Error::msg)?.connect().await?;
    let api_server = Some(ApiClient { client: connected.client(), token_file: connected.token_file() });
    let first = Arc::new(control::resolve(&Manifests::default(), None, &settings));
    let (resolved, newest) = watch::channel(None);
    let (leader, leads) = watch::channel(false);
    let leads = Some(leads).filter(|_| settings.role == Role::Channel);
    let stops = Stops { leaving: stages.leaving.clone(), stop: stages.stop.clone() };
    stages.accepting.spawn("configuration", connected.follow(settings, resolved, (served, leader), stops));
    Ok(Configuration { first, is_complete: false, newest, api_server, leads })
}

/// What is not in the objects. Only the role `channel` has addresses of its own, and only without a cluster; the others
/// speak of the cluster's.
pub(super) fn settings(
    options: &RunOptions,
    listeners: &Listeners,
    certificates: &Certificates,
) -> anyhow::Result<Settings> {
    let role = options.role();
    let urls = if role == Role::Channel && !options.kubernetes { Some(listeners.urls()?) } else { None };
    let access = &options.rabbitmq.access;
    let settings = options.served.settings(&options.manifests, access, urls, certificates.ca_certs());
    if !options.kubernetes {
        return Ok(settings);
    }
    let cluster = options.cluster().map_err(anyhow::Error::msg)?;
    let scope = if cluster.namespace.is_some() { Scope::Namespace } else { Scope::Cluster };
    Ok(Settings {
        role,
        api_server: ApiServer::Given,
        objects: Objects::Reconciled(scope),
        channels: options.cluster.channel_kind.into(),
        config_logging: cluster.config_logging,
        config_observability: cluster.config_observability,
        ..settings
    })
}

/// A path that does not exist at the start is a mistake; later it may come back.
fn require_paths(options: &RunOptions) -> anyhow::Result<()> {
    for path in options.manifests.filename.iter().filter(|path| path.as_os_str() != "-") {
        if !path.exists() {
            anyhow::bail!("-f {}: no such file or directory", path.display());
        }
    }
    Ok(())
}
