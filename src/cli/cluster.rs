//! The options of `run --kubernetes`: the address of the cluster, and the variables that Knative
//! sets for the pod (contract 1.5, 1.6).

use std::path::PathBuf;

use clap::Args;

use super::{RunOptions, environment_variable};
use crate::control::{ApiServerAccess, ClusterSettings, ServedChannelKind};

/// The directory at which Kubernetes mounts the ServiceAccount of a pod.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The flags of `run --kubernetes` alone.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Kubernetes")]
pub struct ClusterOptions {
    /// How to reach the API server [default: KUBECONFIG, else the pod's ServiceAccount]
    #[arg(long, value_name = "FILE", env = "SEALPOST_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,

    /// Where the pod's ServiceAccount is mounted: token and ca.crt, both re-read as they change
    #[arg(long, value_name = "DIR", env = "SEALPOST_SERVICE_ACCOUNT_DIR", default_value = SERVICE_ACCOUNT)]
    pub service_account_dir: PathBuf,

    /// The kind of channels that --role channel serves; --role controller is for RabbitmqChannels,
    /// or for DiskChannels if it is told so
    #[arg(
        long,
        value_name = "KIND",
        env = "SEALPOST_CHANNEL_KIND",
        default_value = "InMemoryChannel"
    )]
    pub channel_kind: ServedChannelKind,
}

impl ClusterOptions {
    /// The kind of channels that the role `controller` is for: Knative has a controller of its own
    /// for InMemoryChannels.
    pub(super) fn reconciled_kind(&self) -> ServedChannelKind {
        match self.channel_kind {
            ServedChannelKind::InMemory | ServedChannelKind::Rabbitmq => {
                ServedChannelKind::Rabbitmq
            }
            ServedChannelKind::Disk => ServedChannelKind::Disk,
        }
    }
}

/// True if the process was started in a pod, where the image is given no arguments (contract 1.3).
pub(super) fn is_pod() -> bool {
    ["KUBERNETES_SERVICE_HOST", "SYSTEM_NAMESPACE"]
        .into_iter()
        .any(|name| environment_variable(name).is_some())
}

/// Completes the options by Knative's variables, where no flag is given.
pub(super) fn complete_from_environment(options: &mut RunOptions) {
    let manifests = &mut options.manifests;
    if manifests.system_namespace.is_none() {
        manifests.system_namespace = environment_variable("SYSTEM_NAMESPACE");
    }
    if manifests.cluster_domain.is_none() {
        let resolved = || cluster_domain(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default());
        manifests.cluster_domain = environment_variable("CLUSTER_DOMAIN").or_else(resolved);
    }
}

impl RunOptions {
    /// The settings of the cluster.
    ///
    /// # Errors
    /// Fails if the environment does not say where the API server or the system namespace is.
    pub(crate) fn cluster_settings(&self) -> Result<ClusterSettings, String> {
        if self.manifests.system_namespace.is_none() {
            let remedy = "set SYSTEM_NAMESPACE to the namespace of Knative Eventing, usually \
                 knative-eventing";
            return Err(format!(
                "--kubernetes needs to know the system namespace: {remedy}"
            ));
        }
        let named = |variable: &str, name: &str| {
            environment_variable(variable).unwrap_or_else(|| name.to_owned())
        };
        Ok(ClusterSettings {
            access: self.api_server_access()?,
            pod_name: environment_variable("POD_NAME")
                .or_else(|| environment_variable("HOSTNAME"))
                .unwrap_or_else(|| "sealpost".into()),
            // The variable is set for the other roles, too, and names the namespace that they are
            // in: it says nothing of what they serve (contract 5.12).
            namespace: environment_variable("NAMESPACE")
                .filter(|_| self.task().served_channels().is_some()),
            config_logging: named("CONFIG_LOGGING_NAME", "config-logging"),
            config_observability: named("CONFIG_OBSERVABILITY_NAME", "config-observability"),
            config_leader_election: named("CONFIG_LEADERELECTION_NAME", "config-leader-election"),
        })
    }

    fn api_server_access(&self) -> Result<ApiServerAccess, String> {
        let by_variable = || environment_variable("KUBECONFIG").map(PathBuf::from);
        if let Some(file) = self.cluster.kubeconfig.clone().or_else(by_variable) {
            return Ok(ApiServerAccess::Kubeconfig(file));
        }
        let Some(host) = environment_variable("KUBERNETES_SERVICE_HOST") else {
            let remedy = "run it in a pod, or give --kubeconfig FILE";
            return Err(format!(
                "--kubernetes does not know where the API server is: {remedy}"
            ));
        };
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        let port = environment_variable("KUBERNETES_SERVICE_PORT");
        let server = format!("https://{host}:{}", port.as_deref().unwrap_or("443"));
        Ok(ApiServerAccess::ServiceAccount {
            server,
            directory: self.cluster.service_account_dir.clone(),
        })
    }
}

/// The domain in which names below `svc.` are searched (contract 4.2); `None` if resolv.conf names
/// none.
fn cluster_domain(resolv_conf: &str) -> Option<String> {
    let searched = resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("search"))
        .next_back()?;
    let domain = searched
        .split_ascii_whitespace()
        .find_map(|domain| domain.strip_prefix("svc."))?;
    Some(domain.trim_end_matches('.').to_owned()).filter(|domain| !domain.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract 4.2.
    #[test]
    fn the_domain_is_what_services_are_searched_in() {
        for (text, domain) in [
            (
                "search ns.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.0.0.1",
                Some("cluster.local"),
            ),
            (
                "nameserver 10.0.0.1\nsearch ns.svc.corp.example. svc.corp.example. corp.example.",
                Some("corp.example"),
            ),
            ("search old.svc.a svc.a\nsearch ns.svc.b svc.b", Some("b")),
            ("search example.com", None),
            ("# search svc.cluster.local", None),
            ("", None),
        ] {
            assert_eq!(cluster_domain(text).as_deref(), domain, "{text}");
        }
    }
}
