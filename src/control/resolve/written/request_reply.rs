//! Resolves RequestReplies, and the Trigger that brings each of them its replies (upstream's
//! `pkg/reconciler/requestreply`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::routes::{SubscriptionFallback, SubscriptionRoutes};
use crate::control::read::kind::ResourceKind;
use crate::control::read::manifest::eventing::{RequestReplyManifest as Written, RequestReplySpec};
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::{CollectedItem, CollectedItems, CollectedObjects};
use crate::control::resolve::destination::reference::{self, ReferencedKind};
use crate::control::resolve::destination::{DestinationResolver, ServingState, request_reply_key};
use crate::control::resolve::parent::ResolvedParents;
use crate::control::resolve::subscription::{self, ResolvedSubscription, SubscriptionResolver};
use crate::control::resolve::written::channel::declare::warn_of_shared_path;
use crate::correlation::{KeyHolder, SECRET};
use crate::filter::Filter;
use crate::filter::cesql::{CesqlExpression, ExpressionNode};
use crate::model::NamespacedName;
use crate::model::{
    Addressable, ChannelKey, ChannelKind, DestinationRoute, DestinationUrl, REPLY_INDEX,
    REPLY_REPLICAS, RequestReply, RoutingTable, Subscription, SubscriptionKey, SubscriptionKind,
    parse_duration,
};

/// The time that a request waits by default (`requestreply-default-timeout` of upstream's
/// `config-features`).
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const CORRELATION_ATTRIBUTE: &str = "correlationid";
const REPLY_ATTRIBUTE: &str = "replyid";
/// The attributes that have another meaning for CloudEvents or for Brokers.
const TAKEN: [&str; 11] = [
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "subject",
    "datacontenttype",
    "dataschema",
    "data",
    "knativebrokerttl",
    "knativearrivaltime",
];
/// Upstream's label of the Triggers that it generates.
const LABEL: &str = "eventing.knative.dev/RequestReply.name";
/// The longest name that upstream's `kmeta.ChildName` makes.
const LONGEST_NAME: usize = 63;

/// The RequestReplies of a resolution, and their Triggers.
#[derive(Debug, Default)]
pub(crate) struct ResolvedRequestReplies {
    /// The RequestReplies that are served.
    served: Vec<Arc<RequestReply>>,
    /// Their Triggers, each with what is served instead if it could not be resolved.
    triggers: Vec<(
        SubscriptionKey,
        Option<ResolvedSubscription>,
        SubscriptionFallback,
    )>,
}

/// Declares all RequestReplies, so that others can refer to them in any order.
pub(crate) fn declare_request_replies(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
) {
    let CollectedObjects {
        request_replies,
        brokers,
        channels,
        in_memory_channels,
        rabbitmq_channels,
        ..
    } = collected;
    for (name, item) in request_replies {
        resolver
            .serving_states
            .insert(request_reply_key(name), ServingState::Served);
        let is_channel = [&*channels, in_memory_channels, rabbitmq_channels]
            .iter()
            .any(|items| items.contains_key(name));
        let other = if is_channel {
            Some("channel")
        } else {
            brokers.contains_key(name).then_some("Broker")
        };
        if let Some(other) = other {
            warn_of_shared_path(&mut item.report, other);
        }
    }
}

/// Resolves the RequestReplies. One with problems keeps its form of `last`, but for its demands on
/// senders.
pub(crate) fn resolve(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
    parents: &ResolvedParents,
    last: Option<&RoutingTable>,
) -> ResolvedRequestReplies {
    let before: HashMap<&ChannelKey, &Arc<RequestReply>> = last
        .into_iter()
        .flat_map(RoutingTable::request_replies)
        .map(|request_reply| (&request_reply.key, request_reply))
        .collect();
    let mut made = ResolvedRequestReplies::default();
    let CollectedObjects {
        request_replies,
        triggers,
        ..
    } = collected;
    for (name, CollectedItem { object, report, .. }) in request_replies {
        let (key, trigger) = (request_reply_key(name), trigger_key(name));
        let written = triggers.get(&(trigger.namespace.clone(), trigger.name.clone()));
        if let Some(written) = written
            .filter(|written| labelled_request_reply(&written.report) != Some(name.1.as_str()))
        {
            let place = written.report.document().location_suffix();
            let message = format!(
                "the Trigger {}{place} has the name of this one's own: rename it",
                trigger.name
            );
            report.error("metadata.name", message);
        }
        let spec = object
            .as_ref()
            .map(|object| object.spec.clone().unwrap_or_default());
        let new = spec.and_then(|spec| {
            build_request_reply(&spec, (&key, &trigger), (resolver, parents), report)
        });
        let new = new.filter(|_| !report.has_errors());
        let fallback = SubscriptionFallback::from_report(report);
        let (request_reply, placed) = match new {
            Some((request_reply, placed)) => (Some(request_reply), Some(placed)),
            None => {
                let kept = before
                    .get(&key)
                    .filter(|_| fallback == SubscriptionFallback::LastForm);
                (
                    kept.filter(|kept| parents.contains_key(&kept.broker))
                        .map(|kept| keep_last_form(kept, resolver)),
                    None,
                )
            }
        };
        let place = if request_reply.is_some() {
            ServingState::Served
        } else {
            ServingState::Broken
        };
        resolver.serving_states.insert(key.clone(), place);
        made.triggers.push((trigger, placed, fallback));
        made.served
            .extend(request_reply.map(|request_reply| match before.get(&key) {
                Some(before) if ***before == request_reply => Arc::clone(before),
                _ => Arc::new(request_reply),
            }));
    }
    made
}

impl ResolvedRequestReplies {
    /// Puts the Triggers into their Brokers, and gives the RequestReplies that are served.
    pub(crate) fn place_triggers(
        self,
        routes: &mut SubscriptionRoutes,
        parents: &ResolvedParents,
    ) -> Vec<Arc<RequestReply>> {
        for (key, placed, fallback) in self.triggers {
            routes.place_subscription(key, placed, fallback, parents);
        }
        self.served
    }
}

/// The last form with the present demands on senders.
fn keep_last_form(before: &RequestReply, resolver: &DestinationResolver<'_>) -> RequestReply {
    let rules = &resolver.sender_rules;
    RequestReply {
        authorization: rules.authorization(&before.key),
        broker_audience: rules.audience(&before.broker),
        ..before.clone()
    }
}

fn build_request_reply(
    spec: &RequestReplySpec,
    (key, trigger): (&ChannelKey, &SubscriptionKey),
    (resolver, parents): (&mut DestinationResolver<'_>, &ResolvedParents),
    report: &mut ObjectReport<'_>,
) -> Option<(RequestReply, ResolvedSubscription)> {
    // All fields are checked before any `?`, so that every problem is reported at once.
    let timeout = resolve_timeout(spec, resolver.reply_timeout, report);
    let correlation_attribute = resolve_attribute(
        spec.correlation_attribute.as_deref(),
        (CORRELATION_ATTRIBUTE, "spec.correlationAttribute"),
        report,
    );
    let reply_attribute = resolve_attribute(
        spec.reply_attribute.as_deref(),
        (REPLY_ATTRIBUTE, "spec.replyAttribute"),
        report,
    );
    if correlation_attribute == reply_attribute {
        let rule = "is the correlationAttribute, too, so that each event would be its own reply: \
             write another one";
        report.error("spec.replyAttribute", rule);
    }
    let filter = reply_filter(&reply_attribute, key, resolver, report);
    // The last key by name seals new ids; ids that other keys have sealed stay valid.
    let holder = KeyHolder {
        secret: SECRET,
        namespace: &key.namespace,
        name: &key.name,
    };
    let sealing = resolver.key_ring.keys(holder).next_back().cloned();
    if sealing.is_none() {
        let (namespace, name) = (&key.namespace, &key.name);
        let rule = format!(
            "has no key {namespace}.{name}.… that can be used: correct what is there, or remove it"
        );
        report.unresolved_reference(
            "metadata.name",
            format!("the Secret {SECRET} of the system namespace {rule}"),
        );
    }
    let broker = resolve_broker(spec, &SubscriptionResolver { resolver, parents }, report);
    let parent = broker.as_ref().and_then(|broker| parents.get(broker));
    let own = spec.delivery.as_ref().map(|own| ("spec.delivery", own));
    let (delivery, dead_letter_sink) =
        subscription::resolve_delivery(resolver, own, parent, report);
    let sender = resolver
        .sender_rules
        .sender_account(ResourceKind::RequestReply, report);
    let subscription = Subscription {
        key: trigger.clone(),
        filter: filter?,
        subscriber: Some(reply_addressable(key, resolver)?),
        reply: None,
        dead_letter_sink,
        delivery,
        sender: None,
        event_types: None,
        namespace: key.namespace.clone(),
    };
    // From here on, a missing part has been reported, and there is no RequestReply.
    let broker = broker?;
    let rules = &resolver.sender_rules;
    let request_reply = RequestReply {
        key: key.clone(),
        broker: broker.clone(),
        correlation_attribute,
        reply_attribute,
        timeout: timeout?,
        correlation_key: sealing?,
        authorization: rules.authorization(key),
        sender,
        broker_audience: rules.audience(&broker),
    };
    Some((request_reply, (broker, subscription)))
}

fn resolve_broker(
    spec: &RequestReplySpec,
    maker: &SubscriptionResolver<'_, '_>,
    report: &mut ObjectReport<'_>,
) -> Option<ChannelKey> {
    let Some(reference) = &spec.broker_ref else {
        report.error(
            "spec.brokerRef",
            "is missing: give apiVersion, kind and name of the Broker",
        );
        return None;
    };
    if reference
        .namespace
        .as_deref()
        .is_some_and(|namespace| !namespace.is_empty())
    {
        let rule = "has no place here: a RequestReply sends to a Broker of its own namespace";
        report.error("spec.brokerRef.namespace", rule);
    }
    if reference::referenced_kind(reference, "spec.brokerRef", report)?
        != ReferencedKind::Known(ResourceKind::Broker)
    {
        let kind = reference.kind.as_deref().unwrap_or_default();
        report.error(
            "spec.brokerRef.kind",
            format!("{kind} is no Broker: write Broker"),
        );
        return None;
    }
    let Some(name) = reference.name.clone().filter(|name| !name.is_empty()) else {
        report.error("spec.brokerRef.name", "is missing: name the Broker");
        return None;
    };
    let namespace = report.object().namespace.clone();
    maker.require_served(
        ChannelKey {
            kind: ChannelKind::Broker,
            namespace,
            name,
        },
        "spec.brokerRef",
        report,
    )
}

/// The time of `spec.timeout`, else the default of `config-features`.
fn resolve_timeout(
    spec: &RequestReplySpec,
    default: Duration,
    report: &mut ObjectReport<'_>,
) -> Option<Duration> {
    let Some(text) = spec.timeout.as_deref().filter(|text| !text.is_empty()) else {
        return Some(default);
    };
    match parse_duration(text) {
        Ok(timeout) if timeout.is_zero() => {
            report.error(
                "spec.timeout",
                "is zero, so that no reply could come in time: write for example PT30S",
            );
            None
        }
        Ok(timeout) => Some(timeout),
        Err(remedy) => {
            report.error("spec.timeout", format!("{text:?} {remedy}"));
            None
        }
    }
}

/// The name of an attribute, which must have no other meaning.
fn resolve_attribute(
    written: Option<&str>,
    (default, field): (&str, &str),
    report: &mut ObjectReport<'_>,
) -> String {
    let name = written.filter(|name| !name.is_empty()).unwrap_or(default);
    if TAKEN.contains(&name) {
        report.error(
            field,
            format!("{name} means something else already: write another one, such as {default}"),
        );
    } else if !crate::event::is_attribute_name(name) {
        report.error(
            field,
            format!("{name:?} is not the name of an attribute: use a-z and 0-9"),
        );
    }
    name.to_owned()
}

/// The filter of the Trigger: it lets replies with a genuine id pass.
fn reply_filter(
    attribute: &str,
    key: &ChannelKey,
    resolver: &DestinationResolver<'_>,
    report: &mut ObjectReport<'_>,
) -> Option<Filter> {
    let expression = CesqlExpression::parse(&verification_expression(
        attribute,
        &(key.namespace.clone(), key.name.clone()),
    ));
    let expression = expression.ok().filter(|expression| {
        let asked = expression.correlation_calls();
        matches!(asked.first().and_then(|arguments| arguments.first()), Some(ExpressionNode::Attribute(name)) if name == attribute)
    });
    if expression.is_none() && !report.has_errors() {
        let rule =
            "is a word of CESQL, so that no filter can name this attribute: write another one";
        report.error("spec.replyAttribute", format!("{attribute:?} {rule}"));
    }
    // Most events of a Broker are no replies: they are dropped before the expression could fail.
    let is_reply = Filter::Attributes(vec![(attribute.to_owned(), String::new())]);
    Some(Filter::All(vec![
        is_reply,
        Filter::Cesql(expression?, Some(Arc::clone(&resolver.key_ring))),
    ]))
}

/// The expression of the Trigger's filter, as upstream writes it.
fn verification_expression(attribute: &str, (namespace, name): &NamespacedName) -> String {
    format!(
        "KN_VERIFY_CORRELATION_ID({attribute}, \"{name}\", \"{namespace}\", \"{SECRET}\", \
         {REPLY_INDEX}, {REPLY_REPLICAS})"
    )
}

/// The destination of the Trigger: the sender whose request waits at the RequestReply.
fn reply_addressable(key: &ChannelKey, resolver: &DestinationResolver<'_>) -> Option<Addressable> {
    let mut url = resolver.addresses.preferred_url(key)?;
    url.set_path(&format!("{}/reply", url.path()));
    let (url, target) = (
        DestinationUrl::from(url),
        DestinationRoute::WaitingRequest(key.clone()),
    );
    Some(Addressable {
        url,
        route: target,
        trust: resolver.trust.none(),
        audience: None,
    })
}

/// The RequestReply that upstream generated a Trigger for; `None` if it generated none.
fn labelled_request_reply<'d>(report: &ObjectReport<'d>) -> Option<&'d str> {
    report.document().text(&["metadata", "labels", LABEL])
}

/// True if upstream generated this Trigger for one of these RequestReplies, each of which has a
/// Trigger of its own here; a note says so.
pub(crate) fn replaces_upstream_trigger(
    report: &mut ObjectReport<'_>,
    request_replies: &CollectedItems<'_, Written>,
) -> bool {
    let Some(name) = labelled_request_reply(report) else {
        return false;
    };
    if !request_replies.contains_key(&(report.object().namespace.clone(), name.to_owned())) {
        return false;
    }
    let message = format!(
        "was made for the RequestReply {name}, which has one of its own here: it is left alone"
    );
    report.note(&format!("metadata.labels.{LABEL}"), message);
    true
}

/// The Trigger of a RequestReply, as upstream's controller would write it.
pub(crate) fn trigger_object(request_reply: &RequestReply, made: &Subscription) -> Value {
    let ChannelKey {
        namespace, name, ..
    } = &request_reply.key;
    let cesql = verification_expression(
        &request_reply.reply_attribute,
        &(namespace.clone(), name.clone()),
    );
    let subscriber = made
        .subscriber
        .as_ref()
        .map_or("", |subscriber| subscriber.url.as_written());
    json!({
        "apiVersion": ResourceKind::Trigger.api_version(),
        "kind": ResourceKind::Trigger.as_str(),
        "metadata": { "name": made.key.name, "namespace": namespace, "labels": { LABEL: name } },
        "spec": {
            "broker": request_reply.broker.name,
            "filters": [{ "cesql": cesql }],
            "subscriber": { "uri": subscriber },
        },
    })
}

/// The key of the Trigger of a RequestReply.
pub(crate) fn trigger_key((namespace, name): &NamespacedName) -> SubscriptionKey {
    let name = child_name(name, &format!("{REPLY_INDEX}-{REPLY_REPLICAS}"));
    SubscriptionKey {
        kind: SubscriptionKind::Trigger,
        namespace: namespace.clone(),
        name,
    }
}

/// The name of a generated object as upstream makes it (`kmeta.ChildName`), for suffixes that leave
/// room for a hash.
fn child_name(parent: &str, suffix: &str) -> String {
    if parent.len() + suffix.len() <= LONGEST_NAME {
        return format!("{parent}{suffix}");
    }
    let hash = Md5::digest(parent.as_bytes());
    let head = LONGEST_NAME.saturating_sub(2 * hash.len() + suffix.len());
    format!("{}{hash:x}{suffix}", parent.get(..head).unwrap_or(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second name is what Go's `kmeta.ChildName` makes.
    #[test]
    fn children_are_named_as_upstream_names_them() {
        assert_eq!(child_name("rr", "0-1"), "rr0-1");
        let long = "a".repeat(70);
        let name = child_name(&long, "0-1");
        assert_eq!(name.len(), LONGEST_NAME);
        assert_eq!(
            name,
            format!("{}{:x}0-1", "a".repeat(28), Md5::digest(long.as_bytes()))
        );
    }
}
