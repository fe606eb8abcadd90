//! The control plane of `run --kubernetes`: watches what a role needs and resolves it as manifests are, then tells the
//! cluster what is served.
//!
//! In reading order: [`watched`] is the table of what is watched; [`watch`] keeps one list of objects in step with the
//! API server, in the [`store`]; [`Connected::follow`] makes a [`Resolution`] of them whenever they change; [`status`]
//! writes what the cluster should know once that is served, if the [`election`] has chosen this process, through the
//! [`writer`]; [`away`] tells when the API server is not there.
//! The API server gets the requests of contract 1A and no others.

mod access;
mod backoff;
mod controller;
mod election;
mod reachability;
mod status_updates;
mod store;
mod watch;
mod watch_rows;
mod write_queue;
mod write_requests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as value;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::manifest::ManifestSet;
use super::problem_log::{ProblemLog, epoch_seconds};
use super::{ControlSettings, Resolution, resolve};
use crate::model::ProcessRole;

pub use access::ApiServerAccess;
use store::ObjectStore;
use watch_rows::WatchNeed;

/// How long the first configuration waits for what could be missing for good, once the rest is there.
const GRACE: Duration = Duration::from_secs(3);
/// How often everything is resolved although nothing has changed, so that what expires is noticed.
const REFRESH: Duration = Duration::from_secs(3600);
/// The shortest time between two resolutions, so that many changes become few.
const REST: Duration = Duration::from_millis(10);

/// The cluster, and who this process is in it.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// How the API server is reached.
    pub access: ApiServerAccess,
    /// The name of the pod, for the Lease.
    pub pod_name: String,
    /// The only namespace whose channels are served, if it is one (contract 1.6).
    pub namespace: Option<String>,
    /// The name of the ConfigMap with the level of logs.
    pub config_logging: String,
    /// The name of the ConfigMap with how metrics and traces leave.
    pub config_observability: String,
    /// The name of the ConfigMap with the timings of the Lease.
    pub config_leader_election: String,
}

/// What tells the control plane to end: first its say in the cluster, then all of it.
#[derive(Clone, Debug, Default)]
pub struct StopSignals {
    /// The process is about to stop: another one should write.
    pub stop_writing: CancellationToken,
    /// Configurations are no longer wanted.
    pub stop_all: CancellationToken,
}

/// A configuration, as it is handed over or served.
pub type LatestResolution = Option<Arc<Resolution>>;

/// A cluster that can be asked.
pub struct ClusterConnection {
    cluster: ClusterSettings,
    client: kube::Client,
}

impl ClusterSettings {
    /// A client of the cluster. Nothing is sent yet.
    ///
    /// # Errors
    /// If a file that is needed is missing or cannot be read.
    pub async fn connect(self) -> anyhow::Result<ClusterConnection> {
        let client = self.access.client().await?;
        Ok(ClusterConnection { cluster: self, client })
    }
}

impl ClusterConnection {
    /// A client of the API server. Clones share its connections.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The file of the token with which the API server is asked, if it is a pod's.
    #[must_use]
    pub fn token_file(&self) -> Option<std::path::PathBuf> {
        match &self.cluster.access {
            ApiServerAccess::ServiceAccount { directory, .. } => Some(directory.join("token")),
            ApiServerAccess::Kubeconfig(_) => None,
        }
    }

    /// Follows the cluster until the stop: each configuration is handed to `resolved`, and the cluster is told of what
    /// appears in `served`, if this process is elected to; whether it is stands in `leader`.
    pub async fn follow_cluster(
        self,
        settings: ControlSettings,
        resolved: value::Sender<LatestResolution>,
        (served, leader): (value::Receiver<LatestResolution>, value::Sender<bool>),
        stops: StopSignals,
    ) {
        let Self { cluster, client } = self;
        let rows = watch_rows::dispatcher_rows(&settings, cluster.namespace.as_deref());
        let store = Arc::new(ObjectStore::new(rows.iter().map(|row| row.need)));
        let mut tasks = JoinSet::new();
        let (oidc, wanted) = value::channel(false);
        for (index, row) in rows.into_iter().enumerate() {
            let (client, store) = (client.clone(), Arc::clone(&store));
            match row.need {
                WatchNeed::WithOidc => tasks.spawn(watch::watch_list_while(wanted.clone(), client, row, store, index)),
                WatchNeed::Always | WatchNeed::WithinGrace => tasks.spawn(watch::watch_list(client, row, store, index)),
            };
        }
        let mut voting = JoinSet::new();
        // The others have nothing to tell (contract 5.13).
        if settings.role == ProcessRole::Channel {
            let leads = leader.subscribe();
            let system = settings.system_namespace.clone();
            let candidate =
                election::LeaseCandidate::new(client.clone(), &system, settings.channel_kind.lease(), &cluster);
            voting.spawn(candidate.run(leader, stops.stop_writing.clone()));
            // It ends with who writes, and not before what it has begun.
            voting.spawn(status_updates::write_status_updates(client, settings.channel_kind, leads, served));
        }
        let follower =
            ClusterFollower { store, settings, oidc, resolution: None, problem_log: ProblemLog::default(), resolved };
        stops.stop_all.run_until_cancelled(follower.run()).await;
        tasks.shutdown().await;
        while voting.join_next().await.is_some() {}
    }
}

/// Makes configurations of what the store holds.
struct ClusterFollower {
    store: Arc<ObjectStore>,
    settings: ControlSettings,
    /// Whether what only OIDC needs is watched.
    oidc: value::Sender<bool>,
    resolution: LatestResolution,
    problem_log: ProblemLog,
    resolved: value::Sender<LatestResolution>,
}

impl ClusterFollower {
    async fn run(mut self) {
        self.store.wait_for_first_lists(GRACE).await;
        loop {
            let started = Instant::now();
            self.resolve_and_publish().await;
            // Half of the time at most: what changes meanwhile is one change.
            tokio::time::sleep(started.elapsed().max(REST)).await;
            if tokio::time::timeout(REFRESH, self.store.wait_for_change()).await.is_err() {
                tracing::debug!("Nothing has changed, looking again");
            }
        }
    }

    /// Every resolution is handed over, since the cluster may have changed its mind about what it was told.
    async fn resolve_and_publish(&mut self) {
        let Some(mut resolution) = self.resolve_store().await else { return };
        let wanted = resolution.table.oidc().is_some();
        if self.oidc.send_replace(wanted) != wanted && wanted {
            // Who may send is not known yet, and nobody should be turned away for that.
            self.store.wait_for_oidc_lists(GRACE).await;
            let Some(known) = self.resolve_store().await else { return };
            resolution = known;
        }
        if self.resolution.as_ref().is_none_or(|last| resolution.differs(last)) {
            self.problem_log.log_resolution(&resolution);
        }
        self.resolution = Some(Arc::clone(&resolution));
        self.resolved.send_replace(Some(resolution));
    }

    /// What the store holds now.
    async fn resolve_store(&self) -> Option<Arc<Resolution>> {
        let manifests = ManifestSet { files: self.store.files(), problems: Vec::new() };
        let settings = ControlSettings { now: epoch_seconds(), ..self.settings.clone() };
        let last = self.resolution.clone();
        let resolved = tokio::task::spawn_blocking(move || resolve(&manifests, last.as_deref(), &settings)).await;
        resolved
            .inspect_err(|error| error!(%error, "Configuration could not be processed, the last one stays"))
            .map(Arc::new)
            .ok()
    }
}
