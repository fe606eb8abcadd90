//! A cluster whose API server can be asked, and the identity of this process in it.

use std::path::PathBuf;
use std::sync::Arc;

use kube::Client;
use tokio_util::sync::CancellationToken;

use super::access::ApiServerAccess;
use crate::telemetry::cluster_metrics::ClusterMetrics;

/// The cluster that is followed, and the identity of this process in it.
#[derive(Clone, Debug)]
pub(crate) struct ClusterSettings {
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
pub(crate) struct StopSignals {
    /// Cancelled when the process is about to stop: another process should write from now on.
    pub stop_writing: CancellationToken,
    /// Cancelled when resolutions are no longer wanted.
    pub stop_all: CancellationToken,
}

/// A cluster whose API server can be asked.
pub(crate) struct ClusterConnection {
    pub(super) cluster: ClusterSettings,
    pub(super) client: Client,
    /// What is counted of the cluster, for whoever exposes metrics.
    pub(super) metrics: Arc<ClusterMetrics>,
}

impl ClusterSettings {
    /// Makes a client of the cluster. Nothing is sent yet.
    ///
    /// # Errors
    /// Fails if a file that is needed is missing or cannot be read.
    pub(crate) async fn connect(self) -> anyhow::Result<ClusterConnection> {
        let metrics = Arc::default();
        let client = self.access.client(&metrics).await?;
        Ok(ClusterConnection {
            cluster: self,
            client,
            metrics,
        })
    }
}

impl ClusterConnection {
    /// A client of the API server, which shares its connections with every clone.
    #[must_use]
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// What is counted of the cluster.
    #[must_use]
    pub(crate) fn metrics(&self) -> Arc<ClusterMetrics> {
        Arc::clone(&self.metrics)
    }

    /// The path of the token with which the API server is asked; `None` outside of a pod.
    #[must_use]
    pub(crate) fn token_file(&self) -> Option<PathBuf> {
        match &self.cluster.access {
            ApiServerAccess::ServiceAccount { directory, .. } => Some(directory.join("token")),
            ApiServerAccess::Kubeconfig(_) => None,
        }
    }
}
