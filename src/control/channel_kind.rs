//! The kinds of channels that a cluster has dispatchers for, and the names of Knative objects that
//! go with each kind.

use crate::control::read::kind::ResourceKind;

/// The kind of a cluster's channels that this process serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServedChannelKind {
    /// `InMemoryChannel`, in place of upstream's dispatcher. The backend that keeps its events is a
    /// matter of configuration.
    #[default]
    InMemory,
    /// `RabbitmqChannel`, whose events are kept on RabbitMQ.
    Rabbitmq,
    /// `DiskChannel`, whose events are kept on the volume of its dispatcher.
    Disk,
}

impl ServedChannelKind {
    pub(crate) fn resource_kind(self) -> ResourceKind {
        match self {
            Self::InMemory => ResourceKind::InMemoryChannel,
            Self::Rabbitmq => ResourceKind::RabbitmqChannel,
            Self::Disk => ResourceKind::DiskChannel,
        }
    }

    /// The name of the Deployment that serves the channels, which is the name of their Service,
    /// too, and, with `-server-tls`, of the Secret (contract 1.1, 1.13).
    #[must_use]
    pub(crate) fn dispatcher(self) -> &'static str {
        match self {
            Self::InMemory => "imc-dispatcher",
            Self::Rabbitmq => "sealpost-rabbitmq-dispatcher",
            Self::Disk => "sealpost-disk-dispatcher",
        }
    }

    /// The name of the Secret with the certificate of the dispatcher.
    #[must_use]
    pub(crate) fn tls_secret(self) -> &'static str {
        match self {
            Self::InMemory => "imc-dispatcher-server-tls",
            Self::Rabbitmq => "sealpost-rabbitmq-dispatcher-server-tls",
            Self::Disk => "sealpost-disk-dispatcher-server-tls",
        }
    }

    /// The name of the Lease of the process that writes `status.subscribers`. It is upstream's name
    /// where upstream has such a Lease, so that there is one writer in a mixed rollout, too
    /// (contract 2.22).
    pub(crate) fn lease(self) -> &'static str {
        match self {
            Self::InMemory => {
                "inmemorychannel-dispatcher.knative.dev.eventing.pkg.reconciler.inmemorychannel.dispatcher.reconciler.00-of-01"
            }
            Self::Rabbitmq => "sealpost-rabbitmq-dispatcher",
            Self::Disk => "sealpost-disk-dispatcher",
        }
    }

    /// The component that Kubernetes shows as the sender of Warning Events about the channels
    /// (contract 2.18).
    pub(crate) fn event_component(self) -> &'static str {
        match self {
            Self::InMemory => "inmemorychannel-controller",
            Self::Rabbitmq => "sealpost-rabbitmq-dispatcher",
            Self::Disk => "sealpost-disk-dispatcher",
        }
    }

    /// The names of what the role `controller` makes for channels of the kind (contract 11.8).
    pub(crate) fn controller_names(self) -> ControllerNames {
        match self {
            Self::InMemory | Self::Rabbitmq => ControllerNames {
                lease: "sealpost-rabbitmq-controller",
                service_suffix: "-rmq-kn-channel",
                services: "messaging.knative.dev/role=rabbitmq-channel",
                endpoint_slices: "kubernetes.io/service-name=sealpost-rabbitmq-dispatcher",
            },
            Self::Disk => ControllerNames {
                lease: "sealpost-disk-controller",
                service_suffix: "-disk-kn-channel",
                services: "messaging.knative.dev/role=disk-channel",
                endpoint_slices: "kubernetes.io/service-name=sealpost-disk-dispatcher",
            },
        }
    }
}

/// Names of what the role `controller` makes, and looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ControllerNames {
    /// The name of the Lease of the controller that writes.
    pub(crate) lease: &'static str,
    /// The end of the names of Services, other than upstream's, so that an InMemoryChannel of the
    /// same name keeps its Service.
    pub(crate) service_suffix: &'static str,
    /// The label of the Services, as key and value.
    pub(crate) services: &'static str,
    /// The label of the EndpointSlices of the dispatcher's Service (contract 1.16).
    pub(crate) endpoint_slices: &'static str,
}
