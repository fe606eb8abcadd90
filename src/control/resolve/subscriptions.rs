//! Subscriptions and Triggers become subscriptions of their channels. After this there are no Triggers.

use std::collections::HashMap;
use std::sync::Arc;

use super::channels::ChannelDraft;
use super::delivery::{Delivery, merge};
use super::destination::At;
use super::{Broken, CHANNEL_KINDS, Findings, Resolver, spec, status};
use crate::control::manifest;
use crate::control::read::Raw;
use crate::filter::Filter;
use crate::model::{
    Addressable, ChannelKey, ChannelKind, Subscription, SubscriptionKey, SubscriptionKind, Target, TrustBundle,
};

/// Where a subscription belongs.
type Attached = (ChannelKey, Subscription);
/// What the subscriptions of each channel fall back to.
type Parents = HashMap<ChannelKey, Delivery>;

impl Resolver<'_> {
    /// Adds every subscription to its channel.
    pub(super) fn subscriptions(&mut self, mut drafts: Vec<ChannelDraft>) -> Vec<ChannelDraft> {
        let parents: Parents = drafts.iter().map(|draft| (draft.key.clone(), draft.delivery.clone())).collect();
        let places: HashMap<ChannelKey, usize> =
            drafts.iter().enumerate().map(|(index, draft)| (draft.key.clone(), index)).collect();
        for kind in ["Subscription", "Trigger"] {
            let raws: Vec<Arc<Raw>> = self.index.of_kind(kind).cloned().collect();
            for raw in raws {
                let (attached, broken) = self.with_fallback(&raw, |resolver, findings| match kind {
                    "Trigger" => resolver.trigger(&parents, findings),
                    _ => resolver.subscription(&parents, findings),
                });
                let mut resolved = status::Resolved::new(&raw, broken, status::Form::of(attached.as_ref()));
                if let Some((key, subscription)) = attached {
                    resolved.describe(&subscription);
                    let place = places.get(&key).and_then(|index| drafts.get_mut(*index));
                    place.into_iter().for_each(|draft| draft.subscriptions.push(Arc::new(subscription.clone())));
                }
                self.statuses.push(resolved);
            }
        }
        for draft in &mut drafts {
            self.own_subscribers(draft);
        }
        drafts
    }

    fn subscription(&mut self, parents: &Parents, findings: &mut Findings<'_>) -> Result<Attached, Broken> {
        let written: manifest::Subscription = spec::read(findings)?;
        let name = &findings.raw.name;
        let kind = written.channel.kind.as_deref().unwrap_or_default();
        if !CHANNEL_KINDS.contains(&kind) {
            return Err(findings
                .error("spec.channel.kind", format!("{kind:?} is not a channel: write Channel or InMemoryChannel")));
        }
        let namespace = written.channel.namespace.clone().unwrap_or_else(|| name.namespace.clone());
        let key = ChannelKey { kind: ChannelKind::Channel, namespace, name: written.channel.name.clone() };
        let parent = parent(parents, &key, "spec.channel", findings)?;
        let (subscriber, reply) = (present(written.subscriber), present(written.reply));
        if subscriber.is_none() && reply.is_none() {
            return Err(findings.error("spec.subscriber", "is missing: write subscriber, or reply, or both"));
        }
        let subscriber =
            subscriber.map(|written| self.destination(&written, "spec.subscriber", findings)).transpose()?;
        let reply = reply.map(|written| self.destination(&written, "spec.reply", findings)).transpose()?;
        let own = self.delivery(written.delivery.as_ref(), "spec.delivery", findings)?;
        let subscription = Subscription {
            filter: Filter::All,
            subscriber,
            reply,
            ..bare(SubscriptionKind::Subscription, findings.raw, merge(own, parent))
        };
        Ok((key.clone(), Subscription { namespace: key.namespace, ..subscription }))
    }

    fn trigger(&mut self, parents: &Parents, findings: &mut Findings<'_>) -> Result<Attached, Broken> {
        let written: manifest::Trigger = spec::read(findings)?;
        let namespace = findings.raw.name.namespace.clone();
        let (field, name) = match (&written.broker, &written.broker_ref) {
            (Some(broker), _) if !broker.is_empty() => ("spec.broker", broker.clone()),
            (_, Some(reference)) => ("spec.brokerRef", reference.name.clone()),
            _ => return Err(findings.error("spec.broker", "is missing: write the name of a Broker")),
        };
        let elsewhere = written
            .broker_ref
            .as_ref()
            .and_then(|reference| reference.namespace.as_ref())
            .filter(|other| **other != namespace);
        if elsewhere.is_some() {
            return Err(findings.error(
                "spec.brokerRef.namespace",
                "must be the Trigger's: a Broker of another namespace is not supported",
            ));
        }
        let key = ChannelKey { kind: ChannelKind::Broker, namespace, name };
        let parent = parent(parents, &key, field, findings)?;
        let filter = filter(&written, findings)?;
        let subscriber = self.destination(&written.subscriber, "spec.subscriber", findings)?;
        let own = self.delivery(written.delivery.as_ref(), "spec.delivery", findings)?;
        let reply = Addressable {
            url: self.addresses.preferred(&key),
            target: Target::Local(key.clone()),
            trust: Arc::new(TrustBundle::default()),
            audience: None,
        };
        let subscription = Subscription {
            filter,
            subscriber: Some(subscriber),
            reply: Some(reply),
            ..bare(SubscriptionKind::Trigger, findings.raw, merge(own, parent))
        };
        Ok((key, subscription))
    }

    /// The entries of a channel's own `spec.subscribers`; each stands for itself.
    fn own_subscribers(&mut self, draft: &mut ChannelDraft) {
        let raw = Arc::clone(&draft.raw);
        for (index, written) in std::mem::take(&mut draft.own_subscribers).into_iter().enumerate() {
            let mut findings = Findings { raw: &raw, problems: Vec::new() };
            let resolved = self.own_subscriber(&written, index, &draft.delivery, &mut findings);
            let usable = findings.broken().is_none();
            self.problems.append(&mut findings.problems);
            draft.subscriptions.extend(resolved.ok().filter(|_| usable).map(Arc::new));
        }
    }

    fn own_subscriber(
        &mut self,
        written: &manifest::Subscriber,
        index: usize,
        parent: &Delivery,
        findings: &mut Findings<'_>,
    ) -> Result<Subscription, Broken> {
        let field = format!("spec.subscribers.{index}");
        let name = written.uid.as_ref().or(written.name.as_ref()).cloned().unwrap_or_else(|| index.to_string());
        let (uri, ca) = (format!("{field}.subscriberUri"), format!("{field}.subscriberCACerts"));
        let ca_certs = At { text: written.subscriber_ca_certs.as_deref(), field: &ca };
        let audience = written.subscriber_audience.as_ref();
        let subscriber = match written.subscriber_uri.as_deref() {
            Some(text) => Some(self.resolved_destination(At { text, field: &uri }, ca_certs, audience, findings)?),
            None => None,
        };
        let (uri, ca) = (format!("{field}.replyUri"), format!("{field}.replyCACerts"));
        let ca_certs = At { text: written.reply_ca_certs.as_deref(), field: &ca };
        let audience = written.reply_audience.as_ref();
        let reply = match written.reply_uri.as_deref() {
            Some(text) => Some(self.resolved_destination(At { text, field: &uri }, ca_certs, audience, findings)?),
            None => None,
        };
        if subscriber.is_none() && reply.is_none() {
            return Err(findings.error(&field, "names nobody: write subscriberUri, or replyUri, or both"));
        }
        let own = self.delivery(written.delivery.as_ref(), &format!("{field}.delivery"), findings)?;
        let mut subscription = bare(SubscriptionKind::Subscriber, findings.raw, merge(own, parent));
        subscription.key.name = format!("{}/{name}", subscription.key.name);
        Ok(Subscription { subscriber, reply, ..subscription })
    }
}

fn bare(kind: SubscriptionKind, raw: &Raw, delivery: Delivery) -> Subscription {
    let (namespace, name) = (raw.name.namespace.clone(), raw.name.name.clone());
    Subscription {
        key: SubscriptionKey { kind, namespace: namespace.clone(), name },
        filter: Filter::All,
        subscriber: None,
        reply: None,
        dead_letter_sink: delivery.dead_letter_sink,
        delivery: delivery.spec,
        namespace,
    }
}

fn present(written: Option<manifest::Destination>) -> Option<manifest::Destination> {
    written.filter(|destination| destination.reference.is_some() || destination.uri.is_some())
}

fn parent<'p>(
    parents: &'p Parents,
    key: &ChannelKey,
    field: &str,
    findings: &mut Findings<'_>,
) -> Result<&'p Delivery, Broken> {
    parents.get(key).ok_or_else(|| {
        let message =
            format!("there is no usable {key}: add it, correct the name or namespace, or see its own problems");
        findings.error(field, message)
    })
}

/// A filter that is not understood lets nothing pass: the Trigger is not served (gaps.md G-48).
fn filter(written: &manifest::Trigger, findings: &mut Findings<'_>) -> Result<Filter, Broken> {
    if !written.filters.is_empty() {
        return Err(
            findings.error("spec.filters", "is not in this version: use filter.attributes; the Trigger gets nothing")
        );
    }
    let attributes = written.filter.as_ref().and_then(|filter| filter.attributes.as_ref());
    let Some(attributes) = attributes.filter(|attributes| !attributes.is_empty()) else { return Ok(Filter::All) };
    for name in attributes.keys() {
        if !is_attribute_name(name) {
            let message = format!("{name:?} is not an attribute name: write a-z, then a-z and 0-9");
            return Err(findings.error(&format!("spec.filter.attributes.{name}"), message));
        }
    }
    Ok(Filter::Attributes(attributes.iter().map(|(name, value)| (name.clone(), value.clone())).collect()))
}

/// What upstream's webhook lets in (data-plane.md TF-9).
fn is_attribute_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase()) && crate::event::is_name(name)
}
