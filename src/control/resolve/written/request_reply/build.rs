//! Builds one RequestReply, and the Trigger that brings it its replies.

use std::sync::Arc;
use std::time::Duration;

use super::trigger::{trigger_key, verification_expression};
use crate::control::read::kind::ResourceKind;
use crate::control::read::manifest::eventing::RequestReplySpec;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::delivery::WrittenDelivery;
use crate::control::resolve::destination::DestinationResolver;
use crate::control::resolve::destination::reference::{self, ReferencedKind};
use crate::control::resolve::keys::channel_key;
use crate::control::resolve::parent::ResolvedParents;
use crate::control::resolve::subscription::{self, ResolvedSubscription, SubscriptionResolver};
use crate::correlation::{CorrelationKey, KeyHolder, SECRET};
use crate::event::{CONTEXT_ATTRIBUTES, is_attribute_name, knative};
use crate::filter::Filter;
use crate::filter::cesql::{CesqlExpression, ExpressionNode};
use crate::model::{
    Addressable, ChannelKey, ChannelKind, DestinationRoute, DestinationUrl, NamespacedName,
    RequestReply, Subscription, parse_duration,
};

const CORRELATION_ATTRIBUTE: &str = "correlationid";
const REPLY_ATTRIBUTE: &str = "replyid";
/// The names that mean something else to CloudEvents or to Brokers, beside the context attributes.
const TAKEN: [&str; 3] = ["data", knative::BROKER_TTL, knative::ARRIVAL_TIME];

/// What a RequestReply becomes: itself, and the Trigger that brings its replies.
pub(super) struct BuiltRequestReply {
    pub(super) request_reply: RequestReply,
    pub(super) trigger: ResolvedSubscription,
}

/// Builds a RequestReply of this key; `None` if a part of it is missing, which is reported.
pub(super) fn build_request_reply(
    spec: &RequestReplySpec,
    key: &ChannelKey,
    resolver: &mut DestinationResolver<'_>,
    parents: &ResolvedParents,
    report: &mut ObjectReport<'_>,
) -> Option<BuiltRequestReply> {
    // All fields are checked before any `?`, so that every problem is reported at once.
    let timeout = resolve_timeout(spec, resolver.reply_timeout, report);
    let attributes = resolve_attributes(spec, report);
    let filter = reply_filter(&attributes.reply, key, resolver, report);
    let correlation_key = sealing_key(key, resolver, report);
    let broker = resolve_broker(spec, &SubscriptionResolver { resolver, parents }, report);
    let parent = broker.as_ref().and_then(|broker| parents.get(broker));
    let own = spec.delivery.as_ref().map(WrittenDelivery::own);
    let (delivery, dead_letter_sink) =
        subscription::resolve_delivery(resolver, own, parent, report);
    let sender = resolver
        .sender_rules
        .sender_account(ResourceKind::RequestReply, report);
    let trigger = Subscription {
        key: trigger_key(&NamespacedName::new(&key.namespace, &key.name)),
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
        correlation_attribute: attributes.correlation,
        reply_attribute: attributes.reply,
        timeout: timeout?,
        correlation_key: correlation_key?,
        authorization: rules.authorization(key),
        sender,
        broker_audience: rules.audience(&broker),
    };
    Some(BuiltRequestReply {
        request_reply,
        trigger: ResolvedSubscription {
            channel: broker,
            subscription: trigger,
        },
    })
}

/// The attributes of requests and of replies.
struct CorrelationAttributes {
    correlation: String,
    reply: String,
}

fn resolve_attributes(
    spec: &RequestReplySpec,
    report: &mut ObjectReport<'_>,
) -> CorrelationAttributes {
    let correlation = resolve_attribute(
        spec.correlation_attribute.as_deref(),
        CORRELATION_ATTRIBUTE,
        "spec.correlationAttribute",
        report,
    );
    let reply = resolve_attribute(
        spec.reply_attribute.as_deref(),
        REPLY_ATTRIBUTE,
        "spec.replyAttribute",
        report,
    );
    if correlation == reply {
        let rule = "is the correlationAttribute, too, so that each event would be its own reply: \
             write another one";
        report.error("spec.replyAttribute", rule);
    }
    CorrelationAttributes { correlation, reply }
}

/// The key that seals new ids, which is the last one by name; ids that other keys have sealed stay
/// valid.
fn sealing_key(
    key: &ChannelKey,
    resolver: &DestinationResolver<'_>,
    report: &mut ObjectReport<'_>,
) -> Option<CorrelationKey> {
    let (namespace, name) = (&key.namespace, &key.name);
    let holder = KeyHolder {
        secret: SECRET,
        namespace,
        name,
    };
    let sealing = resolver.key_ring.keys(holder).next_back().cloned();
    if sealing.is_none() {
        let rule = format!(
            "has no key {namespace}.{name}.… that can be used: correct what is there, or remove it"
        );
        report.unresolved_reference(
            "metadata.name",
            format!("the Secret {SECRET} of the system namespace {rule}"),
        );
    }
    sealing
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
        channel_key(ChannelKind::Broker, namespace, name),
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
    default: &str,
    field: &str,
    report: &mut ObjectReport<'_>,
) -> String {
    let name = written.filter(|name| !name.is_empty()).unwrap_or(default);
    if CONTEXT_ATTRIBUTES.contains(&name) || TAKEN.contains(&name) {
        report.error(
            field,
            format!("{name} means something else already: write another one, such as {default}"),
        );
    } else if !is_attribute_name(name) {
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
        &NamespacedName::new(&key.namespace, &key.name),
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
