//! Where the keys of the issuer of tokens are.

use crate::control::resolve::config::flags::FeatureFlags;
use crate::control::resolve::config::trust::DestinationTrust;
use crate::control::resolve::destination::uri;
use crate::control::settings::ControlSettings;
use crate::model::{Addressable, DestinationRoute, OidcDiscovery};

/// The place where the issuer publishes its keys.
pub(super) fn oidc_discovery(
    flags: &FeatureFlags,
    settings: &ControlSettings,
    trust: &DestinationTrust,
) -> OidcDiscovery {
    let Some(text) = &flags.discovery else {
        return OidcDiscovery::Cluster(trust.common());
    };
    let Ok(url) = uri::parse_absolute_url(text) else {
        return OidcDiscovery::Unavailable;
    };
    let overriding = settings
        .resolve_overrides
        .iter()
        .find(|overriding| overriding.matches(&url));
    let target = DestinationRoute::Remote {
        connect: overriding.map(|overriding| overriding.connect_to),
    };
    let trust = if url.scheme() == "https" {
        trust.common()
    } else {
        trust.none()
    };
    OidcDiscovery::BaseUrl(Addressable {
        url: url.into(),
        route: target,
        trust,
        audience: None,
    })
}
