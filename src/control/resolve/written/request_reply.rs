//! Resolves RequestReplies, and the Trigger that brings each of them its replies (upstream's
//! `pkg/reconciler/requestreply`).

mod build;
pub(super) mod trigger;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::channel::declare::warn_of_shared_path;
use super::routes::{SubscriptionFallback, SubscriptionRoutes};
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::{CollectedItem, CollectedObjects};
use crate::control::resolve::destination::{DestinationResolver, ServingState, request_reply_key};
use crate::control::resolve::parent::ResolvedParents;
use crate::control::resolve::reuse::reuse_if_equal;
use crate::control::resolve::subscription::ResolvedSubscription;
use crate::model::{ChannelKey, NamespacedName, RequestReply, RoutingTable, SubscriptionKey};
use build::build_request_reply;
use trigger::{labelled_request_reply, trigger_key};

/// The time that a request waits by default (`requestreply-default-timeout` of upstream's
/// `config-features`).
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
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
        disk_channels,
        ..
    } = collected;
    for (name, item) in request_replies {
        resolver
            .serving_states
            .insert(request_reply_key(name), ServingState::Served);
        let is_channel = [
            &*channels,
            in_memory_channels,
            rabbitmq_channels,
            disk_channels,
        ]
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
    let mut resolved = ResolvedRequestReplies::default();
    let CollectedObjects {
        request_replies,
        triggers,
        ..
    } = collected;
    for (name, CollectedItem { object, report, .. }) in request_replies {
        let (key, trigger) = (request_reply_key(name), trigger_key(name));
        let written = triggers.get(&NamespacedName::new(&trigger.namespace, &trigger.name));
        if let Some(written) = written {
            report_taken_name(&written.report, &trigger, report);
        }
        let built = object.as_ref().and_then(|object| {
            let spec = object.spec.clone().unwrap_or_default();
            build_request_reply(&spec, &key, resolver, parents, report)
        });
        let fallback = SubscriptionFallback::from_report(report);
        let before = before.get(&key).copied();
        let (request_reply, placed) = match built.filter(|_| !report.has_errors()) {
            Some(built) => (Some(built.request_reply), Some(built.trigger)),
            None => {
                let kept = before.filter(|before| {
                    fallback == SubscriptionFallback::LastForm
                        && parents.contains_key(&before.broker)
                });
                (kept.map(|kept| keep_last_form(kept, resolver)), None)
            }
        };
        let state = if request_reply.is_some() {
            ServingState::Served
        } else {
            ServingState::Broken
        };
        resolver.serving_states.insert(key, state);
        resolved.triggers.push((trigger, placed, fallback));
        resolved
            .served
            .extend(request_reply.map(|request_reply| reuse_if_equal(before, request_reply)));
    }
    resolved
}

/// Reports a Trigger that has the name of a RequestReply's own, and was not made for it.
fn report_taken_name(
    written: &ObjectReport<'_>,
    trigger: &SubscriptionKey,
    report: &mut ObjectReport<'_>,
) {
    if labelled_request_reply(written) == Some(report.object().name.as_str()) {
        return;
    }
    let place = written.document().location_suffix();
    let message = format!(
        "the Trigger {}{place} has the name of this one's own: rename it",
        trigger.name
    );
    report.error("metadata.name", message);
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
