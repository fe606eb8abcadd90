//! Requests to RequestReplies, whoever makes them: each event goes into a Broker with a correlation
//! id, and the request waits for the reply that has it (upstream's
//! `pkg/requestreply/ingress_handler.go`). Limited are the number of requests that wait, the memory
//! of their events, and the time.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pending_replies::{PendingReplies, PendingReply};
use super::{AcceptError, Router, ServedTable};
use crate::auth::policy::{self, AccessDenial, InternalSender};
use crate::budget::PER_EVENT;
use crate::event::{AttributeLimit, DecodeError, Event, http as binding, knative};
use crate::model::{BackendKind, ChannelKey, REPLY_INDEX, RequestReply, RoutingTable};
use crate::telemetry::series::{ArrivalOutcome, RequestReplyOutcome, SeriesKey};

/// Pending replies by the key of their RequestReply.
pub type PendingRepliesMap = HashMap<ChannelKey, Arc<PendingReplies>>;

/// Limits of requests, and the end of the process.
#[derive(Clone, Debug)]
pub struct RequestLimits {
    /// Largest number of requests that may wait at one RequestReply.
    pub max_waiting: usize,
    /// Limit of an event's attributes, its correlation id included.
    pub attributes: AttributeLimit,
    /// Cancelled when the process stops.
    pub stop: CancellationToken,
    /// Time for which replies are waited for after that.
    pub grace: Duration,
}

/// Reason for which a request has no reply, although its Broker did not refuse it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestReplyError {
    /// No reply came in time.
    #[error(
        "no reply came within {} s: a subscriber of the Broker answers with an event whose \
         {attribute} is the correlation id that it got",
        after.as_secs_f64()
    )]
    TimedOut {
        /// Time for which the request waited.
        after: Duration,
        /// Attribute of replies that holds the correlation id.
        attribute: String,
    },
    /// As many requests wait as may.
    #[error("{waiting} requests wait for their replies already: try again later")]
    Full {
        /// Number of requests that wait.
        waiting: usize,
    },
    /// The memory budget has no room for the request.
    #[error("events hold all the memory that they may: try again later")]
    OverBudget,
    /// The process is stopping.
    #[error("the process is stopping before the reply has come: try again")]
    Stopping,
    /// The RequestReply was removed while the request waited.
    #[error("the RequestReply was removed before the reply came")]
    Removed,
    /// The event has no room for the correlation id.
    #[error("with its correlation id the event is too long: {0}")]
    TooLong(DecodeError),
    /// No correlation id can be made, for want of random numbers.
    #[error(
        "the system gives no random numbers, so that no correlation id can be made: try again later"
    )]
    NoRandomness,
}

impl RequestReplyError {
    /// HTTP status for the reason. Upstream's data plane ends a request without a reply by 200 and
    /// an empty body, which no client could tell from success; its design says 408, which some
    /// clients repeat by themselves.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Full { .. } | Self::OverBudget => StatusCode::TOO_MANY_REQUESTS,
            Self::Stopping | Self::NoRandomness => StatusCode::SERVICE_UNAVAILABLE,
            Self::Removed => StatusCode::NOT_FOUND,
            Self::TooLong(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// Outcome as which metrics count the request.
    #[must_use]
    pub fn arrival(&self) -> ArrivalOutcome {
        match self {
            Self::TimedOut { .. } => ArrivalOutcome::Undelivered,
            Self::Full { .. } | Self::OverBudget => ArrivalOutcome::Full,
            Self::Stopping | Self::NoRandomness => ArrivalOutcome::Unavailable,
            Self::Removed | Self::TooLong(_) => ArrivalOutcome::Invalid,
        }
    }

    fn reply_outcome(&self) -> RequestReplyOutcome {
        match self {
            Self::TimedOut { .. } => RequestReplyOutcome::TimedOut,
            Self::Full { .. } | Self::OverBudget => RequestReplyOutcome::Full,
            Self::Stopping | Self::Removed => RequestReplyOutcome::Ended,
            Self::TooLong(_) | Self::NoRandomness => RequestReplyOutcome::Refused,
        }
    }
}

impl Router {
    /// Sets the limits of requests to RequestReplies.
    #[must_use]
    pub fn with_request_limits(self, requests: RequestLimits) -> Self {
        Self {
            request_limits: Some(requests),
            ..self
        }
    }

    /// Pending replies for the RequestReplies of a table, the present ones where there are any; for
    /// applying configuration.
    #[must_use]
    pub fn pending_replies(&self, table: &RoutingTable) -> PendingRepliesMap {
        let before = self.served_table.load();
        let capacity = self
            .request_limits
            .as_ref()
            .map_or(usize::MAX, |requests| requests.max_waiting);
        let pending = |request_reply: &Arc<RequestReply>| {
            let key = &request_reply.key;
            let pending = before.pending_replies.get(key).cloned().unwrap_or_else(|| {
                let (kind, namespace, name) = (
                    key.kind.as_str(),
                    key.namespace.as_str().into(),
                    key.name.as_str().into(),
                );
                let series = self.counters.series.request_reply(&SeriesKey {
                    kind,
                    namespace,
                    name,
                });
                Arc::new(PendingReplies::new(capacity, series))
            });
            (key.clone(), pending)
        };
        table.request_replies().iter().map(pending).collect()
    }

    /// Takes a request that comes from inside the process; it is validated, and its sender
    /// authorized, as if it came from outside.
    ///
    /// # Errors
    /// If there is no such RequestReply, the event is not valid, its sender may not send it, or
    /// there is no reply.
    pub async fn request_local(
        &self,
        key: &ChannelKey,
        event: Event,
        inside: InternalSender<'_>,
    ) -> Result<Event, AcceptError> {
        binding::validate(&event)?;
        let serving = self.served_table();
        let request_reply = serving
            .table
            .request_reply(key)
            .ok_or_else(|| AcceptError::NotFound(key.clone()))?;
        policy::authorize_internal(request_reply.authorization.as_ref(), inside, &event)
            .map_err(|denial| self.count_denied_request(&serving, request_reply, denial))?;
        self.request(&serving, request_reply, self.charge_to_budget(event))
            .await
    }

    /// Counts a request whose sender may not make it, and gives the error.
    #[must_use]
    pub fn count_denied_request(
        &self,
        serving: &ServedTable,
        request_reply: &RequestReply,
        denial: AccessDenial,
    ) -> AcceptError {
        if let Some(pending) = serving.pending_replies.get(&request_reply.key) {
            pending.series().count_end(RequestReplyOutcome::Refused);
        }
        self.counters.refused.increment();
        AcceptError::Denied(denial)
    }

    /// Sends an event to the Broker of a RequestReply, and waits for the reply.
    ///
    /// # Errors
    /// If the Broker does not take the event, or no reply comes.
    pub async fn request(
        &self,
        serving: &ServedTable,
        request_reply: &RequestReply,
        event: Event,
    ) -> Result<Event, AcceptError> {
        let Some(pending) = serving.pending_replies.get(&request_reply.key) else {
            return Err(AcceptError::NotFound(request_reply.key.clone()));
        };
        let replied = self
            .send_and_wait(serving, (request_reply, pending), event)
            .await;
        pending.series().count_end(match &replied {
            Ok(_) => RequestReplyOutcome::Replied,
            Err(AcceptError::Unanswered(unanswered)) => unanswered.reply_outcome(),
            Err(_) => RequestReplyOutcome::Refused,
        });
        replied
    }

    async fn send_and_wait(
        &self,
        serving: &ServedTable,
        (request_reply, pending): (&RequestReply, &Arc<PendingReplies>),
        event: Event,
    ) -> Result<Event, AcceptError> {
        let began = Instant::now();
        // The Broker asks for the RequestReply's own rights, before anything is counted or
        // registered.
        let RequestReply {
            broker,
            sender,
            broker_audience,
            timeout,
            ..
        } = request_reply;
        let (index, channel) = serving
            .table
            .channel(broker)
            .ok_or_else(|| AcceptError::NotFound(broker.clone()))?;
        let inside = InternalSender {
            sender: sender.as_deref(),
            audience: broker_audience.as_deref(),
        };
        policy::authorize_internal(channel.authorization.as_ref(), inside, &event)
            .map_err(|denial| self.count_denied(serving, index, denial))?;
        // The id is made before the request is registered, which it names there.
        let (event, id) = self.with_correlation_id(request_reply, event)?;
        // Waiting takes memory, too: it is charged before the request is registered.
        let mut share = self.budget.as_ref().map(|budget| budget.share());
        let held = share
            .as_mut()
            .map(|share| share.grow_to(PER_EVENT + id.len()));
        held.transpose()
            .map_err(|_exhausted| RequestReplyError::OverBudget)?;
        // Registered before the event is published: a reply may come before the publisher returns.
        let waiter = pending.register(&id)?;
        let exchange = self.publish_and_wait((serving, index), (event, channel.backend), waiter);
        // The time counts from the beginning, so that a slow Broker does not extend it.
        tokio::select! {
            replied = exchange => replied,
            () = tokio::time::sleep_until(began + *timeout) => {
                let attribute = request_reply.reply_attribute.clone();
                Err(RequestReplyError::TimedOut { after: *timeout, attribute }.into())
            }
            () = self.until_grace_over() => Err(RequestReplyError::Stopping.into()),
        }
    }

    /// Gives the event a new correlation id, which replaces one that it had.
    ///
    /// # Errors
    /// If there are no random numbers, or the event has no room for the id.
    fn with_correlation_id(
        &self,
        request_reply: &RequestReply,
        mut event: Event,
    ) -> Result<(Event, String), RequestReplyError> {
        let id = request_reply
            .correlation_key
            .create_id(&event.id(), REPLY_INDEX)
            .ok_or(RequestReplyError::NoRandomness)?;
        event.set(&request_reply.correlation_attribute, &id);
        if let Some(limits) = &self.request_limits {
            binding::check_attribute_limit(&event, limits.attributes)
                .map_err(RequestReplyError::TooLong)?;
        }
        Ok((event, id))
    }

    /// Publishes the event, and waits for the reply. When that comes, an event in memory is in
    /// every queue, and is delivered whoever waits for it; on RabbitMQ the confirm is waited for,
    /// too.
    async fn publish_and_wait(
        &self,
        (serving, index): (&ServedTable, usize),
        (event, storage): (Event, BackendKind),
        mut waiter: PendingReply,
    ) -> Result<Event, AcceptError> {
        let mut published = std::pin::pin!(self.accept(serving, index, vec![event]));
        // A reply may come before the publisher returns, and goes first then.
        let reply = tokio::select! {
            biased;
            reply = waiter.receive() => reply?,
            accepted = &mut published => {
                accepted?;
                return Ok(waiter.receive().await?);
            }
        };
        match storage {
            BackendKind::Memory => {
                serving.count_arrival(index, ArrivalOutcome::Accepted, 1);
                self.counters.accepted.increment();
            }
            BackendKind::Rabbitmq => published.await?,
        }
        Ok(reply)
    }

    /// Returns when the process stops and the grace for requests that wait is over.
    async fn until_grace_over(&self) {
        let Some(RequestLimits { stop, grace, .. }) = &self.request_limits else {
            return std::future::pending().await;
        };
        stop.cancelled().await;
        tokio::time::sleep(*grace).await;
    }

    /// Takes an event that the filter of a RequestReply's own Trigger has let pass, for the request
    /// that waits for it.
    ///
    /// # Errors
    /// If there is no such RequestReply.
    pub fn accept_reply(&self, key: &ChannelKey, mut event: Event) -> Result<(), AcceptError> {
        let serving = self.served_table.load();
        let (Some(request_reply), Some(pending)) = (
            serving.table.request_reply(key),
            serving.pending_replies.get(key),
        ) else {
            return Err(AcceptError::NotFound(key.clone()));
        };
        event.remove(knative::BROKER_TTL);
        let id = event
            .get(&request_reply.reply_attribute)
            .map(Cow::into_owned)
            .unwrap_or_default();
        pending.deliver_reply(&id, self.charge_to_budget(event));
        Ok(())
    }
}
