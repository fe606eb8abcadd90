//! The kinds of channels that a cluster has dispatchers for, and the names that go with each.

use super::kind::ResourceKind;

/// The kind of a cluster's channels that are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServedChannelKind {
    /// `InMemoryChannel`, in place of upstream's dispatcher. What keeps their events is a matter of configuration.
    #[default]
    InMemory,
    /// `RabbitmqChannel`.
    Rabbitmq,
}

impl ServedChannelKind {
    pub(crate) fn resource_kind(self) -> ResourceKind {
        match self {
            Self::InMemory => ResourceKind::InMemoryChannel,
            Self::Rabbitmq => ResourceKind::RabbitmqChannel,
        }
    }

    /// The Deployment that serves them, which names their Service and, with `-server-tls`, the Secret (contract 1.1,
    /// 1.13).
    #[must_use]
    pub fn dispatcher(self) -> &'static str {
        match self {
            Self::InMemory => "imc-dispatcher",
            Self::Rabbitmq => "sealpost-rabbitmq-dispatcher",
        }
    }

    /// The Secret with the certificate of their dispatcher.
    #[must_use]
    pub fn tls_secret(self) -> &'static str {
        match self {
            Self::InMemory => "imc-dispatcher-server-tls",
            Self::Rabbitmq => "sealpost-rabbitmq-dispatcher-server-tls",
        }
    }

    /// The Lease of whoever writes `status.subscribers`; upstream's where upstream has one, so that there is one writer
    /// in a mixed rollout, too (contract 2.22).
    pub(crate) fn lease(self) -> &'static str {
        match self {
            Self::InMemory => {
                "inmemorychannel-dispatcher.knative.dev.eventing.pkg.reconciler.inmemorychannel.dispatcher.reconciler.00-of-01"
            }
            Self::Rabbitmq => "sealpost-rabbitmq-dispatcher",
        }
    }

    /// The component that Warnings about them are from (contract 2.18).
    pub(crate) fn event_component(self) -> &'static str {
        match self {
            Self::InMemory => "inmemorychannel-controller",
            Self::Rabbitmq => "sealpost-rabbitmq-dispatcher",
        }
    }
}
