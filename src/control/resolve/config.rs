//! The settings for all objects, of ConfigMaps and Secrets: Knative's `config-*`, certificates,
//! trust bundles and keys. They are resolved before any object, since they decide how each is read.

pub(crate) mod backends;
pub(super) mod certificate;
pub(super) mod defaults;
pub(super) mod features;
pub(super) mod flags;
pub(super) mod key_ring;
pub(super) mod logging;
mod misplaced;
pub(super) mod observability;
mod system_namespace;
pub(super) mod trust;
mod yaml_key;

use std::sync::Arc;

use super::collect::CollectedObjects;
use super::reuse::reuse_if_equal;
use crate::control::settings::{AdvertisedCaCerts, ControlSettings};
use crate::correlation::KeyRing;
use crate::model::{ObservabilityConfig, TransportEncryption};
use backends::ImcBackendConfig;
use certificate::ServerCertificate;
use defaults::ResolvedDefaults;
use flags::FeatureFlags;
use trust::BundlesByName;

/// The settings for all objects, each in its last good form if it has problems.
#[derive(Clone, Debug)]
pub(super) struct ClusterConfig {
    /// `transport-encryption` of `config-features`.
    pub(super) mode: TransportEncryption,
    pub(super) flags: FeatureFlags,
    /// The server certificate of the TLS Secrets; `None` if there is none, or flags give one.
    pub(super) certificate: Option<ServerCertificate>,
    pub(super) trust_bundles: BundlesByName,
    /// The keys for correlation ids.
    pub(super) key_ring: Arc<KeyRing>,
    pub(super) defaults: ResolvedDefaults,
    /// The level of logs that `config-logging` asks for; `None` if it asks for none.
    pub(super) log_level: Option<&'static str>,
    pub(super) observability: ObservabilityConfig,
    pub(super) backends: ImcBackendConfig,
}

impl ClusterConfig {
    pub(super) fn resolve(
        collected: &mut CollectedObjects<'_>,
        settings: &ControlSettings,
        last: Option<&Self>,
    ) -> Self {
        // What is nearly one of the Secrets and ConfigMaps that follow is told of before they are
        // read.
        misplaced::warn(collected, settings);
        // Both read `config-features`, whose problems are reported in this order.
        let mode = features::transport_encryption(collected, settings, last.map(|last| last.mode));
        let flags = flags::resolve(collected, settings, last.map(|last| &last.flags));
        let certificate = server_certificate(collected, settings, last);
        let trust_bundles = trust::read_trust_bundles(
            &mut collected.config_maps,
            settings,
            last.map(|last| &last.trust_bundles),
        );
        // The keys stay the same value, so that RequestReplies that use them stay equal.
        let key_ring = reuse_if_equal(
            last.map(|last| &last.key_ring),
            key_ring::resolve_key_ring(collected, settings),
        );
        let defaults =
            ResolvedDefaults::resolve(collected, settings, last.map(|last| &last.defaults));
        let log_level = logging::log_level(
            &mut collected.config_maps,
            settings,
            last.and_then(|last| last.log_level),
        );
        Self {
            mode,
            flags,
            certificate,
            trust_bundles,
            key_ring,
            defaults,
            log_level,
            observability: observability::resolve(
                &mut collected.config_maps,
                settings,
                last.map(|last| &last.observability),
            ),
            backends: ImcBackendConfig::resolve(
                collected,
                settings,
                last.map(|last| &last.backends),
            ),
        }
    }

    /// The CA (PEM) that https addresses advertise.
    pub(super) fn advertised_ca_certs(&self, settings: &ControlSettings) -> Option<String> {
        certificate::advertised_ca_certs(&settings.ca_certs, self.certificate.as_ref())
    }
}

/// The server certificate of the TLS Secrets; `None` if another one is given by flags.
fn server_certificate(
    collected: &mut CollectedObjects<'_>,
    settings: &ControlSettings,
    last: Option<&ClusterConfig>,
) -> Option<ServerCertificate> {
    let last = last.and_then(|last| last.certificate.as_ref());
    match &settings.ca_certs {
        AdvertisedCaCerts::Given(_) => None,
        AdvertisedCaCerts::Unknown | AdvertisedCaCerts::Development(_) => {
            certificate::resolve(&mut collected.secrets, settings, last)
        }
    }
}
