//! The watches of each role: one table, which is all that a role needs to know of the API server
//! (contract 1A, 5.11, 5.12).

use std::fmt;

use kube::core::{ApiResource, DynamicObject, GroupVersion};
use kube::runtime::watcher;
use kube::{Api, Client};

use crate::control::channel_kind::ServedChannelKind;
use crate::control::read::kind::ResourceKind;
use crate::control::resolve::config::backends::CONFIG_IMC_BACKEND;
use crate::control::settings::ControlSettings;
use crate::correlation::SECRET;
use crate::model::ProcessRole;

/// The label of the Services of RabbitmqChannels, as key and value.
pub(crate) const CHANNEL_SERVICES: &str = "messaging.knative.dev/role=rabbitmq-channel";
/// The label of the EndpointSlices of the dispatcher's Service (contract 1.16).
const DISPATCHER_SLICES: &str = "kubernetes.io/service-name=sealpost-rabbitmq-dispatcher";
const TRUST_BUNDLE: &str = "networking.knative.dev/trust-bundle=true";

/// The time for which the first configuration waits for a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchNeed {
    /// It waits as long as it takes.
    Always,
    /// It waits for a limited time: without the list something is missing, but not everything
    /// (contract 3.12a).
    WithinGrace,
    /// It does not wait: the list is watched only while `authentication-oidc` is on (contract 1A).
    WithOidc,
}

/// The objects of a kind that are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WatchSelector {
    /// Every object of the kind.
    All,
    /// The object of this name.
    Named(String),
    /// The objects with this label, as `key=value`.
    Labelled(&'static str),
}

/// One list of objects that is kept in step with the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WatchRow {
    pub(crate) kind: ResourceKind,
    /// The namespace of the objects; `None` watches all namespaces.
    pub(crate) namespace: Option<String>,
    pub(crate) selector: WatchSelector,
    pub(crate) need: WatchNeed,
}

/// The watches of a role that serves events. `namespace` is the only one that is served; `None`
/// serves all.
pub(crate) fn dispatcher_rows(
    settings: &ControlSettings,
    namespace: Option<&str>,
) -> Vec<WatchRow> {
    let served = |kind, needed| WatchRow {
        kind,
        namespace: namespace.map(str::to_owned),
        selector: WatchSelector::All,
        need: needed,
    };
    let system = |kind, selected, needed| WatchRow {
        kind,
        namespace: Some(settings.system_namespace.clone()),
        selector: selected,
        need: needed,
    };
    let named = |name: &str| WatchSelector::Named(name.to_owned());
    // The TLS Secret that the first Service of the role names.
    let secret = settings
        .task
        .tls_secrets()
        .first()
        .copied()
        .unwrap_or_default();
    let (kinds, with_oidc) = match settings.task.role() {
        ProcessRole::Channel => (
            vec![settings.task.channel_kind().resource_kind()],
            ResourceKind::EventPolicy,
        ),
        ProcessRole::Ingress => (vec![ResourceKind::Broker], ResourceKind::EventPolicy),
        ProcessRole::Filter => (
            vec![ResourceKind::Trigger, ResourceKind::Broker],
            ResourceKind::Subscription,
        ),
    };
    let mut rows: Vec<WatchRow> = kinds
        .iter()
        .map(|kind| served(*kind, WatchNeed::Always))
        .collect();
    rows.push(served(with_oidc, WatchNeed::WithOidc));
    rows.extend([
        system(
            ResourceKind::ConfigMap,
            named("config-features"),
            WatchNeed::Always,
        ),
        system(
            ResourceKind::ConfigMap,
            named(&settings.config_logging),
            WatchNeed::WithinGrace,
        ),
        system(
            ResourceKind::ConfigMap,
            named(&settings.config_observability),
            WatchNeed::WithinGrace,
        ),
        system(
            ResourceKind::ConfigMap,
            WatchSelector::Labelled(TRUST_BUNDLE),
            WatchNeed::WithinGrace,
        ),
        system(ResourceKind::Secret, named(secret), WatchNeed::WithinGrace),
    ]);
    // The keys by which filters verify correlation ids. Upstream's role may read every Secret of
    // the namespace; this is the one that is needed.
    if settings.task.role() == ProcessRole::Filter {
        rows.push(system(
            ResourceKind::Secret,
            named(SECRET),
            WatchNeed::WithinGrace,
        ));
    }
    if settings.task.served_channels() == Some(ServedChannelKind::InMemory) {
        rows.push(system(
            ResourceKind::ConfigMap,
            named(CONFIG_IMC_BACKEND),
            WatchNeed::Always,
        ));
    }
    rows
}

/// The watches of the role `controller` (contract 11.8), in the order of their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ControllerWatch {
    /// The RabbitmqChannels of all namespaces.
    Channels,
    /// The EventPolicies of all namespaces.
    Policies,
    /// The Services of RabbitmqChannels.
    Services,
    /// The EndpointSlices of the dispatcher's Service.
    Endpoints,
    /// The ConfigMap `config-features`.
    Features,
    /// The ConfigMap with the level of logs.
    Logging,
    /// The TLS Secret of the dispatcher.
    Secret,
}

impl ControllerWatch {
    const ALL: [Self; 7] = [
        Self::Channels,
        Self::Policies,
        Self::Services,
        Self::Endpoints,
        Self::Features,
        Self::Logging,
        Self::Secret,
    ];
    /// The watches that hold no channels, but what holds for all of them.
    pub(crate) const CONFIGURATION: [Self; 3] = [Self::Features, Self::Logging, Self::Secret];

    /// The index of the watch's row, which is its index in the store, too.
    pub(crate) fn index(self) -> usize {
        Self::ALL
            .iter()
            .position(|of| *of == self)
            .unwrap_or_default()
    }
}

/// The watches of the role `controller`.
pub(crate) fn controller_rows(settings: &ControlSettings) -> Vec<WatchRow> {
    let all = |kind, selected, needed| WatchRow {
        kind,
        namespace: None,
        selector: selected,
        need: needed,
    };
    let system = |kind, selected, needed| WatchRow {
        kind,
        namespace: Some(settings.system_namespace.clone()),
        selector: selected,
        need: needed,
    };
    let named = |name: &str| WatchSelector::Named(name.to_owned());
    let row = |of| match of {
        ControllerWatch::Channels => all(
            ResourceKind::RabbitmqChannel,
            WatchSelector::All,
            WatchNeed::Always,
        ),
        ControllerWatch::Policies => all(
            ResourceKind::EventPolicy,
            WatchSelector::All,
            WatchNeed::WithOidc,
        ),
        ControllerWatch::Services => all(
            ResourceKind::Service,
            WatchSelector::Labelled(CHANNEL_SERVICES),
            WatchNeed::Always,
        ),
        ControllerWatch::Endpoints => system(
            ResourceKind::EndpointSlice,
            WatchSelector::Labelled(DISPATCHER_SLICES),
            WatchNeed::Always,
        ),
        ControllerWatch::Features => system(
            ResourceKind::ConfigMap,
            named("config-features"),
            WatchNeed::Always,
        ),
        ControllerWatch::Logging => system(
            ResourceKind::ConfigMap,
            named(&settings.config_logging),
            WatchNeed::WithinGrace,
        ),
        ControllerWatch::Secret => system(
            ResourceKind::Secret,
            named(ServedChannelKind::Rabbitmq.tls_secret()),
            WatchNeed::WithinGrace,
        ),
    };
    ControllerWatch::ALL.into_iter().map(row).collect()
}

impl WatchRow {
    /// The API of the row's objects, in one namespace or in all.
    pub(crate) fn api(&self, client: Client) -> Api<DynamicObject> {
        let resource = api_resource(self.kind);
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        }
    }

    /// The request of the row's watch; the server ends the watch after `seconds`.
    pub(crate) fn watcher_config(&self, seconds: u32) -> watcher::Config {
        let config = watcher::Config::default().timeout(seconds);
        match &self.selector {
            WatchSelector::All => config,
            WatchSelector::Named(name) => config.fields(&format!("metadata.name={name}")),
            WatchSelector::Labelled(label) => config.labels(label),
        }
    }
}

/// Writes the row as a command line of `kubectl get` would ask for it.
impl fmt::Display for WatchRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&api_resource(self.kind).plural)?;
        if let Some(namespace) = &self.namespace {
            write!(f, " -n {namespace}")?;
        }
        match &self.selector {
            WatchSelector::All => Ok(()),
            WatchSelector::Named(name) => write!(f, " {name}"),
            WatchSelector::Labelled(label) => write!(f, " -l {label}"),
        }
    }
}

/// The group, version and plural by which the API server knows a kind.
pub(crate) fn api_resource(kind: ResourceKind) -> ApiResource {
    let plural = match kind {
        ResourceKind::EventPolicy => "eventpolicies".to_owned(),
        ResourceKind::RequestReply => "requestreplies".to_owned(),
        _ => format!("{}s", kind.as_str().to_ascii_lowercase()),
    };
    let api_version = kind.api_version();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = GroupVersion {
        group: group.to_owned(),
        version: version.to_owned(),
    }
    .with_kind(kind.as_str());
    ApiResource::from_gvk_with_plural(&resource, &plural)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::task::{ChannelScope, ControlTask};

    /// Contract 1A: what is listed and watched, and nothing else.
    #[test]
    fn the_table_is_that_of_the_contract() {
        let settings = ControlSettings {
            system_namespace: "ke".to_owned(),
            task: ControlTask::ServeChannels {
                kind: ServedChannelKind::InMemory,
                scope: ChannelScope::Cluster,
            },
            ..ControlSettings::default()
        };
        let paths = |namespace| {
            let path = |row: &WatchRow| {
                let config = row.watcher_config(100);
                let resource = api_resource(row.kind);
                let namespace = row.namespace.as_deref().unwrap_or("*");
                let selector = config
                    .field_selector
                    .or(config.label_selector)
                    .unwrap_or_default();
                format!(
                    "{} {namespace} {} {selector}",
                    resource.api_version, resource.plural
                )
                .trim_end()
                .to_owned()
            };
            dispatcher_rows(&settings, namespace)
                .iter()
                .map(path)
                .collect::<Vec<_>>()
        };
        let rest = [
            "v1 ke configmaps metadata.name=config-features",
            "v1 ke configmaps metadata.name=config-logging",
            "v1 ke configmaps metadata.name=config-observability",
            "v1 ke configmaps networking.knative.dev/trust-bundle=true",
            "v1 ke secrets metadata.name=imc-dispatcher-server-tls",
            // Ours: what keeps the events of channels (contract 11.4).
            "v1 ke configmaps metadata.name=config-imc-backend",
        ];
        let all = paths(None);
        assert_eq!(all[0], "messaging.knative.dev/v1 * inmemorychannels");
        assert_eq!(all[1], "eventing.knative.dev/v1alpha1 * eventpolicies");
        assert_eq!(all[2..], rest);
        let one = paths(Some("team"));
        assert_eq!(one[0], "messaging.knative.dev/v1 team inmemorychannels");
        assert_eq!(one[2..], rest);
    }
}
