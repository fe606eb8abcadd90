//! The task of a process: which objects it serves, and where they come from. The command line
//! decides it once; whatever depends on it asks one of the questions below.

use crate::control::channel_kind::ServedChannelKind;
use crate::model::ProcessRole;

/// What a process does with Knative's objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ControlTask {
    /// Serve the objects of files as users write them, all in one process: channels, Brokers,
    /// Triggers, and whatever else leads events to them.
    #[default]
    ServeManifests,
    /// Serve channels that the controllers of a cluster have reconciled, as upstream's dispatcher
    /// does: their addresses are in `status`, their subscribers in `spec`, and every destination is
    /// reached by HTTP, also those inside this process, since each hop is authorized by itself.
    ServeChannels {
        /// The kind of the channels.
        kind: ServedChannelKind,
        /// Which channels of that kind.
        scope: ChannelScope,
    },
    /// Take events for Brokers and hand them to their channels, as upstream's mt-broker-ingress
    /// does.
    RelayBrokers(ObjectSource),
    /// Take events for Triggers and hand those that pass to their subscribers, as upstream's
    /// mt-broker-filter does.
    RelayTriggers(ObjectSource),
    /// Write what the channels of a cluster need into it that are of a kind of our own, and take no
    /// events.
    ReconcileChannels(ServedChannelKind),
}

/// The source of relayed objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectSource {
    /// Files of users: where `status` says nothing, `spec` counts.
    Written,
    /// A cluster, whose controllers have written `status`.
    Reconciled,
}

/// The channels of a cluster that are served (contract 2.6, 1.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelScope {
    /// All channels but those that have a dispatcher in their namespace.
    #[default]
    Cluster,
    /// Only channels that have a dispatcher in their namespace, and of one namespace.
    Namespace,
}

impl ControlTask {
    /// The names of the Secrets with the server certificate of any task.
    pub(crate) const ALL_TLS_SECRETS: [&'static str; 5] = [
        "imc-dispatcher-server-tls",
        "mt-broker-ingress-server-tls",
        "mt-broker-filter-server-tls",
        "sealpost-rabbitmq-dispatcher-server-tls",
        "sealpost-disk-dispatcher-server-tls",
    ];

    /// The role of the process, as it is shown.
    #[must_use]
    pub(crate) fn role(self) -> ProcessRole {
        match self {
            Self::ServeManifests | Self::ServeChannels { .. } | Self::ReconcileChannels(_) => {
                ProcessRole::Channel
            }
            Self::RelayBrokers(_) => ProcessRole::Ingress,
            Self::RelayTriggers(_) => ProcessRole::Filter,
        }
    }

    /// The role as the flag `--role` names it.
    #[must_use]
    pub fn role_name(self) -> &'static str {
        match self {
            Self::ReconcileChannels(_) => "controller",
            _ => self.role().as_str(),
        }
    }

    /// True if users have written the objects into files, so that nobody has checked them before.
    #[must_use]
    pub(crate) fn reads_written_objects(self) -> bool {
        matches!(
            self,
            Self::ServeManifests
                | Self::RelayBrokers(ObjectSource::Written)
                | Self::RelayTriggers(ObjectSource::Written)
        )
    }

    /// True if everything that is written is resolved and served in this process, so that one
    /// object leads to another one without HTTP.
    #[must_use]
    pub(crate) fn serves_manifests(self) -> bool {
        self == Self::ServeManifests
    }

    /// The kind of channels of a cluster that the process serves; `None` if it serves none.
    #[must_use]
    pub(crate) fn served_channels(self) -> Option<ServedChannelKind> {
        match self {
            Self::ServeChannels { kind, .. } => Some(kind),
            _ => None,
        }
    }

    /// True if the channels and subscribers that events are handed to are in other processes.
    pub(crate) fn relays(self) -> bool {
        matches!(self, Self::RelayBrokers(_) | Self::RelayTriggers(_))
    }

    /// The kind of channels that Knative's objects of a cluster are about.
    pub(crate) fn channel_kind(self) -> ServedChannelKind {
        match self {
            Self::ServeChannels { kind, .. } | Self::ReconcileChannels(kind) => kind,
            Self::ServeManifests | Self::RelayBrokers(_) | Self::RelayTriggers(_) => {
                ServedChannelKind::InMemory
            }
        }
    }

    /// The names of the Secrets with the server certificate, in the system namespace; the first one
    /// that exists counts.
    pub(crate) fn tls_secrets(self) -> &'static [&'static str] {
        match self {
            Self::RelayBrokers(_) => &["mt-broker-ingress-server-tls"],
            Self::RelayTriggers(_) => &["mt-broker-filter-server-tls"],
            Self::ServeManifests | Self::ServeChannels { .. } | Self::ReconcileChannels(_) => {
                match self.channel_kind() {
                    ServedChannelKind::InMemory => {
                        &["imc-dispatcher-server-tls", "mt-broker-ingress-server-tls"]
                    }
                    ServedChannelKind::Rabbitmq => &["sealpost-rabbitmq-dispatcher-server-tls"],
                    ServedChannelKind::Disk => &["sealpost-disk-dispatcher-server-tls"],
                }
            }
        }
    }

    /// The name that upstream gives to the process, by which `config-logging` sets its level.
    pub(crate) fn log_component(self) -> &'static str {
        match self.role() {
            ProcessRole::Channel => "inmemorychannel-dispatcher",
            ProcessRole::Ingress => "mt_broker_ingress",
            ProcessRole::Filter => "mt_broker_filter",
        }
    }
}
