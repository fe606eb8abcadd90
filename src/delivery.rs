//! The story of one event to one subscription: subscriber, reply, dead letter sink, each with retries
//! (data-plane.md §3).
//!
//! Delivery does not know where the event came from or which queue it waits in; it tells how it ended.

mod attempt;
mod dead_letter;
mod retry;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use backoff::backoff::Backoff;
use bytes::Bytes;
use http::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::Tokens;
use crate::auth::token::NoIssuer;
use crate::channel::{Deferral, Outcome, Progress};
use crate::client::Transport;
use crate::display::Display;
use crate::event::{Event, http as binding, knative};
use crate::event_type::EventTypes;
use crate::model::{Addressable, Order, Subscription, SubscriptionKind};
use crate::router::Router;
use crate::telemetry::counters::Counters;
use dead_letter::Failure;
use retry::Schedule;

/// What holds for every delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Bounds an attempt whose delivery spec has no timeout.
    pub default_timeout: Duration,
    /// The part of each wait that is left to chance, from 0 (none) to 1 (all of it).
    pub jitter: f64,
    /// `broker-filter.<system namespace>.svc.<domain>`: who answers there speaks for somebody else (DP-32).
    pub broker_filter_host: Box<str>,
}

/// Delivers events. One for the process.
pub struct Delivery<T> {
    transport: Arc<T>,
    router: Arc<Router>,
    display: Display,
    options: Options,
    counters: Arc<Counters>,
    tokens: Arc<Tokens>,
    event_types: EventTypes,
}

/// One subscription while events are delivered to it: its newest configuration, and how many attempts may run.
pub struct Lane {
    current: ArcSwap<Subscription>,
    attempts: Arc<Semaphore>,
}

impl Lane {
    /// A lane on which at most `concurrency` attempts run at once.
    #[must_use]
    pub fn new(subscription: Arc<Subscription>, concurrency: usize) -> Self {
        Self { current: ArcSwap::new(subscription), attempts: Arc::new(Semaphore::new(concurrency.max(1))) }
    }

    /// The configuration from now on: the next attempt uses it, even of an event that has been tried before.
    pub fn configure(&self, subscription: Arc<Subscription>) {
        self.current.store(subscription);
    }

    /// The configuration now.
    #[must_use]
    pub fn current(&self) -> Arc<Subscription> {
        self.current.load_full()
    }

    /// Whether its events wait for those before them.
    #[must_use]
    pub fn order(&self) -> Order {
        self.current.load().delivery.order
    }

    /// Waits until an attempt may run. First come, first served.
    pub async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.attempts).acquire_owned().await.ok()
    }
}

/// Which of the three destinations a hop is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leg {
    Subscriber,
    Reply,
    DeadLetterSink,
}

impl Leg {
    /// Where this leg goes. A subscription with a reply address only sends the events themselves there.
    fn destination(self, subscription: &Subscription) -> Option<&Addressable> {
        match self {
            Self::Subscriber => subscription.subscriber.as_ref().or(subscription.reply.as_ref()),
            Self::Reply => subscription.subscriber.as_ref().and(subscription.reply.as_ref()),
            Self::DeadLetterSink => subscription.dead_letter_sink.as_ref(),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Reply => "reply",
            Self::DeadLetterSink => "dead letter sink",
        }
    }
}

/// One event on one leg.
#[derive(Clone, Copy)]
struct Hop<'a> {
    leg: Leg,
    event: &'a Event,
}

/// Why an event was not sent.
enum Stop {
    /// All attempts are used up.
    Failed(Failure),
    /// The next one is too far away to wait for; at the subscriber only.
    Deferred(Failure, Deferral),
}

/// How one attempt ended: an answer of success, or a failure that is final or may be retried, perhaps not before some
/// time.
type Attempted = Result<Response<Bytes>, backoff::Error<Failure>>;

impl<T: Transport> Delivery<T> {
    /// A delivery that sends by `transport`, or by `router` to channels and brokers of this process, or to `display`.
    #[must_use]
    pub fn new(
        transport: Arc<T>,
        router: Arc<Router>,
        display: Display,
        options: Options,
        counters: Arc<Counters>,
    ) -> Self {
        let tokens = Arc::new(Tokens::new(Arc::new(NoIssuer), Arc::clone(&counters)));
        Self { transport, router, display, options, counters, tokens, event_types: EventTypes::default() }
    }

    /// The same delivery; where a destination wants proof of who sends, it gets one of these tokens.
    #[must_use]
    pub fn with_tokens(self, tokens: Arc<Tokens>) -> Self {
        Self { tokens, ..self }
    }

    /// The same delivery; `EventType`s are made of replies, where that is wanted.
    #[must_use]
    pub fn with_event_types(self, event_types: EventTypes) -> Self {
        Self { event_types, ..self }
    }

    /// Delivers an event to the lane's subscription, from where it got before. `permit` allows the first attempt.
    pub async fn deliver(
        &self,
        event: &Arc<Event>,
        lane: &Lane,
        permit: OwnedSemaphorePermit,
        progress: Progress,
    ) -> Outcome {
        let hop = Hop { leg: Leg::Subscriber, event };
        let failure = match self.send(hop, lane, Some(permit), progress).await {
            Ok(answer) => match self.forward_reply(event, lane, answer, progress).await {
                Ok(()) => return Outcome::Delivered,
                Err(failure) => failure,
            },
            Err(Stop::Deferred(_, deferral)) => return Outcome::Deferred(deferral),
            Err(Stop::Failed(failure)) => failure,
        };
        self.bury(event, lane, failure, progress).await
    }

    /// Sends the event that the subscriber answered with, if it did and somebody wants it (DP-21, DP-22).
    async fn forward_reply(
        &self,
        event: &Event,
        lane: &Lane,
        answer: Response<Bytes>,
        progress: Progress,
    ) -> Result<(), Failure> {
        let subscription = lane.current();
        let Some(destination) = Leg::Reply.destination(&subscription) else { return Ok(()) };
        let (parts, body) = answer.into_parts();
        let reply = match binding::decode_reply(parts.headers, &body) {
            Ok(None) => return Ok(()),
            Ok(Some(reply)) => reply,
            Err(error) => return Err(Failure::unsendable(destination, &error)),
        };
        self.event_types.observe(subscription.event_types.as_ref(), &reply);
        let reply = restore_ttl(reply, event, &subscription);
        let forwarded = reply.forwarded().to_vec();
        let sent = self.send_on(Hop { leg: Leg::Reply, event: &reply }, lane, progress).await;
        sent.map_err(|failure| failure.with_forwarded(forwarded))
    }

    /// Sends the event to the dead letter sink; without one, or if it fails too, nobody has it (DP-27, DP-28).
    async fn bury(&self, event: &Event, lane: &Lane, failure: Failure, progress: Progress) -> Outcome {
        let subscription = lane.current();
        if subscription.dead_letter_sink.is_none() {
            return Outcome::Lost(failure.into_loss(&subscription, "there is no dead letter sink"));
        }
        let dead = failure.annotate(event.clone());
        match self.send_on(Hop { leg: Leg::DeadLetterSink, event: &dead }, lane, progress).await {
            Ok(()) => Outcome::DeadLettered,
            Err(second) => {
                Outcome::Lost(failure.into_loss(&subscription, &format!("the dead letter sink failed too: {second}")))
            }
        }
    }

    /// Sends an event to another destination than the subscriber. Its attempts are counted anew, and waits that are
    /// longer than the queue allows are cut short.
    async fn send_on(&self, hop: Hop<'_>, lane: &Lane, progress: Progress) -> Result<(), Failure> {
        match self.send(hop, lane, None, Progress { patience: progress.patience, ..Progress::default() }).await {
            Ok(_answer) => Ok(()),
            Err(Stop::Failed(failure) | Stop::Deferred(failure, _)) => Err(failure),
        }
    }

    /// Sends an event until it is taken or the delivery spec's attempts are used up. Between attempts no permit is
    /// held, so that waiting delays nobody.
    async fn send(
        &self,
        hop: Hop<'_>,
        lane: &Lane,
        mut permit: Option<OwnedSemaphorePermit>,
        progress: Progress,
    ) -> Result<Response<Bytes>, Stop> {
        if !progress.wait.is_zero() {
            drop(permit.take());
            tokio::time::sleep(progress.wait).await;
            permit = lane.permit().await;
        }
        let mut schedule = Schedule::new(&lane.current().delivery, self.options.jitter).after(progress.attempts);
        loop {
            let subscription = lane.current();
            let Some(destination) = hop.leg.destination(&subscription) else { return Ok(Response::default()) };
            let (failure, retry_after) = match self.attempt(hop, &subscription, destination, permit).await {
                Ok(answer) => return Ok(answer),
                Err(backoff::Error::Permanent(failure)) => {
                    return Err(Stop::Failed(failure.after(schedule.attempts())));
                }
                Err(backoff::Error::Transient { err, retry_after }) => (err, retry_after),
            };
            let Some(wait) = schedule.next_backoff() else {
                return Err(Stop::Failed(failure.after(schedule.attempts())));
            };
            let wait = wait.max(retry_after.unwrap_or_default());
            let allowed = wait.min(progress.patience.unwrap_or(wait));
            if allowed < wait && hop.leg == Leg::Subscriber {
                self.counters.retries.increment();
                return Err(Stop::Deferred(failure, Deferral { attempts: schedule.done(), wait }));
            }
            tracing::debug!(subscription = %subscription.key, event.id = %hop.event.id(), to = hop.leg.as_str(), reason = %failure, ?wait, "Attempt failed, trying again");
            tokio::time::sleep(allowed).await;
            self.counters.retries.increment();
            permit = if hop.leg == Leg::Subscriber { lane.permit().await } else { None };
        }
    }
}

/// What a Trigger's subscriber answers with keeps the hops that its event had left (data-plane.md BF-12).
fn restore_ttl(mut reply: Event, event: &Event, subscription: &Subscription) -> Event {
    if subscription.key.kind == SubscriptionKind::Trigger
        && let Some(ttl) = event.get(knative::BROKER_TTL).and_then(|ttl| ttl.parse().ok())
    {
        reply.set_integer(knative::BROKER_TTL, ttl);
    }
    reply
}

#[cfg(test)]
mod tests;
