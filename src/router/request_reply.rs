//! Requests to RequestReplies, whoever makes them: each event goes into a Broker with a correlation
//! id, and the request waits for the reply that has it (upstream's
//! `pkg/requestreply/ingress_handler.go`). Limited are the number of requests that wait, the memory
//! of their events, and the time.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::accept_error::AcceptError;
use super::pending_replies::{PendingReplies, PendingReply};
use super::request_reply_error::RequestReplyError;
use super::served_table::{RoutedChannel, ServedTable};
use super::{ArrivedEvents, Router};
use crate::auth::policy::{self, AccessDenial, InternalSender};
use crate::budget::{BudgetShare, PER_EVENT};
use crate::event::{AttributeLimit, Event, http as binding, knative};
use crate::model::{BackendKind, ChannelKey, REPLY_INDEX, RequestReply};
use crate::observation::EventArrival;
use crate::telemetry::series::{ArrivalOutcome, RequestReplyOutcome};

/// Limits of requests, and the end of the process.
#[derive(Clone, Debug)]
pub(crate) struct RequestLimits {
    /// Largest number of requests that may wait at one RequestReply.
    pub(crate) max_waiting: usize,
    /// Limit of an event's attributes, its correlation id included.
    pub(crate) attributes: AttributeLimit,
    /// Cancelled when the process stops.
    pub(crate) stop: CancellationToken,
    /// Time for which replies are waited for after that.
    pub(crate) grace: Duration,
}

impl Router {
    /// Sets the limits of requests to RequestReplies.
    #[must_use]
    pub(crate) fn with_request_limits(self, requests: RequestLimits) -> Self {
        Self {
            request_limits: Some(requests),
            ..self
        }
    }

    /// Takes a request that comes from inside the process; it is validated, and its sender
    /// authorized, as if it came from outside.
    ///
    /// # Errors
    /// If there is no such RequestReply, the event is not valid, its sender may not send it, or
    /// there is no reply.
    pub(crate) async fn request_local(
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
    pub(crate) fn count_denied_request(
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
    pub(crate) async fn request(
        &self,
        serving: &ServedTable,
        request_reply: &RequestReply,
        event: Event,
    ) -> Result<Event, AcceptError> {
        let Some(pending) = serving.pending_replies.get(&request_reply.key) else {
            return Err(AcceptError::NotFound(request_reply.key.clone()));
        };
        let asked = event.clone();
        let replied = self
            .send_and_wait(serving, request_reply, pending, event)
            .await;
        if let Err(AcceptError::Unanswered(unanswered)) = &replied {
            self.observe_unanswered(request_reply, &asked, unanswered);
        }
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
        request_reply: &RequestReply,
        pending: &Arc<PendingReplies>,
        event: Event,
    ) -> Result<Event, AcceptError> {
        let began = Instant::now();
        // The Broker asks for the RequestReply's own rights, before anything is counted or
        // registered.
        let broker = self.authorized_broker(serving, request_reply, &event)?;
        self.refuse_over_limit(broker, broker.take_rate(1))?;
        // The id is made before the request is registered, which it names there.
        let (event, id) = self.with_correlation_id(request_reply, event)?;
        // Waiting takes memory, too: it is charged before the request is registered.
        let _share = self.charge_waiting(&id)?;
        // Registered before the event is published: a reply may come before the publisher returns.
        let waiter = pending.register(&id)?;
        let exchange = self.publish_and_wait(broker, event, waiter);
        // The time counts from the beginning, so that a slow Broker does not extend it.
        let timeout = request_reply.timeout;
        tokio::select! {
            replied = exchange => replied,
            () = tokio::time::sleep_until(began + timeout) => {
                let attribute = request_reply.reply_attribute.clone();
                Err(RequestReplyError::TimedOut { after: timeout, attribute }.into())
            }
            () = self.until_grace_over() => Err(RequestReplyError::Stopping.into()),
        }
    }

    /// Broker of a RequestReply, once that may send the event to it.
    ///
    /// # Errors
    /// If there is no such Broker, or it takes no such event of the RequestReply.
    fn authorized_broker<'s>(
        &self,
        serving: &'s ServedTable,
        request_reply: &RequestReply,
        event: &Event,
    ) -> Result<&'s RoutedChannel, AcceptError> {
        let found = serving.table.channel(&request_reply.broker);
        let (index, channel) =
            found.ok_or_else(|| AcceptError::NotFound(request_reply.broker.clone()))?;
        let inside = InternalSender {
            sender: request_reply.sender.as_deref(),
            audience: request_reply.broker_audience.as_deref(),
        };
        policy::authorize_internal(channel.authorization.as_ref(), inside, event)
            .map_err(|denial| self.count_denied(serving, index, denial))?;
        let broker = serving.channels.get(index).map(AsRef::as_ref);
        broker.ok_or_else(|| AcceptError::NotFound(request_reply.broker.clone()))
    }

    /// Charges a request that waits to the memory budget, until the share is dropped.
    ///
    /// # Errors
    /// If there is no room for it.
    fn charge_waiting(&self, id: &str) -> Result<Option<BudgetShare>, RequestReplyError> {
        let Some(budget) = &self.budget else {
            return Ok(None);
        };
        let mut share = budget.share();
        share
            .grow_to(PER_EVENT + id.len())
            .map_err(|_exhausted| RequestReplyError::OverBudget)?;
        Ok(Some(share))
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
        broker: &RoutedChannel,
        event: Event,
        mut waiter: PendingReply,
    ) -> Result<Event, AcceptError> {
        let arrived = ArrivedEvents {
            events: vec![event],
            arrival: EventArrival {
                via: "requestreply",
                ..EventArrival::default()
            },
        };
        let mut published = std::pin::pin!(self.accept_into(broker, arrived));
        // A reply may come before the publisher returns, and goes first then.
        let reply = tokio::select! {
            biased;
            reply = waiter.receive() => reply?,
            accepted = &mut published => {
                accepted?;
                return Ok(waiter.receive().await?);
            }
        };
        match broker.channel.backend {
            BackendKind::Memory => {
                broker.count_arrivals(ArrivalOutcome::Accepted, 1);
                self.counters.accepted.increment();
            }
            BackendKind::Rabbitmq | BackendKind::Disk => published.await?,
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
    pub(crate) fn accept_reply(
        &self,
        key: &ChannelKey,
        mut event: Event,
    ) -> Result<(), AcceptError> {
        let serving = self.holder.load();
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
