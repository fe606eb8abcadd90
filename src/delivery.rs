//! The story of one event to one subscription: subscriber, reply, dead letter sink, each with retries
//! (contract DP-3 to DP-33).
//!
//! Delivery does not know where the event came from or which queue it waits in; it tells how it ended.

mod attempt;
mod dead_letter;
mod lane;
mod lanes;
mod reply;
mod retry;
mod tries;

use std::sync::Arc;
use std::time::Duration;

use backoff::backoff::Backoff;
use bytes::Bytes;
use http::Response;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::auth::Tokens;
use crate::auth::token::NoIssuer;
use crate::channel::{Deferral, Loss, Outcome, Progress, Stage, counted};
use crate::client::Transport;
use crate::display::Display;
use crate::event::{AttributeLimit, Event};
use crate::event_type::EventTypes;
use crate::model::{Addressable, Subscription};
use crate::router::Router;
use crate::telemetry::counters::Counters;
use crate::telemetry::series::Destination;
use crate::telemetry::trace::{Kind, Span};
use crate::telemetry::traced;
use crate::wire_text::WireText;
use dead_letter::Failure;
pub use lane::Lane;
use lane::Story;
use reply::{reply_of, restore_ttl};
use retry::Schedule;
use tries::Tries;

pub use lanes::Lanes;

/// What holds for every delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Bounds an attempt whose delivery spec has no timeout.
    pub default_timeout: Duration,
    /// The part of each wait that is left to chance, from 0 (none) to 1 (all of it).
    pub jitter: f64,
    /// What the attributes of a subscriber's reply may have.
    pub attributes: AttributeLimit,
    /// `broker-filter.<system namespace>.svc.<domain>`: who answers there speaks for somebody else (contract DP-32).
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

    /// What an attempt needs; only those at the subscriber are bounded.
    async fn permit(self, lane: &Lane) -> Option<OwnedSemaphorePermit> {
        if self == Self::Subscriber { lane.permit().await } else { None }
    }

    /// As what it is counted.
    fn counted(self) -> Destination {
        match self {
            Self::Subscriber => Destination::Subscriber,
            Self::Reply => Destination::Reply,
            Self::DeadLetterSink => Destination::DeadLetterSink,
        }
    }

    /// What its span is called.
    fn step(self) -> &'static str {
        match self {
            Self::Subscriber => "send subscriber",
            Self::Reply => "send reply",
            Self::DeadLetterSink => "send dead letter sink",
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
    /// After so many attempts, the next one is too far away to wait for.
    Deferred { attempts: u32, wait: Duration },
    /// There is no such destination any more.
    Gone,
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

    /// A lane for this subscription, counted under its name.
    #[must_use]
    pub fn lane(&self, subscription: Arc<Subscription>, concurrency: usize) -> Lane {
        let series = counted::subscription(&self.counters, &subscription.key);
        Lane::new(subscription, concurrency).counted(series)
    }

    /// Delivers an event to the lane's subscription, from where it got before. `permit` allows the first attempt at the
    /// subscriber.
    pub async fn deliver(
        &self,
        event: &Arc<Event>,
        lane: &Lane,
        permit: OwnedSemaphorePermit,
        progress: Progress,
    ) -> Outcome {
        let story = Story::new(lane, self.begin(event, lane));
        let outcome = self.tell(event, &story, permit, progress).await;
        story.ended(&outcome);
        outcome
    }

    /// The span of a delivery.
    fn begin(&self, event: &Event, lane: &Lane) -> Span {
        let mut span = self.router.tracer().start("deliver", Kind::Consumer, event.trace());
        span.tell(|| {
            [
                ("messaging.system", "knative".into()),
                ("messaging.operation.name", "deliver".into()),
                ("messaging.operation.type", "process".into()),
                ("messaging.destination.name", lane.series().destination().to_owned().into()),
            ]
        });
        traced::describe(&mut span, event);
        span
    }

    async fn tell(
        &self,
        event: &Arc<Event>,
        story: &Story<'_>,
        permit: OwnedSemaphorePermit,
        progress: Progress,
    ) -> Outcome {
        let tries = Tries::from(&progress);
        match progress.stage {
            Stage::Subscriber => self.send_to_subscriber(event, story, permit, tries).await,
            Stage::Reply(reply) => {
                drop(permit);
                Box::pin(self.send_reply(event, story, reply, tries)).await
            }
            Stage::DeadLetterSink(dead) => {
                drop(permit);
                let failure = Failure::noted(&dead);
                Box::pin(self.send_dead_letter(story, dead, failure, tries)).await
            }
        }
    }

    async fn send_to_subscriber(
        &self,
        event: &Arc<Event>,
        story: &Story<'_>,
        permit: OwnedSemaphorePermit,
        tries: Tries,
    ) -> Outcome {
        match self.send(Hop { leg: Leg::Subscriber, event }, story, Some(permit), tries).await {
            Ok(answer) => self.follow_up(event, story, answer, tries.anew()).await,
            Err(Stop::Deferred { attempts, wait }) => {
                Outcome::Deferred(Deferral { stage: Stage::Subscriber, attempts, wait })
            }
            Err(Stop::Failed(failure)) => Box::pin(self.bury(event, story, failure, tries.anew())).await,
            Err(Stop::Gone) => Outcome::Delivered,
        }
    }

    /// Sends the event that the subscriber answered with, if it did and somebody wants it (contract DP-21, DP-22).
    async fn follow_up(&self, event: &Arc<Event>, story: &Story<'_>, answer: Response<Bytes>, tries: Tries) -> Outcome {
        let subscription = story.lane.current();
        let Some(destination) = Leg::Reply.destination(&subscription) else { return Outcome::Delivered };
        let answered = reply_of(answer, self.options.attributes);
        if answered.is_ok() {
            story.lane.series().readable(Instant::now());
        }
        match answered {
            Ok(None) => Outcome::Delivered,
            Ok(Some(reply)) => {
                self.event_types.observe(subscription.event_types.as_ref(), &reply);
                let reply = restore_ttl(reply, event, &subscription);
                let reply = Arc::new(self.router.counted(reply));
                Box::pin(self.send_reply(event, story, reply, tries)).await
            }
            Err(error) => {
                let failure = Failure::unsendable(destination, &*error);
                story.lane.series().unreadable(&failure.place(), failure.reason());
                Box::pin(self.bury(event, story, failure, tries)).await
            }
        }
    }

    async fn send_reply(&self, event: &Arc<Event>, story: &Story<'_>, reply: Arc<Event>, tries: Tries) -> Outcome {
        match self.send(Hop { leg: Leg::Reply, event: &reply }, story, None, tries).await {
            Ok(_) | Err(Stop::Gone) => Outcome::Delivered,
            Err(Stop::Deferred { attempts, wait }) => {
                Outcome::Deferred(Deferral { stage: Stage::Reply(reply), attempts, wait })
            }
            Err(Stop::Failed(failure)) => {
                let failure = failure.with_forwarded(reply.forwarded().to_vec());
                self.bury(event, story, failure, tries.anew()).await
            }
        }
    }

    /// Sends the event to the dead letter sink; without one, nobody has it (contract DP-27, DP-28).
    async fn bury(&self, event: &Event, story: &Story<'_>, failure: Failure, tries: Tries) -> Outcome {
        let subscription = story.lane.current();
        if subscription.dead_letter_sink.is_none() {
            return homeless(failure, story);
        }
        let dead = Arc::new(failure.annotate(event.clone()));
        self.send_dead_letter(story, dead, failure, tries).await
    }

    async fn send_dead_letter(&self, story: &Story<'_>, dead: Arc<Event>, failure: Failure, tries: Tries) -> Outcome {
        match self.send(Hop { leg: Leg::DeadLetterSink, event: &dead }, story, None, tries).await {
            Ok(_answer) => Outcome::DeadLettered,
            Err(Stop::Deferred { attempts, wait }) => {
                Outcome::Deferred(Deferral { stage: Stage::DeadLetterSink(dead), attempts, wait })
            }
            Err(Stop::Failed(second)) => {
                let end = format!("the dead letter sink failed too: {second}");
                let loss = failure.into_loss(&story.lane.current(), &end);
                Outcome::Lost(Box::new(Loss { counted: second.counted(), ..*loss }))
            }
            Err(Stop::Gone) => homeless(failure, story),
        }
    }

    /// Sends an event until it is taken or the delivery spec's attempts are used up.
    async fn send(
        &self,
        hop: Hop<'_>,
        story: &Story<'_>,
        permit: Option<OwnedSemaphorePermit>,
        tries: Tries,
    ) -> Result<Response<Bytes>, Stop> {
        let started = Instant::now();
        let mut span = story.span.child(hop.leg.step(), Kind::Internal);
        let sent = self.try_to_send(hop, (story, &mut span), permit, tries).await;
        story.hopped(started.elapsed());
        if let Err(Stop::Failed(failure)) = &sent {
            span.failed(|| failure.to_string().into());
        }
        sent
    }

    /// How long an attempt may take.
    fn timeout(&self, subscription: &Subscription) -> Duration {
        let timeout = subscription.delivery.timeout.filter(|timeout| !timeout.is_zero());
        timeout.unwrap_or(self.options.default_timeout)
    }

    /// Between attempts no permit is held, so that waiting delays nobody.
    async fn try_to_send(
        &self,
        hop: Hop<'_>,
        (story, span): (&Story<'_>, &mut Span),
        mut permit: Option<OwnedSemaphorePermit>,
        tries: Tries,
    ) -> Result<Response<Bytes>, Stop> {
        if !tries.wait.is_zero() {
            drop(permit.take());
            let pause = tries.pause(self.timeout(&story.lane.current()));
            tokio::time::sleep(pause).await;
            let wait = tries.wait.saturating_sub(pause);
            if !wait.is_zero() {
                return Err(Stop::Deferred { attempts: tries.attempts, wait });
            }
            permit = hop.leg.permit(story.lane).await;
        }
        let mut schedule = Schedule::new(&story.lane.current().delivery, self.options.jitter).after(tries.attempts);
        loop {
            let subscription = story.lane.current();
            let Some(destination) = hop.leg.destination(&subscription) else { return Err(Stop::Gone) };
            let timeout = self.timeout(&subscription);
            let Some(limit) = tries.time_for(timeout) else {
                return Err(Stop::Deferred { attempts: schedule.done(), wait: Duration::ZERO });
            };
            let to = (&*subscription, destination, limit);
            let began = Instant::now();
            let (failure, retry_after) = match self.attempt(hop, (story, span, schedule.done()), to, permit).await {
                Ok(answer) => {
                    story.lane.succeeded(hop.leg, began);
                    return Ok(answer);
                }
                Err(backoff::Error::Permanent(failure)) => {
                    story.lane.failed(hop.leg, &failure);
                    return Err(Stop::Failed(failure.after(schedule.attempts()).at(hop.leg.counted())));
                }
                Err(backoff::Error::Transient { err, retry_after }) => (err, retry_after),
            };
            story.lane.failed(hop.leg, &failure);
            let Some(wait) = schedule.next_backoff() else {
                return Err(Stop::Failed(failure.after(schedule.attempts()).at(hop.leg.counted())));
            };
            let wait = wait.max(retry_after.unwrap_or_default());
            let attempts = i64::from(schedule.done());
            span.happened("retry", || {
                let (reason, wait) = (failure.to_string().into(), wait.as_secs_f64().into());
                [("sealpost.attempts", attempts.into()), ("sealpost.reason", reason), ("sealpost.backoff", wait)]
            });
            if tries.is_too_long(wait, timeout) {
                self.counters.retry(story.lane.series());
                return Err(Stop::Deferred { attempts: schedule.done(), wait });
            }
            tracing::debug!(subscription = %subscription.key, event.id = %WireText::of(hop.event.id()), to = hop.leg.counted().as_str(), reason = %failure, ?wait, "Attempt failed, trying again");
            tokio::time::sleep(wait).await;
            self.counters.retry(story.lane.series());
            permit = hop.leg.permit(story.lane).await;
        }
    }
}

fn homeless(failure: Failure, story: &Story<'_>) -> Outcome {
    Outcome::Lost(failure.into_loss(&story.lane.current(), "there is no dead letter sink"))
}

#[cfg(test)]
mod tests;
