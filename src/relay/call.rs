//! One event for one Trigger: who asked, and what is counted of it.

use bytes::Bytes;
use http::Response;
use tokio::time::Instant;

use super::{Unsent, of_scheme};
use crate::model::{Addressable, Scheme, TriggerRelay};
use crate::scrub;
use crate::telemetry::series::{Destination, Dropped, End, SubscriptionSeries};

/// One event on its way through the role `filter`.
#[derive(Clone, Copy)]
pub(super) struct Call<'c> {
    pub(super) trigger: &'c TriggerRelay,
    pub(super) series: &'c SubscriptionSeries,
    /// By which it came.
    pub(super) scheme: Scheme,
    /// When it came.
    pub(super) came: Instant,
}

impl Call<'_> {
    /// It is sent now (contract OB-7).
    pub(super) fn begin(&self) {
        self.series.enqueue();
        self.series.begin();
        of_scheme(self.series.relayed(), self.scheme).processed.record(self.came.elapsed());
    }

    /// It was sent to this destination, and answered or not (contract OB-6).
    pub(super) fn sent(
        &self,
        (destination, to): (Destination, &Addressable),
        started: Instant,
        answer: &Result<Response<Bytes>, Unsent>,
    ) {
        let result = match answer {
            Ok(answer) => Ok(answer.status().as_u16()),
            Err(Unsent::Token(_)) => Err("token"),
            Err(Unsent::Transport(error)) => Err(error.reason()),
        };
        self.series.attempt(destination, result);
        of_scheme(self.series.relayed(), self.scheme).dispatched.record(result.ok(), started.elapsed());
        let reason = match answer {
            Ok(answer) if answer.status().is_success() => return self.series.succeeded(destination, started),
            Ok(answer) => format!("answered {}", answer.status()),
            Err(error) => error.to_string(),
        };
        self.series.failed(destination, &scrub::url(to.url.text()), &reason);
    }

    /// It is a dead letter, and there is no sink for it.
    pub(super) fn lost(&self) {
        self.series.enqueue();
        self.series.begin();
        self.series.end(End::Lost);
        self.series.dropped(Dropped::Lost, Destination::DeadLetterSink, "no_dead_letter_sink");
    }

    /// It ended: with the destination, or with the channel again, which tries once more if it likes.
    pub(super) fn end<T, E>(&self, ended: &Result<T, E>) {
        self.series.end(if ended.is_ok() { End::Delivered } else { End::Returned });
    }
}
