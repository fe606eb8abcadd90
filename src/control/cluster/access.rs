//! Access to the API server: by the pod's ServiceAccount, or by a kubeconfig.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kube::Client;
use kube::config::{AuthInfo, Config, KubeConfigOptions, Kubeconfig};

use super::reachability::with_reachability_log;
use crate::telemetry::cluster_metrics::ClusterMetrics;

/// The time limit from the start of a request to an open connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest silence in a response. Watches are ended by the server before that, see
/// [`super::watch`].
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(130);

/// The address of the API server, and the credentials with which it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiServerAccess {
    /// The address and the credentials that Kubernetes gives every pod.
    ServiceAccount {
        /// The URL of the API server, such as `https://10.0.0.1:443`.
        server: String,
        /// The directory with `token` and `ca.crt`, which are read again as they change.
        directory: PathBuf,
    },
    /// The current context of the kubeconfig at this path.
    Kubeconfig(PathBuf),
}

impl ApiServerAccess {
    /// A client of the API server, which tells these metrics whether it answers. Nothing is sent
    /// yet.
    pub(super) async fn client(&self, metrics: &Arc<ClusterMetrics>) -> anyhow::Result<Client> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        config.reset_reader_on_write = true;
        // The callers repeat requests themselves, since they know best when.
        config.default_retry = false;
        let client = Client::try_from(config)
            .context("the client of the Kubernetes API could not be made")?;
        Ok(with_reachability_log(client, Arc::clone(metrics)))
    }

    async fn config(&self) -> anyhow::Result<Config> {
        match self {
            Self::ServiceAccount { server, directory } => {
                let (ca, token) = (directory.join("ca.crt"), directory.join("token"));
                for file in [&ca, &token] {
                    std::fs::metadata(file)
                        .with_context(|| format!("the pod's ServiceAccount: {}", file.display()))?;
                }
                let mut config = Config::new(server.parse().with_context(|| server.clone())?);
                config.root_cert_file = Some(ca);
                config.auth_info = AuthInfo {
                    token_file: Some(token.display().to_string()),
                    ..AuthInfo::default()
                };
                Ok(config)
            }
            Self::Kubeconfig(file) => {
                let named = || format!("kubeconfig {}", file.display());
                let kubeconfig = Kubeconfig::read_from(file).with_context(named)?;
                Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                    .await
                    .with_context(named)
            }
        }
    }
}
