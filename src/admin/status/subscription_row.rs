//! The rows of the status document: subscriptions and triggers, with what became of events.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::ready_condition::ReadyCondition;
use super::row_reason::RowReason;
use super::trust::{StatusDestination, TrustedCertificates};
use super::{StatusSource, format_time};
use crate::admin::waiting::TwoClocks;
use crate::channel::{ChannelBackend, metrics};
use crate::delivery::{NextAttempt, NotedEvent};
use crate::filter::UndecidedReason;
use crate::model::{ChannelKey, ChannelKind, Subscription, SubscriptionKey, SubscriptionKind};
use crate::telemetry::series::{ArrivalOutcome, DeliveryEnd, LastError, SubscriptionSeries};
use crate::wire_text::WireText;

/// Number of unfinished events that a row has at most.
const MOST_UNFINISHED: usize = 5;

/// A subscription or trigger.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SubscriptionRow<'s> {
    pub(super) kind: &'s str,
    pub(super) namespace: &'s str,
    pub(super) name: &'s str,
    pub(super) ready: Option<ReadyCondition>,
    pub(super) subscriber: Option<StatusDestination>,
    pub(super) reply: Option<StatusDestination>,
    pub(super) dead_letter_sink: Option<StatusDestination>,
    /// The counts of its deliveries; `None` if it is not served here.
    pub(super) counts: Option<SubscriptionCounts>,
    pub(super) last_error: Option<FailedAttempt>,
    #[serde(flatten)]
    pub(super) last: LastDeliveryTimes,
    /// The state in a word or two: that of the first of the reasons.
    pub(super) state: &'static str,
    /// What there is to say of the state, the worst first.
    pub(super) reasons: Vec<RowReason>,
    /// The oldest events that take long, a few of them; absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) oldest_unfinished: Vec<OldestUnfinished>,
    /// All of those that are known, for the state.
    #[serde(skip)]
    pub(super) unfinished: Vec<NotedEvent>,
    /// Time until the first event is due that waits in its queue, if the queue knows.
    #[serde(skip)]
    pub(super) until_next_due: Option<Duration>,
}

/// An event that is not finished.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OldestUnfinished {
    id: String,
    source: String,
    /// The destination of its attempts: `subscriber`, `reply` or `dead letter sink`.
    leg: &'static str,
    /// Attempts at this destination that have ended.
    attempts: u32,
    /// The time of the next attempt; absent if one is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt: Option<String>,
    /// The time at which the attempt began that is under way; absent if none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    under_way_since: Option<String>,
}

/// The last times at which deliveries of a subscription ended in these ways; absent if none did
/// since the process took the subscription up.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LastDeliveryTimes {
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_dead_letter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_lost: Option<String>,
    #[serde(skip)]
    pub(super) success_at: Option<SystemTime>,
    #[serde(skip)]
    pub(super) dead_letter_at: Option<SystemTime>,
    #[serde(skip)]
    pub(super) lost_at: Option<SystemTime>,
}

/// Counts since the process took the subscription up, and what is in flight or parked now.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SubscriptionCounts {
    delivered: u64,
    pub(super) dead_lettered: u64,
    pub(super) lost: u64,
    pub(super) parked: u64,
    deferred: u64,
    returned: u64,
    retries: u64,
    failures: u64,
    filter_errors: u64,
    pub(super) filter_limit_exceeded: u64,
    pub(super) in_flight: i64,
    pub(super) unfinished: Option<usize>,
}

/// The last failed attempt of a subscription.
#[derive(Serialize)]
pub(super) struct FailedAttempt {
    pub(super) time: String,
    pub(super) leg: &'static str,
    pub(super) destination: String,
    pub(super) reason: String,
    #[serde(skip)]
    pub(super) at: SystemTime,
}

impl<'s> SubscriptionRow<'s> {
    /// Returns a row that has nothing but its name.
    pub(super) fn empty(kind: SubscriptionKind, namespace: &'s str, name: &'s str) -> Self {
        let kind = match kind {
            SubscriptionKind::Subscription => "Subscription",
            SubscriptionKind::Trigger => "Trigger",
            SubscriptionKind::Subscriber => "Subscriber",
            SubscriptionKind::PingSource => "PingSource",
        };
        Self {
            kind,
            namespace,
            name,
            ready: None,
            subscriber: None,
            reply: None,
            dead_letter_sink: None,
            counts: None,
            last_error: None,
            last: LastDeliveryTimes::default(),
            state: "",
            reasons: Vec::new(),
            oldest_unfinished: Vec::new(),
            unfinished: Vec::new(),
            until_next_due: None,
        }
    }

    /// Returns the row of a subscription that is served here.
    pub(super) fn served(
        view: &StatusSource,
        subscription: &'s Subscription,
        trusted: &mut TrustedCertificates<'s>,
    ) -> Self {
        let key = &subscription.key;
        let worker = view.subscription_workers.get(key);
        let series = worker.as_deref().map(|worker| worker.series());
        let mut shown = |to: &'s Option<_>| to.as_ref().map(|to| trusted.destination(to));
        let unfinished = worker.as_deref().map(|worker| worker.unfinished().list());
        let unfinished = unfinished.unwrap_or_default();
        let clocks = TwoClocks::now();
        let oldest = unfinished.iter().take(MOST_UNFINISHED);
        Self {
            oldest_unfinished: oldest
                .map(|event| OldestUnfinished::new(event, clocks))
                .collect(),
            unfinished,
            until_next_due: view.backends.until_next_due(key),
            subscriber: shown(&subscription.subscriber),
            reply: shown(&subscription.reply),
            dead_letter_sink: shown(&subscription.dead_letter_sink),
            counts: series
                .map(|series| SubscriptionCounts::of_series(series, view.backends.depth(key))),
            last: series.map(LastDeliveryTimes::of_series).unwrap_or_default(),
            last_error: series
                .and_then(|series| series.last_error())
                .map(FailedAttempt::from),
            ..Self::empty(key.kind, &key.namespace, &key.name)
        }
    }

    /// Takes the counts from the series, as for an object that has no queue.
    pub(super) fn set_counts(&mut self, view: &StatusSource, key: &SubscriptionKey) {
        let series = metrics::subscription_series(&view.counters, key);
        self.counts = Some(SubscriptionCounts::of_series(&series, None));
        self.last_error = series.last_error().map(FailedAttempt::from);
        self.last = LastDeliveryTimes::of_series(&series);
    }
}

impl OldestUnfinished {
    fn new(event: &NotedEvent, clocks: TwoClocks) -> Self {
        let progress = event.progress;
        Self {
            id: WireText::new(&event.id).into(),
            source: WireText::new(&event.source).into(),
            leg: progress.role.as_str(),
            attempts: progress.attempts,
            next_attempt: progress.next.due().map(|due| clocks.format(due)),
            under_way_since: match progress.next {
                NextAttempt::UnderWay(since) => Some(clocks.format(since)),
                NextAttempt::Due(_) | NextAttempt::Away { .. } => None,
            },
        }
    }
}

impl SubscriptionCounts {
    /// Returns the counts of deliveries; `unfinished` is the length of the queue, if there is one.
    fn of_series(series: &SubscriptionSeries, unfinished: Option<usize>) -> Self {
        let exceeded = series.undecided_count(UndecidedReason::Limit);
        Self {
            delivered: series.end_count(DeliveryEnd::Delivered),
            dead_lettered: series.end_count(DeliveryEnd::DeadLettered),
            lost: series.end_count(DeliveryEnd::Lost),
            parked: u64::try_from(series.parked_now.get()).unwrap_or(0),
            deferred: series.end_count(DeliveryEnd::Deferred),
            returned: series.end_count(DeliveryEnd::Requeued),
            retries: series.retries.get(),
            failures: series.failures.get(),
            filter_errors: series
                .undecided_count(UndecidedReason::Expression)
                .saturating_add(exceeded),
            filter_limit_exceeded: exceeded,
            in_flight: series.in_flight.get(),
            unfinished,
        }
    }

    /// Returns the counts of the events for a Broker. An event that its channel did not take counts
    /// as returned: its sender has it still.
    pub(super) fn of_broker(view: &StatusSource, namespace: &str, name: &str) -> Self {
        let key = ChannelKey::new(ChannelKind::Broker, namespace, name);
        let series = metrics::channel_series(&view.counters, &key);
        let returned = series.arrival_count(ArrivalOutcome::Unavailable);
        Self {
            delivered: series.arrival_count(ArrivalOutcome::Accepted),
            returned,
            failures: returned,
            ..Self::of_series(&SubscriptionSeries::default(), None)
        }
    }
}

impl LastDeliveryTimes {
    fn of_series(series: &SubscriptionSeries) -> Self {
        let success_at = series.last_end(DeliveryEnd::Delivered);
        let dead_letter_at = series.last_end(DeliveryEnd::DeadLettered);
        let lost_at = series.last_end(DeliveryEnd::Lost);
        let shown = |at: Option<SystemTime>| at.map(|at| format_time(at.into()));
        Self {
            last_success: shown(success_at),
            last_dead_letter: shown(dead_letter_at),
            last_lost: shown(lost_at),
            success_at,
            dead_letter_at,
            lost_at,
        }
    }
}

impl From<LastError> for FailedAttempt {
    fn from(error: LastError) -> Self {
        let LastError {
            at,
            destination_role: leg,
            url: destination,
            reason,
        } = error;
        Self {
            time: format_time(at.into()),
            leg,
            destination: destination.into(),
            reason: reason.into(),
            at,
        }
    }
}
