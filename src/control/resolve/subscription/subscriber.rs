//! Entries of a channel's `spec.subscribers`.

use std::sync::Arc;

use super::{ResolvedSubscription, SubscriptionResolver, resolve_delivery, with_http_versions};
use crate::control::read::kind::ResourceKind;
use crate::control::read::manifest::messaging::SubscriberSpec;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::config::features;
use crate::control::resolve::delivery::WrittenDelivery;
use crate::control::resolve::destination::WrittenDestination;
use crate::filter::Filter;
use crate::model::{ChannelKey, EventTypeOwner, Subscription, SubscriptionKey, SubscriptionKind};

/// An entry of a channel's `spec.subscribers`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubscriberEntry<'e> {
    pub(crate) spec: &'e SubscriberSpec,
    /// Names the entry within its channel.
    pub(crate) id: &'e str,
    /// The place of the entry in the manifest.
    pub(crate) field: &'e str,
}

impl SubscriptionResolver<'_, '_> {
    /// Resolves an entry of a channel's `spec.subscribers`, whose delivery spec is complete already
    /// (contract 2.1).
    pub(crate) fn resolve_subscriber(
        &mut self,
        entry: SubscriberEntry<'_>,
        channel: &ChannelKey,
        report: &mut ObjectReport<'_>,
    ) -> Option<ResolvedSubscription> {
        let SubscriberEntry {
            spec: written,
            id,
            field,
        } = entry;
        let before = report.error_count();
        let (subscriber, reply) = (
            written_subscriber(written, field),
            written_reply(written, field),
        );
        if subscriber.is_none() && reply.is_none() {
            report.error(
                field,
                "has neither subscriberUri nor replyUri: give one of them",
            );
        }
        let subscriber =
            subscriber.map(|wanted| self.resolver.resolve_or_unresolved(&wanted, report));
        let reply = reply.map(|wanted| self.resolver.resolve_or_unresolved(&wanted, report));
        let delivery_field = format!("{field}.delivery");
        let own = written.delivery.as_ref().map(|spec| WrittenDelivery {
            field: &delivery_field,
            spec,
        });
        let (delivery, dead_letter_sink) = resolve_delivery(self.resolver, own, None, report);
        let account = written
            .auth
            .as_ref()
            .and_then(|auth| auth.service_account_name.as_deref());
        let auth_field = format!("{field}.auth.serviceAccountName");
        let sender = account.and_then(|name| {
            self.resolver
                .sender_rules
                .sender_account_named(name, &auth_field, report)
        });
        let subscription = Subscription {
            key: subscriber_key(channel, id),
            filter: Filter::MatchAll,
            subscriber,
            reply,
            dead_letter_sink,
            delivery,
            sender,
            event_types: self.reply_event_type_owner(written, channel),
            namespace: channel.namespace.clone(),
        };
        let versions = features::read_http_versions(report);
        let subscription = with_http_versions(subscription, versions);
        (report.error_count() == before).then(|| ResolvedSubscription {
            channel: channel.clone(),
            subscription,
        })
    }

    /// The owner of `EventType`s for the replies of a channel's subscriber; `None` if none are
    /// created (contract 8.3).
    fn reply_event_type_owner(
        &self,
        written: &SubscriberSpec,
        channel: &ChannelKey,
    ) -> Option<Arc<EventTypeOwner>> {
        self.resolver.sender_rules.event_type_owner(channel)?;
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Some(Arc::new(EventTypeOwner {
            api_version: ResourceKind::Subscription.api_version(),
            kind: ResourceKind::Subscription.as_str(),
            namespace: channel.namespace.clone(),
            name: text(&written.name)?,
            uid: text(&written.uid)?,
            address: None,
        }))
    }
}

/// The subscriber of an entry, as it is written.
fn written_subscriber<'w>(
    written: &'w SubscriberSpec,
    field: &str,
) -> Option<WrittenDestination<'w>> {
    let uri = written.subscriber_uri.as_deref()?;
    Some(WrittenDestination {
        ca_certs: written.subscriber_ca_certs.as_deref(),
        audience: written.subscriber_audience.as_deref(),
        ..WrittenDestination::from_uri(uri, format!("{field}.subscriber"))
    })
}

/// The reply address of an entry, as it is written.
fn written_reply<'w>(written: &'w SubscriberSpec, field: &str) -> Option<WrittenDestination<'w>> {
    let uri = written.reply_uri.as_deref()?;
    Some(WrittenDestination {
        ca_certs: written.reply_ca_certs.as_deref(),
        audience: written.reply_audience.as_deref(),
        ..WrittenDestination::from_uri(uri, format!("{field}.reply"))
    })
}

/// The key of a subscriber of a channel.
pub(crate) fn subscriber_key(channel: &ChannelKey, id: &str) -> SubscriptionKey {
    let name = format!("{}/{id}", channel.name);
    SubscriptionKey {
        kind: SubscriptionKind::Subscriber,
        namespace: channel.namespace.clone(),
        name,
    }
}
