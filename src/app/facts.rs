//! What numbers tell of the configuration in effect: its problems, and when certificates end.

use std::sync::Arc;

use crate::control::{Resolution, Severity};
use crate::model::{Addressable, Subscription};
use crate::telemetry::counters::Counters;
use crate::telemetry::facts::TrustEnd;

/// Notes a configuration that has come into effect.
pub(super) fn note(counters: &Counters, resolution: &Resolution) {
    let of = |severity: Severity| resolution.problems.iter().filter(|problem| problem.severity == severity).count();
    let problems = (of(Severity::Error), of(Severity::Warning));
    let subscriptions = resolution.table.channels().iter().flat_map(|channel| &channel.subscriptions);
    let trust = subscriptions.flat_map(trust_of).collect();
    counters.note(|facts| {
        facts.problems = problems;
        facts.trust = trust;
    });
    counters.configurations.increment();
}

/// When the first certificate of each destination that has some ends.
fn trust_of(subscription: &Arc<Subscription>) -> impl Iterator<Item = TrustEnd> {
    let destinations = [
        ("subscriber", &subscription.subscriber),
        ("reply", &subscription.reply),
        ("dead_letter_sink", &subscription.dead_letter_sink),
    ];
    let key = &subscription.key;
    destinations.into_iter().filter_map(move |(destination, to)| {
        let not_after = first_end(to.as_ref()?)?;
        let subscription = (key.kind.as_str(), key.namespace.clone(), key.name.clone());
        Some(TrustEnd { subscription, destination, not_after })
    })
}

fn first_end(to: &Addressable) -> Option<i64> {
    to.trust.certificates().iter().map(|certificate| certificate.not_after).min()
}
