//! Requests to RequestReplies, whoever makes them: each goes into a Broker with a correlation id, and waits for the reply
//! that has it (upstream's `pkg/requestreply/ingress_handler.go`), within a number of those who wait, the memory of events,
//! and a time.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::waiting::{Waiter, WaitingRoom};
use super::{Refusal, Router, Serving};
use crate::auth::policy::{self, Denial, Inside};
use crate::budget::PER_EVENT;
use crate::event::{AttributeLimit, DecodeError, Event, http as binding, knative};
use crate::model::{ChannelKey, INDEX, RequestReply, RoutingTable, Storage};
use crate::telemetry::series::{Arrival, Name, Replied};

/// Rooms by the names of their RequestReplies.
pub type Rooms = HashMap<ChannelKey, Arc<WaitingRoom>>;

/// What requests may take, and when they end.
#[derive(Clone, Debug)]
pub struct RequestLimits {
    /// How many may wait at one RequestReply.
    pub waiting: usize,
    /// What an event may have of attributes, its correlation id included.
    pub attributes: AttributeLimit,
    /// The process stops.
    pub stop: CancellationToken,
    /// How long replies are waited for after that.
    pub grace: Duration,
}

/// Why a request has no reply, though its Broker did not refuse it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// None came in time.
    #[error(
        "no reply came within {} s: a subscriber of the Broker answers with an event whose {attribute} is the correlation id that it got",
        after.as_secs_f64()
    )]
    TimedOut {
        /// How long it was waited for.
        after: Duration,
        /// The attribute of replies.
        attribute: String,
    },
    /// There is no place to wait.
    #[error("{waiting} requests wait for their replies already: try again later")]
    Full {
        /// How many wait.
        waiting: usize,
    },
    /// There is no memory to wait in.
    #[error("events hold all the memory that they may: try again later")]
    OverBudget,
    /// The process stops.
    #[error("the process is stopping before the reply has come: try again")]
    Stopping,
    /// The RequestReply has been removed since.
    #[error("the RequestReply was removed before the reply came")]
    Removed,
    /// The event has no room for the correlation id.
    #[error("with its correlation id the event is too long: {0}")]
    TooLong(DecodeError),
    /// No id can be made.
    #[error("the system gives no random numbers, so that no correlation id can be made: try again later")]
    NoChance,
}

impl Unanswered {
    /// The status that says so by HTTP. Upstream's data plane ends a request without a reply by 200 and nothing in it, which
    /// nobody could tell from success; its design says 408, which some clients repeat by themselves.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Full { .. } | Self::OverBudget => StatusCode::TOO_MANY_REQUESTS,
            Self::Stopping | Self::NoChance => StatusCode::SERVICE_UNAVAILABLE,
            Self::Removed => StatusCode::NOT_FOUND,
            Self::TooLong(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// As what it is counted.
    #[must_use]
    pub fn arrival(&self) -> Arrival {
        match self {
            Self::TimedOut { .. } => Arrival::Undelivered,
            Self::Full { .. } | Self::OverBudget => Arrival::Full,
            Self::Stopping | Self::NoChance => Arrival::Unavailable,
            Self::Removed | Self::TooLong(_) => Arrival::Invalid,
        }
    }

    fn counted(&self) -> Replied {
        match self {
            Self::TimedOut { .. } => Replied::TimedOut,
            Self::Full { .. } | Self::OverBudget => Replied::Full,
            Self::Stopping | Self::Removed => Replied::Ended,
            Self::TooLong(_) | Self::NoChance => Replied::Refused,
        }
    }
}

impl Router {
    /// The same router; requests to RequestReplies keep to these limits.
    #[must_use]
    pub fn with_request_limits(self, requests: RequestLimits) -> Self {
        Self { requests: Some(requests), ..self }
    }

    /// Rooms for the RequestReplies of a table: those until now where they were there; for configuring.
    #[must_use]
    pub fn rooms(&self, table: &RoutingTable) -> Rooms {
        let before = self.serving.load();
        let capacity = self.requests.as_ref().map_or(usize::MAX, |requests| requests.waiting);
        let room = |request_reply: &Arc<RequestReply>| {
            let key = &request_reply.key;
            let room = before.rooms.get(key).cloned().unwrap_or_else(|| {
                let (kind, namespace, name) =
                    (key.kind.as_str(), key.namespace.as_str().into(), key.name.as_str().into());
                let series = self.counters.series.request_reply(&Name { kind, namespace, name });
                Arc::new(WaitingRoom::new(capacity, series))
            });
            (key.clone(), room)
        };
        table.request_replies().iter().map(room).collect()
    }

    /// Takes a request that comes from inside the process; it is validated, and its sender authorized, as if it came from
    /// outside.
    ///
    /// # Errors
    /// If there is no such RequestReply, or the event is not valid, or its sender may not send it, or there is no reply.
    pub async fn request_local(&self, key: &ChannelKey, event: Event, inside: Inside<'_>) -> Result<Event, Refusal> {
        binding::validate(&event)?;
        let serving = self.serving();
        let request_reply = serving.table.request_reply(key).ok_or_else(|| Refusal::NotFound(key.clone()))?;
        policy::admit_inside(request_reply.access.as_ref(), inside, &event)
            .map_err(|denial| self.refuse_request(&serving, request_reply, denial))?;
        self.request(&serving, request_reply, self.counted(event)).await
    }

    /// Refuses a request whose sender may not make it.
    #[must_use]
    pub fn refuse_request(&self, serving: &Serving, request_reply: &RequestReply, denial: Denial) -> Refusal {
        if let Some(room) = serving.rooms.get(&request_reply.key) {
            room.series().ended(Replied::Refused);
        }
        self.counters.refused.increment();
        Refusal::Denied(denial)
    }

    /// Sends an event to the Broker of a RequestReply, and waits for the reply.
    ///
    /// # Errors
    /// If the Broker does not take it, or no reply comes.
    pub async fn request(
        &self,
        serving: &Serving,
        request_reply: &RequestReply,
        event: Event,
    ) -> Result<Event, Refusal> {
        let Some(room) = serving.rooms.get(&request_reply.key) else {
            return Err(Refusal::NotFound(request_reply.key.clone()));
        };
        let replied = self.ask(serving, (request_reply, room), event).await;
        room.series().ended(match &replied {
            Ok(_) => Replied::Replied,
            Err(Refusal::Unanswered(unanswered)) => unanswered.counted(),
            Err(_) => Replied::Refused,
        });
        replied
    }

    async fn ask(
        &self,
        serving: &Serving,
        (request_reply, room): (&RequestReply, &Arc<WaitingRoom>),
        event: Event,
    ) -> Result<Event, Refusal> {
        let began = Instant::now();
        let RequestReply { broker, sender, broker_audience, timeout, .. } = request_reply;
        let (index, channel) = serving.table.get(broker).ok_or_else(|| Refusal::NotFound(broker.clone()))?;
        let inside = Inside { sender: sender.as_deref(), audience: broker_audience.as_deref() };
        policy::admit_inside(channel.access.as_ref(), inside, &event)
            .map_err(|denial| self.refuse(serving, index, denial))?;
        let (event, id) = self.correlated(request_reply, event)?;
        let mut share = self.budget.as_ref().map(|budget| budget.share());
        let held = share.as_mut().map(|share| share.grow_to(PER_EVENT + id.len()));
        held.transpose().map_err(|_exhausted| Unanswered::OverBudget)?;
        let waiter = room.enter(&id)?;
        let exchange = self.exchange((serving, index), (event, channel.storage), waiter);
        tokio::select! {
            replied = exchange => replied,
            () = tokio::time::sleep_until(began + *timeout) => {
                let attribute = request_reply.reply_attribute.clone();
                Err(Unanswered::TimedOut { after: *timeout, attribute }.into())
            }
            () = self.grace_is_over() => Err(Unanswered::Stopping.into()),
        }
    }

    /// The event with a new correlation id, which takes the place of one that it had.
    fn correlated(&self, request_reply: &RequestReply, mut event: Event) -> Result<(Event, String), Unanswered> {
        let id = request_reply.sealing.seal(&event.id(), INDEX).ok_or(Unanswered::NoChance)?;
        event.set(&request_reply.correlation_attribute, &id);
        if let Some(limits) = &self.requests {
            binding::check(&event, limits.attributes).map_err(Unanswered::TooLong)?;
        }
        Ok((event, id))
    }

    /// Publishes the event, and waits for the reply. With it, what is in memory is in every queue, and is delivered whoever
    /// waits for that; elsewhere it is waited until the event is safe, too.
    async fn exchange(
        &self,
        (serving, index): (&Serving, usize),
        (event, storage): (Event, Storage),
        mut waiter: Waiter,
    ) -> Result<Event, Refusal> {
        let mut published = std::pin::pin!(self.accept(serving, index, vec![event]));
        let reply = tokio::select! {
            biased;
            reply = waiter.reply() => reply?,
            accepted = &mut published => {
                accepted?;
                return Ok(waiter.reply().await?);
            }
        };
        match storage {
            Storage::Memory => {
                serving.arrived(index, Arrival::Accepted, 1);
                self.counters.accepted.increment();
            }
            Storage::Rabbitmq => published.await?,
        }
        Ok(reply)
    }

    /// Returns when the process stops and nobody can be let wait for longer.
    async fn grace_is_over(&self) {
        let Some(RequestLimits { stop, grace, .. }) = &self.requests else { return std::future::pending().await };
        stop.cancelled().await;
        tokio::time::sleep(*grace).await;
    }

    /// Takes an event that the filter of a RequestReply's own Trigger has let pass, for whoever waits for it.
    ///
    /// # Errors
    /// If there is no such RequestReply.
    pub fn reply(&self, key: &ChannelKey, mut event: Event) -> Result<(), Refusal> {
        let serving = self.serving.load();
        let (Some(request_reply), Some(room)) = (serving.table.request_reply(key), serving.rooms.get(key)) else {
            return Err(Refusal::NotFound(key.clone()));
        };
        event.remove(knative::BROKER_TTL);
        let id = event.get(&request_reply.reply_attribute).map(Cow::into_owned).unwrap_or_default();
        room.give(&id, self.counted(event));
        Ok(())
    }
}
