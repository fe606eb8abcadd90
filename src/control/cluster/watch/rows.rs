//! What is watched: rows of one table, which is all that a task which serves events needs to know of
//! the API server (contract 1A, 5.11, 5.12).

use std::fmt;

use kube::core::DynamicObject;
use kube::runtime::watcher;
use kube::{Api, Client};

use crate::control::channel_kind::ServedChannelKind;
use crate::control::cluster::api_resource::api_resource;
use crate::control::read::kind::ResourceKind;
use crate::control::resolve::config::backends::CONFIG_IMC_BACKEND;
use crate::control::settings::ControlSettings;
use crate::control::task::ControlTask;
use crate::correlation::SECRET;
use crate::model::ProcessRole;

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

/// The watches of a task that serves events. `namespace` is the only one that is served; `None`
/// serves all.
pub(crate) fn dispatcher_rows(
    settings: &ControlSettings,
    namespace: Option<&str>,
) -> Vec<WatchRow> {
    let mut rows = served_rows(settings.task, namespace);
    rows.extend(config_rows(settings));
    // The keys by which filters verify correlation ids. Upstream's role may read every Secret of
    // the namespace; this is the one that is needed.
    if settings.task.role() == ProcessRole::Filter {
        let row = WatchRow::named(settings, ResourceKind::Secret, SECRET);
        rows.push(row);
    }
    if settings.task.served_channels() == Some(ServedChannelKind::InMemory) {
        let row = WatchRow::named(settings, ResourceKind::ConfigMap, CONFIG_IMC_BACKEND);
        rows.push(row.needed_always());
    }
    rows
}

/// The watches of the objects that a task is about, and of those that say who may send to them.
fn served_rows(task: ControlTask, namespace: Option<&str>) -> Vec<WatchRow> {
    let (kinds, with_oidc) = match task.role() {
        ProcessRole::Channel => (
            vec![task.channel_kind().resource_kind()],
            ResourceKind::EventPolicy,
        ),
        ProcessRole::Ingress => (vec![ResourceKind::Broker], ResourceKind::EventPolicy),
        ProcessRole::Filter => (
            vec![ResourceKind::Trigger, ResourceKind::Broker],
            ResourceKind::Subscription,
        ),
    };
    let row = |kind, need| WatchRow {
        kind,
        namespace: namespace.map(str::to_owned),
        selector: WatchSelector::All,
        need,
    };
    kinds
        .into_iter()
        .map(|kind| row(kind, WatchNeed::Always))
        .chain([row(with_oidc, WatchNeed::WithOidc)])
        .collect()
}

/// The watches of the settings for all objects.
fn config_rows(settings: &ControlSettings) -> [WatchRow; 5] {
    let config_map = |name| WatchRow::named(settings, ResourceKind::ConfigMap, name);
    // Of several names of TLS Secrets, the first one is that of the task's own Service.
    let tls_secret = settings.task.tls_secrets().first().copied();
    [
        config_map("config-features").needed_always(),
        config_map(&settings.config_logging),
        config_map(&settings.config_observability),
        WatchRow {
            selector: WatchSelector::Labelled(TRUST_BUNDLE),
            ..config_map("")
        },
        WatchRow::named(
            settings,
            ResourceKind::Secret,
            tls_secret.unwrap_or_default(),
        ),
    ]
}

impl WatchRow {
    /// The row of one object of the system namespace, for which the first configuration waits a
    /// limited time.
    pub(crate) fn named(settings: &ControlSettings, kind: ResourceKind, name: &str) -> Self {
        Self {
            kind,
            namespace: Some(settings.system_namespace.clone()),
            selector: WatchSelector::Named(name.to_owned()),
            need: WatchNeed::WithinGrace,
        }
    }

    /// The same row, for which the first configuration waits as long as it takes.
    pub(crate) fn needed_always(self) -> Self {
        Self {
            need: WatchNeed::Always,
            ..self
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::task::ChannelScope;

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
