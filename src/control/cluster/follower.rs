//! Follows a cluster: makes a resolution of its objects whenever they change, and has the status
//! updates of what is served written.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as value;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::error;

use super::connection::{ClusterConnection, StopSignals};
use super::election::LeaseCandidate;
use super::store_resolver::{LatestResolution, StoreResolver};
use super::watch::rows::dispatcher_rows;
use super::watch::store::{FIRST_LIST_TIMEOUT, ObjectStore};
use super::watch::{MIN_RESOLVE_INTERVAL, spawn_watches};
use super::write::requests::ClusterWriter;
use super::write::status_updates::write_status_updates;
use crate::control::problem_log::epoch_seconds;
use crate::control::resolve::Resolution;
use crate::control::served_configuration::ServedConfiguration;
use crate::control::settings::ControlSettings;

/// The time after which everything is resolved although nothing has changed, so that expired
/// certificates are noticed. Those of subscriptions' destinations are noticed when they expire.
const REFRESH: Duration = Duration::from_secs(3600);

/// What a follower tells and is told.
pub(crate) struct FollowerChannels {
    /// Gets each resolution, to be served.
    pub resolved: value::Sender<LatestResolution>,
    /// The configuration that is served.
    pub served: value::Receiver<ServedConfiguration>,
    /// Says if this process is the leader, which writes into the cluster.
    pub leader: value::Sender<bool>,
}

impl ClusterConnection {
    /// Follows the cluster until `stops.stop_all`: each resolution is handed to
    /// `channels.resolved`. While this process is the leader, which `channels.leader` says, the
    /// status updates of each resolution that appears in `channels.served` are written into the
    /// cluster.
    pub(crate) async fn follow_cluster(
        self,
        settings: ControlSettings,
        channels: FollowerChannels,
        stops: StopSignals,
    ) {
        let Self {
            cluster,
            client,
            metrics,
        } = self;
        let FollowerChannels {
            resolved,
            served,
            leader,
        } = channels;
        // The store has to know all rows before the first watch starts, since a resolution waits
        // for the lists that are needed.
        let rows = dispatcher_rows(&settings, cluster.namespace.as_deref());
        let store = Arc::new(ObjectStore::new(rows.iter().map(|row| row.need)));
        // The follower sets by `config-features` whether the lists that only OIDC needs are
        // watched.
        let (oidc, oidc_wanted) = value::channel(false);
        let mut watches = spawn_watches(rows, &client, &store, &oidc_wanted);
        let mut writing = JoinSet::new();
        // Relays have nothing to write into the cluster (contract 5.13).
        if let Some(kind) = settings.task.served_channels() {
            let leads = leader.subscribe();
            metrics.expose_lease(kind.lease(), leader.subscribe());
            let candidate = LeaseCandidate::new(
                client.clone(),
                &settings.system_namespace,
                kind.lease(),
                &cluster,
            );
            writing.spawn(candidate.run(leader, stops.stop_writing.clone()));
            // The writer ends when the candidate drops `leader`, and not before it has finished
            // what it has begun.
            let writer = ClusterWriter::new(client);
            writing.spawn(write_status_updates(writer, kind, metrics, leads, served));
        }
        // The follower runs in this task; the watches and the writer run beside it.
        let follower = ClusterFollower {
            store,
            resolver: StoreResolver::new(settings),
            next_trust_change: None,
            oidc,
            resolved,
        };
        stops.stop_all.run_until_cancelled(follower.run()).await;
        // The watches are aborted. The candidate and the writer are awaited, so that the Lease is
        // given up and no write is cut off.
        watches.shutdown().await;
        while writing.join_next().await.is_some() {}
    }
}

/// Makes resolutions of the objects that the store holds.
struct ClusterFollower {
    store: Arc<ObjectStore>,
    resolver: StoreResolver,
    /// The next time, in seconds since the epoch, at which a certificate of the last resolution
    /// expires or becomes valid.
    next_trust_change: Option<i64>,
    /// True while the lists that only OIDC needs are watched.
    oidc: value::Sender<bool>,
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
            if tokio::time::timeout(self.time_to_refresh(), self.store.wait_for_change())
                .await
                .is_err()
            {
                tracing::debug!("Nothing has changed, looking again");
            }
        }
    }

    /// The time after which everything is resolved although nothing has changed.
    fn time_to_refresh(&self) -> Duration {
        let change = self.next_trust_change.map(|change| {
            let left = change.saturating_sub(epoch_seconds());
            Duration::from_secs(u64::try_from(left).unwrap_or(0))
        });
        change.map_or(REFRESH, |change| change.min(REFRESH))
    }

    /// Resolves the store and hands the resolution over, even if it equals the last one: the
    /// cluster may have changed what was written into it.
    async fn resolve_and_publish(&mut self) {
        let now = epoch_seconds();
        self.next_trust_change = None;
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
        self.next_trust_change = resolution.table.next_trust_change(now);
        self.resolver.keep(&resolution);
        self.resolved.send_replace(Some(resolution));
    }

    /// Resolves the objects that the store holds now; `None` if that panicked, which is logged.
    async fn resolve_store(&self) -> Option<Arc<Resolution>> {
        let resolved = self.resolver.resolve(self.store.files()).await;
        resolved
            .inspect_err(
                |error| error!(%error, "Configuration could not be processed, the last one stays"),
            )
            .ok()
    }
}
