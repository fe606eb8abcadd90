//! What each role watches: one table, which is all that a role needs to know of the API (contract 1A, 5.11, 5.12).

use std::fmt;

use kube::core::{ApiResource, DynamicObject, GroupVersion};
use kube::runtime::watcher;
use kube::{Api, Client};

use crate::control::kind::Kind;
use crate::control::resolve::backends::CONFIG_IMC_BACKEND;
use crate::control::{Channels, Settings};
use crate::correlation::SECRET;
use crate::model::Role;

/// Of the Services of RabbitmqChannels, as key and value.
pub(super) const CHANNEL_SERVICES: &str = "messaging.knative.dev/role=rabbitmq-channel";
/// Of the Service of the dispatcher (contract 1.16).
const DISPATCHER_SLICES: &str = "kubernetes.io/service-name=sealpost-rabbitmq-dispatcher";
const TRUST_BUNDLE: &str = "networking.knative.dev/trust-bundle=true";

/// Whether the first configuration waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    /// For as long as it takes.
    Always,
    /// For a while: without it something is missing, but not everything (contract 3.12a).
    Soon,
    /// Not at all: it is watched only while `authentication-oidc` is on (contract 1A).
    WithOidc,
}

/// Which objects of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    All,
    Named(String),
    Labelled(&'static str),
}

/// One list of objects to keep in step with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) kind: Kind,
    /// `None` for all.
    pub(super) namespace: Option<String>,
    pub(super) selected: Selected,
    pub(super) needed: Needed,
}

/// What a role watches. `namespace` is the only one that is served, if it is one.
pub(super) fn rows(settings: &Settings, namespace: Option<&str>) -> Vec<Row> {
    let served = |kind, needed| Row { kind, namespace: namespace.map(str::to_owned), selected: Selected::All, needed };
    let system =
        |kind, selected, needed| Row { kind, namespace: Some(settings.system_namespace.clone()), selected, needed };
    let named = |name: &str| Selected::Named(name.to_owned());
    let (kinds, secret) = match settings.role {
        Role::Channel => match settings.channels {
            Channels::InMemory => (&[Kind::InMemoryChannel][..], settings.channels.secret()),
            Channels::Rabbitmq => (&[Kind::RabbitmqChannel][..], settings.channels.secret()),
        },
        Role::Ingress => (&[Kind::Broker][..], "mt-broker-ingress-server-tls"),
        Role::Filter => (&[Kind::Trigger, Kind::Broker][..], "mt-broker-filter-server-tls"),
    };
    let with_oidc = match settings.role {
        Role::Channel | Role::Ingress => Kind::EventPolicy,
        Role::Filter => Kind::Subscription,
    };
    let mut rows: Vec<Row> = kinds.iter().map(|kind| served(*kind, Needed::Always)).collect();
    rows.push(served(with_oidc, Needed::WithOidc));
    rows.extend([
        system(Kind::ConfigMap, named("config-features"), Needed::Always),
        system(Kind::ConfigMap, named(&settings.config_logging), Needed::Soon),
        system(Kind::ConfigMap, named(&settings.config_observability), Needed::Soon),
        system(Kind::ConfigMap, Selected::Labelled(TRUST_BUNDLE), Needed::Soon),
        system(Kind::Secret, named(secret), Needed::Soon),
    ]);
    // What filters verify correlation ids by. Upstream's reads every Secret of the namespace, and this is the one that it needs.
    if settings.role == Role::Filter {
        rows.push(system(Kind::Secret, named(SECRET), Needed::Soon));
    }
    if settings.role == Role::Channel && settings.channels == Channels::InMemory {
        rows.push(system(Kind::ConfigMap, named(CONFIG_IMC_BACKEND), Needed::Always));
    }
    rows
}

/// The lists of the role `controller` (contract 11.8), in the order of their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controlled {
    Channels,
    Policies,
    Services,
    Endpoints,
    Features,
    Logging,
    Secret,
}

impl Controlled {
    const ALL: [Self; 7] =
        [Self::Channels, Self::Policies, Self::Services, Self::Endpoints, Self::Features, Self::Logging, Self::Secret];
    /// Those that hold no channels, but what holds for all of them.
    pub(super) const CONFIGURATION: [Self; 3] = [Self::Features, Self::Logging, Self::Secret];

    /// The place of its row.
    pub(super) fn index(self) -> usize {
        Self::ALL.iter().position(|of| *of == self).unwrap_or_default()
    }
}

/// What the role `controller` watches.
pub(super) fn controlled(settings: &Settings) -> Vec<Row> {
    let all = |kind, selected, needed| Row { kind, namespace: None, selected, needed };
    let system =
        |kind, selected, needed| Row { kind, namespace: Some(settings.system_namespace.clone()), selected, needed };
    let named = |name: &str| Selected::Named(name.to_owned());
    let row = |of| match of {
        Controlled::Channels => all(Kind::RabbitmqChannel, Selected::All, Needed::Always),
        Controlled::Policies => all(Kind::EventPolicy, Selected::All, Needed::WithOidc),
        Controlled::Services => all(Kind::Service, Selected::Labelled(CHANNEL_SERVICES), Needed::Always),
        Controlled::Endpoints => system(Kind::EndpointSlice, Selected::Labelled(DISPATCHER_SLICES), Needed::Always),
        Controlled::Features => system(Kind::ConfigMap, named("config-features"), Needed::Always),
        Controlled::Logging => system(Kind::ConfigMap, named(&settings.config_logging), Needed::Soon),
        Controlled::Secret => system(Kind::Secret, named(Channels::Rabbitmq.secret()), Needed::Soon),
    };
    Controlled::ALL.into_iter().map(row).collect()
}

impl Row {
    /// The API of its objects.
    pub(super) fn api(&self, client: Client) -> Api<DynamicObject> {
        let resource = resource(self.kind);
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        }
    }

    /// What is asked for; the server ends each watch after so many seconds.
    pub(super) fn config(&self, seconds: u32) -> watcher::Config {
        let config = watcher::Config::default().timeout(seconds);
        match &self.selected {
            Selected::All => config,
            Selected::Named(name) => config.fields(&format!("metadata.name={name}")),
            Selected::Labelled(label) => config.labels(label),
        }
    }
}

/// As a command line would ask for it.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&resource(self.kind).plural)?;
        if let Some(namespace) = &self.namespace {
            write!(f, " -n {namespace}")?;
        }
        match &self.selected {
            Selected::All => Ok(()),
            Selected::Named(name) => write!(f, " {name}"),
            Selected::Labelled(label) => write!(f, " -l {label}"),
        }
    }
}

/// How the API names a kind.
pub(super) fn resource(kind: Kind) -> ApiResource {
    let plural = match kind {
        Kind::EventPolicy => "eventpolicies".to_owned(),
        Kind::RequestReply => "requestreplies".to_owned(),
        _ => format!("{}s", kind.as_str().to_ascii_lowercase()),
    };
    let api_version = kind.api_version();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = GroupVersion { group: group.to_owned(), version: version.to_owned() }.with_kind(kind.as_str());
    ApiResource::from_gvk_with_plural(&resource, &plural)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract 1A: what is listed and watched, and nothing else.
    #[test]
    fn the_table_is_that_of_the_contract() {
        let settings = Settings { system_namespace: "ke".to_owned(), ..Settings::default() };
        let paths = |namespace| {
            let path = |row: &Row| {
                let config = row.config(100);
                let resource = resource(row.kind);
                let namespace = row.namespace.as_deref().unwrap_or("*");
                let selector = config.field_selector.or(config.label_selector).unwrap_or_default();
                format!("{} {namespace} {} {selector}", resource.api_version, resource.plural).trim_end().to_owned()
            };
            rows(&settings, namespace).iter().map(path).collect::<Vec<_>>()
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
