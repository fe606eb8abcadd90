//! Metrics about the configuration in effect: its problems, the channel of each subscription, the
//! objects that are not served now, and the expiry of certificates.

use std::sync::Arc;

use super::data_point::{MetricLabel, MetricValue, float};
use super::metric_family::MetricFamily;
use super::namespace_metrics::namespace_families;
use crate::budget::MemoryBudget;

/// The metrics about a configuration, before they are made into families.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigurationMetrics {
    /// The number of its errors.
    pub errors: usize,
    /// The number of its warnings.
    pub warnings: usize,
    /// The number of errors of the limits of namespaces.
    pub limit_errors: usize,
    /// The expiry of the server's certificate, in seconds since the epoch.
    pub server_certificate_not_after: Option<i64>,
    /// The first expiry among the certificates by which each destination is verified.
    pub trust_expiries: Vec<TrustExpiry>,
    /// All subscriptions, each with its channel or broker.
    pub memberships: Vec<ChannelMembership>,
    /// The memory budget of events, with its limit and its use.
    pub budget: Option<Arc<MemoryBudget>>,
    /// The objects that are not served now; `None` where every object is served always.
    pub unserved: Option<UnservedObjects>,
}

/// Objects that are configured and not served at the moment, since their queues cannot be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnservedObjects {
    /// The number of channels and brokers.
    pub channels: usize,
    /// The subscriptions and triggers, by name.
    pub subscriptions: Vec<MetricObjectName>,
}

/// The name of an object, as the labels of metrics have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricObjectName {
    /// The kind, in lower case.
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
}

/// A subscription and the channel or broker that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChannelMembership {
    /// The name of the subscription or trigger.
    pub subscription: MetricObjectName,
    /// The name of the channel or broker.
    pub channel: MetricObjectName,
}

/// The first expiry among the certificates by which a destination is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustExpiry {
    /// The subscription that the destination belongs to.
    pub subscription: MetricObjectName,
    /// The role of the destination: `subscriber`, `reply` or `dead_letter_sink`.
    pub destination_role: &'static str,
    /// The expiry, in seconds since the epoch.
    pub not_after: i64,
}

impl ConfigurationMetrics {
    /// Makes metric families of these metrics; a family without data points is not exposed.
    #[must_use]
    pub(crate) fn into_families(self) -> Vec<MetricFamily<'static>> {
        let limits = self.budget.as_deref().map(namespace_families);
        let [channels, subscriptions] = unserved_families(self.unserved);
        let [held, limit] = budget_families(self.budget.as_deref());
        let families = [
            problem_family(self.errors + self.limit_errors, self.warnings),
            expiry_family(self.server_certificate_not_after, self.trust_expiries),
            membership_family(self.memberships),
            channels,
            subscriptions,
            held,
            limit,
        ];
        let families = families.into_iter();
        families.chain(limits.into_iter().flatten()).collect()
    }
}

fn problem_family(errors: usize, warnings: usize) -> MetricFamily<'static> {
    let mut problems = MetricFamily::new(
        "sealpost_configuration_problems",
        "Problems of the configuration in effect",
    );
    for (severity, count) in [("error", errors), ("warning", warnings)] {
        problems.push_point(
            &[("severity", severity.into())],
            MetricValue::Gauge(float(count as u64)),
        );
    }
    problems
}

/// Makes the family of the expiries of certificates: that of the server, and those by which
/// destinations are verified.
fn expiry_family(server: Option<i64>, trusted: Vec<TrustExpiry>) -> MetricFamily<'static> {
    let mut expiries = MetricFamily::new(
        "sealpost_certificate_expiration_timestamp_seconds",
        "When a certificate ends; of those that verify a destination, the first one",
    );
    let seconds = |at: i64| MetricValue::Gauge(float(u64::try_from(at).unwrap_or(0)));
    if let Some(at) = server {
        expiries.push_point(&[("use", "server".into())], seconds(at));
    }
    for expiry in trusted {
        let [kind, namespace, name] = object_labels(SUBSCRIPTION, expiry.subscription);
        expiries.push_point(
            &[
                ("use", expiry.destination_role.into()),
                kind,
                namespace,
                name,
            ],
            seconds(expiry.not_after),
        );
    }
    expiries
}

const SUBSCRIPTION: [&str; 3] = [
    "subscription_kind",
    "subscription_namespace",
    "subscription_name",
];
const CHANNEL: [&str; 3] = ["channel_kind", "channel_namespace", "channel_name"];

fn object_labels(
    [kind, namespace, name]: [&'static str; 3],
    object: MetricObjectName,
) -> [MetricLabel<'static>; 3] {
    [
        (kind, object.kind.into()),
        (namespace, object.namespace.into()),
        (name, object.name.into()),
    ]
}

/// Makes the two families of objects that are not served: the number of channels, which is there
/// even if it is 0, and 1 for each subscription.
fn unserved_families(unserved: Option<UnservedObjects>) -> [MetricFamily<'static>; 2] {
    let mut channels = MetricFamily::new(
        "sealpost_channels_unserved",
        "Channels and brokers that are not served now",
    );
    let mut each = MetricFamily::new(
        "sealpost_subscription_unserved",
        "1 for a subscription that is not served now",
    );
    if let Some(UnservedObjects {
        channels: count,
        subscriptions,
    }) = unserved
    {
        channels.push_point(&[], MetricValue::Gauge(float(count as u64)));
        for subscription in subscriptions {
            each.push_point(
                &object_labels(SUBSCRIPTION, subscription),
                MetricValue::Gauge(1.0),
            );
        }
    }
    [channels, each]
}

fn budget_families(budget: Option<&MemoryBudget>) -> [MetricFamily<'static>; 2] {
    let mut held = MetricFamily::new("sealpost_buffered_bytes", "What events hold in memory now");
    let mut limit = MetricFamily::new(
        "sealpost_buffered_bytes_limit",
        "What events may hold in memory",
    );
    if let Some(budget) = budget {
        held.push_point(&[], MetricValue::Gauge(float(budget.used() as u64)));
        limit.push_point(&[], MetricValue::Gauge(float(budget.limit() as u64)));
    }
    [held, limit]
}

/// Makes the family that joins subscriptions to channels. Its value is always 1: it is there to be
/// joined with what is counted by subscription.
fn membership_family(members: Vec<ChannelMembership>) -> MetricFamily<'static> {
    let mut family = MetricFamily::new(
        "sealpost_subscription_info",
        "Which channel or broker a subscription belongs to",
    );
    for ChannelMembership {
        subscription,
        channel,
    } in members
    {
        let [a, b, c] = object_labels(SUBSCRIPTION, subscription);
        let [d, e, f] = object_labels(CHANNEL, channel);
        family.push_point(&[a, b, c, d, e, f], MetricValue::Gauge(1.0));
    }
    family
}
