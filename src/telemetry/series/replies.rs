//! What is counted for a RequestReply.

use std::sync::Arc;

use super::{Counter, Gauge, Known, Name, Series, alive, find};
use crate::telemetry::family::{Family, Label, Reading};

/// How a request to a RequestReply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replied {
    /// With the reply.
    Replied,
    /// Without one, in time.
    TimedOut,
    /// At once, since too many wait.
    Full,
    /// Unfinished, since the process stops, or the RequestReply is gone.
    Ended,
    /// The Broker did not take its event, or could not deliver it.
    Refused,
}

/// In the order of [`Replied`].
const ENDS: [&str; 5] = ["replied", "timed_out", "full", "ended", "refused"];

/// The RequestReplies of a process.
pub(super) type Replies = Known<ReplySeries>;

/// What is counted for a RequestReply.
#[derive(Debug, Default)]
pub struct ReplySeries {
    name: Name,
    ends: [Counter; ENDS.len()],
    /// Requests that wait now.
    pub waiting: Gauge,
    /// Genuine replies that nobody waited for, or not any more.
    pub late: Counter,
}

impl ReplySeries {
    /// A request ended.
    pub fn ended(&self, end: Replied) {
        if let Some(counter) = self.ends.get(end as usize) {
            counter.increment();
        }
    }
}

impl Series {
    /// The series of a RequestReply, which live as long as somebody holds them.
    pub fn request_reply(&self, name: &Name) -> Arc<ReplySeries> {
        find(&self.request_replies, name, |name| ReplySeries { name, ..ReplySeries::default() })
    }
}

/// All of them.
pub(super) fn read(replies: &Replies) -> [Family<'static>; 3] {
    let mut ends = Family::new("sealpost_request_reply_requests", "Requests to a RequestReply by how they ended");
    let mut waiting = Family::new("sealpost_request_reply_waiting", "Requests that wait for their reply now");
    let mut late = Family::new("sealpost_request_reply_late_replies", "Genuine replies that nobody waited for");
    for series in alive(replies) {
        let Name { namespace, name, .. } = &series.name;
        let labels: [Label<'static>; 2] = [
            ("request_reply_namespace", namespace.clone().into_string().into()),
            ("request_reply_name", name.clone().into_string().into()),
        ];
        for (end, counter) in ENDS.iter().zip(&series.ends) {
            let [namespace, name] = labels.clone();
            ends.push(&[namespace, name, ("result", (*end).into())], Reading::Total(counter.get()));
        }
        waiting.push(&labels, Reading::Gauge(super::read::number(series.waiting.get())));
        late.push(&labels, Reading::Total(series.late.get()));
    }
    [ends, waiting, late]
}
