//! The watches of the role `controller` (contract 11.8).

use crate::control::cluster::watch::rows::{WatchNeed, WatchRow, WatchSelector};
use crate::control::read::kind::ResourceKind;
use crate::control::settings::ControlSettings;

/// The watches of the role `controller` (contract 11.8), in the order of their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ControllerWatch {
    /// The channels of all namespaces.
    Channels,
    /// The EventPolicies of all namespaces.
    Policies,
    /// The Services of channels.
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
    pub(super) const CONFIGURATION: [Self; 3] = [Self::Features, Self::Logging, Self::Secret];

    /// The index of the watch's row, which is its index in the store, too.
    pub(super) fn index(self) -> usize {
        Self::ALL
            .iter()
            .position(|of| *of == self)
            .unwrap_or_default()
    }
}

/// The watches of the role `controller`.
pub(super) fn controller_rows(settings: &ControlSettings) -> Vec<WatchRow> {
    let row = |of: ControllerWatch| of.row(settings);
    ControllerWatch::ALL.into_iter().map(row).collect()
}

impl ControllerWatch {
    fn row(self, settings: &ControlSettings) -> WatchRow {
        let all = |kind, selector, need| WatchRow {
            kind,
            namespace: None,
            selector,
            need,
        };
        let config_map = |name| WatchRow::named(settings, ResourceKind::ConfigMap, name);
        let labelled = WatchSelector::Labelled;
        let channels = settings.task.channel_kind();
        let names = channels.controller_names();
        match self {
            Self::Channels => all(
                channels.resource_kind(),
                WatchSelector::All,
                WatchNeed::Always,
            ),
            Self::Policies => all(
                ResourceKind::EventPolicy,
                WatchSelector::All,
                WatchNeed::WithOidc,
            ),
            Self::Services => all(
                ResourceKind::Service,
                labelled(names.services),
                WatchNeed::Always,
            ),
            Self::Endpoints => WatchRow {
                namespace: Some(settings.system_namespace.clone()),
                ..all(
                    ResourceKind::EndpointSlice,
                    labelled(names.endpoint_slices),
                    WatchNeed::Always,
                )
            },
            Self::Features => config_map("config-features").needed_always(),
            Self::Logging => config_map(&settings.config_logging),
            Self::Secret => {
                let secret = channels.tls_secret();
                WatchRow::named(settings, ResourceKind::Secret, secret)
            }
        }
    }
}
