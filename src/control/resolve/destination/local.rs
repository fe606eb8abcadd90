//! What is served in this process: references to it, and URLs that mean it.

use super::{DestinationResolver, ResolvedUrl, WrittenDestination};
use crate::control::read::report::ObjectReport;
use crate::model::{ChannelKey, DestinationRoute, DestinationUrl};

impl DestinationResolver<'_> {
    /// The address of a channel, Broker or RequestReply, inside this process or in the cluster.
    pub(crate) fn resolve_local(
        &self,
        key: ChannelKey,
        wanted: &WrittenDestination<'_>,
        report: &mut ObjectReport<'_>,
    ) -> Option<ResolvedUrl> {
        if self.settings.task.relays() {
            return Some(self.resolve_url(
                self.addresses.preferred_url(&key)?.into(),
                &format!("{}.ref", wanted.field),
                report,
            ));
        }
        if let Err(message) = self.check_served(&key) {
            let field = format!("{}.ref", wanted.field);
            match self.is_left_alone(&key) {
                true => report
                    .warn_not_served(&field, format!("{message}: what is sent to it fails here")),
                false => report.unresolved_reference(&field, message),
            }
            return None;
        }
        if wanted.uri.is_some() {
            report.warning(
                &wanted.uri_field,
                format!("has no meaning beside a reference to {key}: it is ignored"),
            );
        }
        Some(ResolvedUrl {
            url: self.addresses.preferred_url(&key)?.into(),
            route: DestinationRoute::Local(key),
        })
    }

    /// Whether a URL is the address of something that this process serves.
    pub(crate) fn is_served_at(&self, url: &DestinationUrl) -> bool {
        self.settings.task.serves_manifests()
            && self
                .addresses
                .channel_key_of_url(url)
                .is_some_and(|key| self.check_served(&key).is_ok())
    }

    /// The route to a URL: by an override, inside this process, or by its host name.
    pub(crate) fn resolve_url(
        &self,
        url: DestinationUrl,
        field: &str,
        report: &mut ObjectReport<'_>,
    ) -> ResolvedUrl {
        let overriding = self
            .settings
            .resolve_overrides
            .iter()
            .find(|overriding| overriding.matches(&url));
        if let Some(overriding) = overriding {
            let connect = Some(overriding.connect_to);
            return ResolvedUrl {
                url,
                route: DestinationRoute::Remote { connect },
            };
        }
        let by_host_name = DestinationRoute::Remote { connect: None };
        let route = match self.addresses.channel_key_of_url(&url) {
            Some(_) if !self.settings.task.serves_manifests() => by_host_name,
            Some(key) if self.check_served(&key).is_ok() => DestinationRoute::Local(key),
            Some(key) => {
                report.warning(
                    field,
                    format!("is the address of {key}, which is not served here"),
                );
                by_host_name
            }
            None => by_host_name,
        };
        ResolvedUrl { url, route }
    }
}
