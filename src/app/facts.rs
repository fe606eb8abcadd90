//! What numbers tell of the configuration in effect: its problems, which subscriptions belong to which channel, and when
//! certificates end.

use std::sync::Arc;

use crate::control::{Resolution, Severity};
use crate::model::{Addressable, Channel, Subscription};
use crate::telemetry::counters::Counters;
use crate::telemetry::facts::{Member, Named, TrustEnd};

/// Notes a configuration that has come into effect.
pub(super) fn note(counters: &Counters, resolution: &Resolution) {
    let of = |severity: Severity| resolution.problems.iter().filter(|problem| problem.severity == severity).count();
    let problems = (of(Severity::Error), of(Severity::Warning));
    let subscriptions = resolution.table.channels().iter().flat_map(|channel| &channel.subscriptions);
    let trust = subscriptions.flat_map(trust_of).collect();
    let members = resolution.table.channels().iter().flat_map(|channel| members(channel)).collect();
    counters.note(|facts| {
        facts.problems = problems;
        facts.trust = trust;
        facts.members = members;
    });
    counters.configurations.increment();
}

fn members(channel: &Channel) -> impl Iterator<Item = Member> {
    let key = &channel.key;
    let of = move || (key.kind.as_str(), key.namespace.clone(), key.name.clone());
    channel.subscriptions.iter().map(move |subscription| Member { subscription: named(subscription), channel: of() })
}

fn named(subscription: &Subscription) -> Named {
    let key = &subscription.key;
    (key.kind.as_str(), key.namespace.clone(), key.name.clone())
}

/// When the first certificate of each destination that has some ends.
fn trust_of(subscription: &Arc<Subscription>) -> impl Iterator<Item = TrustEnd> {
    let destinations = [
        ("subscriber", &subscription.subscriber),
        ("reply", &subscription.reply),
        ("dead_letter_sink", &subscription.dead_letter_sink),
    ];
    destinations.into_iter().filter_map(move |(destination, to)| {
        let not_after = first_end(to.as_ref()?)?;
        Some(TrustEnd { subscription: named(subscription), destination, not_after })
    })
}

fn first_end(to: &Addressable) -> Option<i64> {
    to.trust.certificates().iter().map(|certificate| certificate.not_after).min()
}
