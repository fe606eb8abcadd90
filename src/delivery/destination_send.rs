//! Sending of one event to one destination: attempts, and the waits between them, until the event is
//! taken or the delivery spec allows no more (contract DP-14 to DP-19).

use std::time::Duration;

use backoff::backoff::Backoff;
use bytes::Bytes;
use http::Response;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::EventDeliverer;
use super::attempt::DeliveryAttempt;
use super::attempt_progress::AttemptProgress;
use super::dead_letter::DeliveryFailure;
use super::delivery_record::{DeliveryRecord, GIVEN_UP};
use super::outgoing_event::{DeferredAttempt, OutgoingEvent, SendFailure};
use super::retry_schedule::RetrySchedule;
use super::unfinished_events::NextAttempt;
use crate::client::HttpTransport;
use crate::model::Subscription;
use crate::observation::{EventArrival, ObservedAttempt, ObservedFact};
use crate::telemetry::tracer::Span;
use crate::wire_text::WireText;

/// The sending of an event to one destination.
struct DestinationSend<'a> {
    outgoing: OutgoingEvent<'a>,
    record: &'a DeliveryRecord<'a>,
    /// Progress from an earlier time at which the event was held, and the limits of holding it.
    progress: AttemptProgress,
    /// Span of all attempts.
    span: Span,
    has_ended: bool,
}

impl Drop for DestinationSend<'_> {
    /// A send that ends with its delivery, as at a stop, tells so.
    fn drop(&mut self) {
        if !self.has_ended {
            self.span.set_error(|| GIVEN_UP.into());
        }
    }
}

/// End of one attempt after which the sending has not failed.
enum AttemptEnd {
    /// The destination has taken the event.
    Taken(Response<Bytes>),
    /// The next attempt is due after this wait.
    Retry(Duration),
}

/// The reason for which an attempt failed, with what comes next.
fn reason_of(next: &Result<RetryWait, SendFailure>) -> String {
    match next {
        Ok(RetryWait { failure, wait }) => {
            if wait.is_zero() {
                return format!("{failure}; the next attempt follows at once");
            }
            format!("{failure}; the next attempt is in {wait:.1?}")
        }
        Err(SendFailure::Failed(failure)) => failure.to_string(),
        Err(SendFailure::Deferred(_) | SendFailure::NoDestination) => String::new(),
    }
}

/// A failed attempt, and the wait before the next one.
struct RetryWait {
    failure: DeliveryFailure,
    wait: Duration,
}

impl<T: HttpTransport> EventDeliverer<T> {
    /// Sends an event until it is taken or the attempts of the delivery spec are used up.
    pub(super) async fn send(
        &self,
        outgoing: OutgoingEvent<'_>,
        record: &DeliveryRecord<'_>,
        permit: Option<OwnedSemaphorePermit>,
        progress: AttemptProgress,
    ) -> Result<Response<Bytes>, SendFailure> {
        let started = Instant::now();
        let mut send = DestinationSend {
            outgoing,
            record,
            progress,
            span: record.span.child(outgoing.span_name(), SpanKind::Internal),
            has_ended: false,
        };
        let sent = self.send_with_retries(&mut send, permit).await;
        send.has_ended = true;
        // Recorded also for a failure: the last destination counts, whatever became of it.
        record.record_duration(started.elapsed());
        if let Err(SendFailure::Failed(failure)) = &sent {
            send.span.set_error(|| failure.to_string().into());
        }
        sent
    }

    /// Makes the attempts. None holds a permit between them, so that its wait delays no other
    /// event.
    async fn send_with_retries(
        &self,
        send: &mut DestinationSend<'_>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Response<Bytes>, SendFailure> {
        let worker = send.record.worker;
        let mut permit = self.finish_earlier_wait(send, permit).await?;
        let mut schedule = RetrySchedule::new(&worker.subscription().delivery, self.options.jitter)
            .after_attempts(send.progress.attempts);
        loop {
            let wait = match self.try_once(send, &mut schedule, permit).await? {
                AttemptEnd::Taken(response) => return Ok(response),
                AttemptEnd::Retry(wait) => wait,
            };
            send.note_wait(schedule.attempts_made(), wait);
            tokio::time::sleep(wait).await;
            permit = send.outgoing.acquire_permit(worker).await;
        }
    }

    /// Waits for the rest of an earlier wait, which comes before the first attempt; what does not
    /// fit into the hold time is deferred again.
    async fn finish_earlier_wait(
        &self,
        send: &DestinationSend<'_>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Option<OwnedSemaphorePermit>, SendFailure> {
        let (worker, progress) = (send.record.worker, &send.progress);
        if progress.wait.is_zero() {
            return Ok(permit);
        }
        drop(permit);
        send.note_wait(progress.attempts, progress.wait);
        let pause = progress.wait_here(self.attempt_timeout(&worker.subscription()));
        tokio::time::sleep(pause).await;
        let wait = progress.wait.saturating_sub(pause);
        if !wait.is_zero() {
            let attempts = progress.attempts;
            return Err(DeferredAttempt { attempts, wait }.into());
        }
        Ok(send.outgoing.acquire_permit(worker).await)
    }

    /// Makes one attempt, by the newest form of the subscription, which may have changed during the
    /// wait.
    async fn try_once(
        &self,
        send: &mut DestinationSend<'_>,
        schedule: &mut RetrySchedule,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<AttemptEnd, SendFailure> {
        let (worker, role) = (send.record.worker, send.outgoing.role);
        let subscription = worker.subscription();
        let timeout = self.attempt_timeout(&subscription);
        let attempt = send.next_attempt(&subscription, timeout, schedule.attempts_made())?;
        send.record.note_attempt(role, attempt.attempts_before);
        if attempt.attempts_before > 0 {
            self.counters.count_retry(worker.series());
        }
        let began = Instant::now();
        let attempted = self.send_attempt(&attempt, &send.span, permit).await;
        let next = match attempted {
            Ok(response) => {
                self.observe_attempt(&attempt, send.record, began, "");
                worker.record_success(role, began);
                return Ok(AttemptEnd::Taken(response));
            }
            Err(error) => send.next_wait(schedule, error),
        };
        self.observe_attempt(&attempt, send.record, began, &reason_of(&next));
        let RetryWait { failure, wait } = next?;
        // A wait that the queue cannot hold the event for is left to the queue.
        if send.progress.exceeds_hold_time(wait, timeout) {
            let attempts = schedule.attempts_made();
            return Err(DeferredAttempt { attempts, wait }.into());
        }
        tracing::debug!(
            subscription = %subscription.key,
            event.id = %WireText::new(send.outgoing.event.id()),
            to = role.as_str(),
            reason = %failure,
            ?wait,
            "Attempt failed, trying again"
        );
        Ok(AttemptEnd::Retry(wait))
    }

    /// Tells observers what has come of an attempt, and why it failed if it did.
    fn observe_attempt(
        &self,
        attempt: &DeliveryAttempt<'_>,
        record: &DeliveryRecord<'_>,
        began: Instant,
        reason: &str,
    ) {
        let (series, took) = (record.worker.series(), began.elapsed());
        series.record_attempt_duration(took);
        let observed = ObservedAttempt {
            role: attempt.outgoing.role,
            number: attempt.attempts_before + 1,
            status: record.last_status(),
            took,
            reason,
        };
        self.counters.observer.observe(
            record.event,
            series.observed(),
            &ObservedFact::Attempted(observed),
        );
    }

    /// Timeout of one attempt at this subscription.
    fn attempt_timeout(&self, subscription: &Subscription) -> Duration {
        let timeout = subscription
            .delivery
            .timeout
            .filter(|timeout| !timeout.is_zero());
        timeout.unwrap_or(self.options.default_timeout)
    }
}

impl<'a> DestinationSend<'a> {
    /// Notes that the event is held here until its next attempt.
    fn note_wait(&self, attempts: u32, wait: Duration) {
        let now = Instant::now();
        let due = now.checked_add(wait).unwrap_or(now);
        let (record, role) = (self.record, self.outgoing.role);
        record.note(role, attempts, NextAttempt::Due(due));
    }

    /// The next attempt at the destination that the subscription has now.
    fn next_attempt<'s>(
        &self,
        subscription: &'s Subscription,
        timeout: Duration,
        attempts_before: u32,
    ) -> Result<DeliveryAttempt<'s>, SendFailure>
    where
        'a: 's,
    {
        let destination = self.outgoing.role.destination(subscription);
        let timeout = self.progress.attempt_timeout(timeout);
        Ok(DeliveryAttempt {
            outgoing: self.outgoing,
            record: self.record,
            subscription,
            destination: destination.ok_or(SendFailure::NoDestination)?,
            timeout: timeout.ok_or_else(|| DeferredAttempt::at_once(attempts_before))?,
            attempts_before,
            arrival: EventArrival {
                via: self.outgoing.role.as_str(),
                by: self.record.worker.series().observed().label(),
                peer: None,
            },
        })
    }

    /// Records a failed attempt, and gives the failure with the wait before the next attempt.
    ///
    /// # Errors
    /// If there is no next attempt: the failure is permanent, or the schedule is used up.
    fn next_wait(
        &mut self,
        schedule: &mut RetrySchedule,
        error: backoff::Error<DeliveryFailure>,
    ) -> Result<RetryWait, SendFailure> {
        let (failure, asked) = match error {
            backoff::Error::Permanent(failure) => (failure, None),
            backoff::Error::Transient { err, retry_after } => {
                (err, Some(retry_after.unwrap_or_default()))
            }
        };
        let role = self.outgoing.role;
        self.record.worker.record_failure(role, &failure);
        let next = asked.and_then(|asked| Some(schedule.next_backoff()?.max(asked)));
        let Some(wait) = next else {
            return Err(self.outgoing.final_failure(failure, schedule));
        };
        let attempts = schedule.attempts_made();
        self.span.add_event("retry", || {
            [
                KeyValue::new("sealpost.attempts", i64::from(attempts)),
                KeyValue::new("sealpost.reason", failure.to_string()),
                KeyValue::new("sealpost.backoff", wait.as_secs_f64()),
            ]
        });
        Ok(RetryWait { failure, wait })
    }
}
