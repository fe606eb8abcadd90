//! Records the metrics about the configuration in effect: its problems, the subscriptions of each
//! channel, and the expiry of certificates.

use std::sync::Arc;

use crate::control::{Resolution, Severity};
use crate::model::{Addressable, Channel, Subscription, SubscriptionKey};
use crate::telemetry::configuration_metrics::{ChannelMembership, MetricObjectName, TrustExpiry};
use crate::telemetry::counters::ProcessCounters;

/// Records a configuration that has come into effect.
pub(super) fn record_configuration(counters: &ProcessCounters, resolution: &Resolution) {
    let errors = count_problems(resolution, Severity::Error);
    let warnings = count_problems(resolution, Severity::Warning);
    let subscriptions = resolution
        .table
        .channels()
        .iter()
        .flat_map(|channel| &channel.subscriptions);
    let trust = subscriptions.flat_map(trust_expiries).collect();
    let members = resolution
        .table
        .channels()
        .iter()
        .flat_map(|channel| channel_memberships(channel))
        .collect();
    counters.update_configuration(|facts| {
        facts.errors = errors;
        facts.warnings = warnings;
        facts.trust_expiries = trust;
        facts.memberships = members;
    });
    counters.configurations.increment();
}

fn count_problems(resolution: &Resolution, severity: Severity) -> usize {
    let problems = resolution.problems.iter();
    problems
        .filter(|problem| problem.severity == severity)
        .count()
}

fn channel_memberships(channel: &Channel) -> impl Iterator<Item = ChannelMembership> {
    let key = &channel.key;
    let of = move || MetricObjectName {
        kind: key.kind.as_str(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    };
    channel
        .subscriptions
        .iter()
        .map(move |subscription| ChannelMembership {
            subscription: metric_object_name(&subscription.key),
            channel: of(),
        })
}

pub(super) fn metric_object_name(key: &SubscriptionKey) -> MetricObjectName {
    MetricObjectName {
        kind: key.kind.as_str(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

/// Returns the first expiry for each destination that has certificates of its own.
fn trust_expiries(subscription: &Arc<Subscription>) -> impl Iterator<Item = TrustExpiry> {
    let destinations = [
        ("subscriber", &subscription.subscriber),
        ("reply", &subscription.reply),
        ("dead_letter_sink", &subscription.dead_letter_sink),
    ];
    destinations
        .into_iter()
        .filter_map(move |(destination, to)| {
            let not_after = first_expiry(to.as_ref()?)?;
            Some(TrustExpiry {
                subscription: metric_object_name(&subscription.key),
                destination_role: destination,
                not_after,
            })
        })
}

fn first_expiry(to: &Addressable) -> Option<i64> {
    to.trust
        .certificates()
        .iter()
        .map(|certificate| certificate.not_after)
        .min()
}
