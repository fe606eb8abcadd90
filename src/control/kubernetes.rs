//! The control plane of `run --kubernetes`: it watches what a role needs, resolves it as manifests
//! are resolved, and writes into the cluster what is served.
//!
//! In reading order: [`watch_rows`] is the table of what is watched; [`watch`] keeps one list of
//! objects in step with the API server, in the [`store`]; [`ClusterConnection::follow_cluster`]
//! makes a [`Resolution`] of them whenever they change; [`status_updates`] writes what the cluster
//! should know once that is served, if the [`election`] has chosen this process, through the
//! [`write_queue`]; [`reachability`] logs when the API server is not there. The API server gets the
//! requests of contract 1A and no others.

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
use super::{ControlSettings, Resolution, ServedConfiguration, resolve};
use crate::model::ProcessRole;

pub use access::ApiServerAccess;
use store::ObjectStore;
use watch_rows::WatchNeed;

/// The time for which the first configuration waits for lists that may be missing for good, once
/// the others are there.
const FIRST_LIST_TIMEOUT: Duration = Duration::from_secs(3);
/// The time after which everything is resolved although nothing has changed, so that expired
/// certificates are noticed.
const REFRESH: Duration = Duration::from_secs(3600);
/// The shortest time between two resolutions, so that many changes become few resolutions.
const MIN_RESOLVE_INTERVAL: Duration = Duration::from_millis(10);

/// The cluster that is followed, and the identity of this process in it.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// The address and credentials of the API server.
    pub access: ApiServerAccess,
    /// The name of the pod, which is written into the Lease as its holder.
    pub pod_name: String,
    /// The only namespace whose channels are served; `None` serves all namespaces (contract 1.6).
    pub namespace: Option<String>,
    /// The name of the ConfigMap with the level of logs.
    pub config_logging: String,
    /// The name of the ConfigMap with the collectors of metrics and traces.
    pub config_observability: String,
    /// The name of the ConfigMap with the timings of the Lease.
    pub config_leader_election: String,
}

/// The two signals that end the control plane: first its writing into the cluster, then all of it.
#[derive(Clone, Debug, Default)]
pub struct StopSignals {
    /// Cancelled when the process is about to stop: another process should write from now on.
    pub stop_writing: CancellationToken,
    /// Cancelled when resolutions are no longer wanted.
    pub stop_all: CancellationToken,
}

/// The latest resolution that was handed over; `None` before the first one.
pub type LatestResolution = Option<Arc<Resolution>>;

/// A cluster whose API server can be asked.
pub struct ClusterConnection {
    cluster: ClusterSettings,
    client: kube::Client,
}

impl ClusterSettings {
    /// Makes a client of the cluster. Nothing is sent yet.
    ///
    /// # Errors
    /// Fails if a file that is needed is missing or cannot be read.
    pub async fn connect(self) -> anyhow::Result<ClusterConnection> {
        let client = self.access.client().await?;
        Ok(ClusterConnection {
            cluster: self,
            client,
        })
    }
}

impl ClusterConnection {
    /// A client of the API server, which shares its connections with every clone.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The path of the token with which the API server is asked; `None` outside of a pod.
    #[must_use]
    pub fn token_file(&self) -> Option<std::path::PathBuf> {
        match &self.cluster.access {
            ApiServerAccess::ServiceAccount { directory, .. } => Some(directory.join("token")),
            ApiServerAccess::Kubeconfig(_) => None,
        }
    }

    /// Follows the cluster until `stops.stop_all`: each resolution is handed to `resolved`. While
    /// this process is the leader, which `leader` says, the status updates of each resolution that
    /// appears in `served` are written into the cluster.
    pub async fn follow_cluster(
        self,
        settings: ControlSettings,
        resolved: value::Sender<LatestResolution>,
        (served, leader): (value::Receiver<ServedConfiguration>, value::Sender<bool>),
        stops: StopSignals,
    ) {
        let Self { cluster, client } = self;
        // The store has to know all rows before the first watch starts, since a resolution waits
        // for the lists that are needed.
        let rows = watch_rows::dispatcher_rows(&settings, cluster.namespace.as_deref());
        let store = Arc::new(ObjectStore::new(rows.iter().map(|row| row.need)));
        let mut tasks = JoinSet::new();
        // Rows that only OIDC needs are watched while `wanted` is true; the follower sets it by
        // `config-features`.
        let (oidc, wanted) = value::channel(false);
        for (index, row) in rows.into_iter().enumerate() {
            let (client, store) = (client.clone(), Arc::clone(&store));
            match row.need {
                WatchNeed::WithOidc => tasks.spawn(watch::watch_list_while(
                    wanted.clone(),
                    client,
                    row,
                    store,
                    index,
                )),
                WatchNeed::Always | WatchNeed::WithinGrace => {
                    tasks.spawn(watch::watch_list(client, row, store, index))
                }
            };
        }
        let mut election = JoinSet::new();
        // Relays have nothing to write into the cluster (contract 5.13).
        if settings.role == ProcessRole::Channel {
            let leads = leader.subscribe();
            let system = settings.system_namespace.clone();
            let candidate = election::LeaseCandidate::new(
                client.clone(),
                &system,
                settings.channel_kind.lease(),
                &cluster,
            );
            election.spawn(candidate.run(leader, stops.stop_writing.clone()));
            // The writer ends when the candidate drops `leader`, and not before it has finished
            // what it has begun.
            election.spawn(status_updates::write_status_updates(
                client,
                settings.channel_kind,
                leads,
                served,
            ));
        }
        // The follower runs in this task; the watches and the writer run beside it.
        let follower = ClusterFollower {
            store,
            settings,
            oidc,
            resolution: None,
            problem_log: ProblemLog::default(),
            resolved,
        };
        stops.stop_all.run_until_cancelled(follower.run()).await;
        // The watches are aborted. The candidate and the writer are awaited, so that the Lease is
        // given up and no write is cut off.
        tasks.shutdown().await;
        while election.join_next().await.is_some() {}
    }
}

/// Makes resolutions of the objects that the store holds.
struct ClusterFollower {
    store: Arc<ObjectStore>,
    settings: ControlSettings,
    /// True while the lists that only OIDC needs are watched.
    oidc: value::Sender<bool>,
    /// The last resolution, which keeps the last good forms.
    resolution: LatestResolution,
    problem_log: ProblemLog,
    /// Gets every resolution, to be served.
    resolved: value::Sender<LatestResolution>,
}

impl ClusterFollower {
    async fn run(mut self) {
        self.store.wait_for_first_lists(FIRST_LIST_TIMEOUT).await;
        loop {
            let started = Instant::now();
            self.resolve_and_publish().await;
            // The loop works half of the time at most: all that changes during the pause becomes
            // one resolution.
            tokio::time::sleep(started.elapsed().max(MIN_RESOLVE_INTERVAL)).await;
            if tokio::time::timeout(REFRESH, self.store.wait_for_change())
                .await
                .is_err()
            {
                tracing::debug!("Nothing has changed, looking again");
            }
        }
    }

    /// Resolves the store and hands the resolution over, even if it equals the last one: the
    /// cluster may have changed what was written into it.
    async fn resolve_and_publish(&mut self) {
        let Some(mut resolution) = self.resolve_store().await else {
            return;
        };
        let wanted = resolution.table.oidc().is_some();
        if self.oidc.send_replace(wanted) != wanted && wanted {
            // Policies and ServiceAccounts are not known yet, and no sender should be refused for
            // that.
            self.store.wait_for_oidc_lists(FIRST_LIST_TIMEOUT).await;
            let Some(known) = self.resolve_store().await else {
                return;
            };
            resolution = known;
        }
        if self
            .resolution
            .as_ref()
            .is_none_or(|last| resolution.differs(last))
        {
            self.problem_log.log_resolution(&resolution);
        }
        self.resolution = Some(Arc::clone(&resolution));
        self.resolved.send_replace(Some(resolution));
    }

    /// Resolves the objects that the store holds now; `None` if that panicked, which is logged.
    async fn resolve_store(&self) -> Option<Arc<Resolution>> {
        let manifests = ManifestSet {
            files: self.store.files(),
            problems: Vec::new(),
        };
        let settings = ControlSettings {
            now: epoch_seconds(),
            ..self.settings.clone()
        };
        let last = self.resolution.clone();
        let resolved =
            tokio::task::spawn_blocking(move || resolve(&manifests, last.as_deref(), &settings))
                .await;
        resolved
            .inspect_err(
                |error| error!(%error, "Configuration could not be processed, the last one stays"),
            )
            .map(Arc::new)
            .ok()
    }
}
