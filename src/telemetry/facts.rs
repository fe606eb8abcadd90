//! What is true of the configuration in effect: its problems, which subscriptions belong to which channel, what of it is
//! not served now, and when certificates end.

use std::sync::Arc;

use super::family::{Family, Label, Reading, float};
use crate::budget::Budget;

/// What is true of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Its errors and its warnings.
    pub problems: (usize, usize),
    /// When the server's certificate ends, in seconds since the epoch.
    pub server_certificate: Option<i64>,
    /// When the first certificate that a destination is verified by ends.
    pub trust: Vec<TrustEnd>,
    /// Which subscriptions there are, and where their events come from.
    pub members: Vec<Member>,
    /// What events may hold in memory, and hold.
    pub budget: Option<Arc<Budget>>,
    /// What is not served now; `None` where everything always is.
    pub unserved: Option<Unserved>,
}

/// What is configured and not served at the moment, since its queues cannot be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unserved {
    /// How many channels and brokers.
    pub channels: usize,
    /// Which subscriptions and triggers.
    pub subscriptions: Vec<Named>,
}

/// Kind in lower case, namespace, name.
pub type Named = (&'static str, String, String);

/// A subscription and what it subscribes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The subscription or trigger.
    pub subscription: Named,
    /// The channel or broker.
    pub channel: Named,
}

/// When the first of the certificates ends that a destination is verified by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustEnd {
    /// Whose destination it is.
    pub subscription: Named,
    /// Which of its destinations: `subscriber`, `reply` or `dead_letter_sink`.
    pub destination: &'static str,
    /// Seconds since the epoch.
    pub not_after: i64,
}

impl Facts {
    /// As families.
    #[must_use]
    pub fn read(self) -> [Family<'static>; 7] {
        let (errors, warnings) = self.problems;
        let mut problems = Family::new("sealpost_configuration_problems", "Problems of the configuration in effect");
        for (severity, count) in [("error", errors), ("warning", warnings)] {
            problems.push(&[("severity", severity.into())], Reading::Gauge(float(count as u64)));
        }
        let mut ends = Family::new(
            "sealpost_certificate_expiration_timestamp_seconds",
            "When a certificate ends; of those that verify a destination, the first one",
        );
        let seconds = |at: i64| Reading::Gauge(float(u64::try_from(at).unwrap_or(0)));
        if let Some(at) = self.server_certificate {
            ends.push(&[("use", "server".into())], seconds(at));
        }
        for TrustEnd { subscription, destination, not_after } in self.trust {
            let [kind, namespace, name] = labels(SUBSCRIPTION, subscription);
            ends.push(&[("use", destination.into()), kind, namespace, name], seconds(not_after));
        }
        let [channels, subscriptions] = of_unserved(self.unserved);
        let [held, limit] = of_budget(self.budget.as_deref());
        [problems, ends, of_members(self.members), channels, subscriptions, held, limit]
    }
}

const SUBSCRIPTION: [&str; 3] = ["subscription_kind", "subscription_namespace", "subscription_name"];
const CHANNEL: [&str; 3] = ["channel_kind", "channel_namespace", "channel_name"];

fn labels([kind, namespace, name]: [&'static str; 3], named: Named) -> [Label<'static>; 3] {
    [(kind, named.0.into()), (namespace, named.1.into()), (name, named.2.into())]
}

/// Of channels always a number, where there may be any; of subscriptions those that are not served.
fn of_unserved(unserved: Option<Unserved>) -> [Family<'static>; 2] {
    let mut channels = Family::new("sealpost_channels_unserved", "Channels and brokers that are not served now");
    let mut each = Family::new("sealpost_subscription_unserved", "1 for a subscription that is not served now");
    if let Some(Unserved { channels: count, subscriptions }) = unserved {
        channels.push(&[], Reading::Gauge(float(count as u64)));
        for subscription in subscriptions {
            each.push(&labels(SUBSCRIPTION, subscription), Reading::Gauge(1.0));
        }
    }
    [channels, each]
}

fn of_budget(budget: Option<&Budget>) -> [Family<'static>; 2] {
    let mut held = Family::new("sealpost_buffered_bytes", "What events hold in memory now");
    let mut limit = Family::new("sealpost_buffered_bytes_limit", "What events may hold in memory");
    if let Some(budget) = budget {
        held.push(&[], Reading::Gauge(float(budget.used() as u64)));
        limit.push(&[], Reading::Gauge(float(budget.limit() as u64)));
    }
    [held, limit]
}

/// Always 1: it is there to be joined with what is counted by subscription.
fn of_members(members: Vec<Member>) -> Family<'static> {
    let mut family = Family::new("sealpost_subscription_info", "Which channel or broker a subscription belongs to");
    for Member { subscription, channel } in members {
        let [a, b, c] = labels(SUBSCRIPTION, subscription);
        let [d, e, f] = labels(CHANNEL, channel);
        family.push(&[a, b, c, d, e, f], Reading::Gauge(1.0));
    }
    family
}
