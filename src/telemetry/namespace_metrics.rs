//! Metrics about the limits of namespaces: what each takes, what it may take, and what was refused.

use super::data_point::{MetricLabel, MetricValue, float};
use super::metric_family::MetricFamily;
use crate::budget::{MemoryBudget, NamespaceUsage};

/// Makes the families of all namespaces that have channels or queues; they have no data points, and
/// so are not exposed, where namespaces have no limits.
pub(super) fn namespace_families(budget: &MemoryBudget) -> [MetricFamily<'static>; 7] {
    let mut families = [
        (
            "sealpost_namespace_buffered_bytes",
            "What the events of a namespace hold in memory now",
        ),
        (
            "sealpost_namespace_buffered_bytes_limit",
            "What the events of a namespace may hold",
        ),
        (
            "sealpost_namespace_queued",
            "Unfinished events in the queues of a namespace",
        ),
        (
            "sealpost_namespace_queue_capacity",
            "Unfinished events that they may hold",
        ),
        (
            "sealpost_namespace_rate_used_ratio",
            "Part of the events of a second that is used up",
        ),
        (
            "sealpost_namespace_rate_limit",
            "Events in a second that may be sent to a namespace",
        ),
        (
            "sealpost_namespace_refused",
            "Requests that a limit of a namespace did not let pass",
        ),
    ]
    .map(|(name, help)| MetricFamily::new(name, help));
    for usage in budget.namespaces() {
        add_usage(&mut families, &usage);
    }
    families
}

fn add_usage(families: &mut [MetricFamily<'static>; 7], usage: &NamespaceUsage) {
    let [
        bytes,
        bytes_limit,
        queued,
        capacity,
        rate,
        rate_limit,
        refused,
    ] = families;
    let label =
        || -> MetricLabel<'static> { ("event_namespace", usage.namespace.to_string().into()) };
    let gauge = |family: &mut MetricFamily<'static>, value: Option<f64>| {
        if let Some(value) = value {
            family.push_point(&[label()], MetricValue::Gauge(value));
        }
    };
    let count = |count: usize| float(count as u64);
    let limit = usage.limit;
    gauge(bytes, Some(count(usage.buffered_bytes)));
    gauge(bytes_limit, limit.buffered_bytes.map(count));
    gauge(queued, Some(count(usage.queued)));
    gauge(capacity, limit.queue_capacity.map(count));
    gauge(rate, limit.rate.map(|_| usage.rate_used));
    let per_second = |interval: std::time::Duration| interval.as_secs_f64().recip();
    gauge(
        rate_limit,
        limit.rate.map(|rate| per_second(rate.interval())),
    );
    for (kind, requests) in usage.refused {
        let labels = [label(), ("limit", kind.label().into())];
        refused.push_point(&labels, MetricValue::Sum(requests));
    }
}
