//! Headers of a deferred message: attempts so far, and the time of the next one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapin::types::{AMQPValue, FieldTable};

use super::amqp_value::short_string;
use super::header_names::{ATTEMPTS, NOT_BEFORE, WAIT_LEFT};

/// Attempts and wait of an event, beside the event itself; the default is that of a new event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RetryHeaders {
    /// Attempts made at the destination of the current stage.
    pub(crate) attempts: u32,
    /// Time at which the next attempt is due, in milliseconds since the epoch.
    pub(crate) not_before_millis: u64,
    /// Longest wait that is left, in milliseconds: clocks of processes differ, and are set.
    pub(crate) remaining_millis: Option<u64>,
}

impl RetryHeaders {
    /// Wait that is left, from now.
    pub(crate) fn remaining_wait(&self) -> Duration {
        let by_clock = self.not_before_millis.saturating_sub(unix_millis());
        Duration::from_millis(by_clock.min(self.remaining_millis.unwrap_or(u64::MAX)))
    }

    /// Makes the headers after so many attempts for this wait, of which `delayed` passes in a delay
    /// queue.
    pub(crate) fn after_attempts(attempts: u32, wait: Duration, delayed: Duration) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let remaining_millis = Some(millis(wait.saturating_sub(delayed)));
        Self {
            attempts,
            not_before_millis: unix_millis().saturating_add(millis(wait)),
            remaining_millis,
        }
    }

    /// Adds the headers, unless they are those of a new event.
    pub(crate) fn insert_into(self, headers: &mut FieldTable) {
        if self == Self::default() {
            return;
        }
        let signed = |value: u64| AMQPValue::LongLongInt(i64::try_from(value).unwrap_or(i64::MAX));
        headers.insert(short_string(ATTEMPTS), AMQPValue::LongUInt(self.attempts));
        headers.insert(short_string(NOT_BEFORE), signed(self.not_before_millis));
        if let Some(left) = self.remaining_millis {
            headers.insert(short_string(WAIT_LEFT), signed(left));
        }
    }

    /// Decodes the headers; what is missing is 0.
    pub(crate) fn decode(headers: &FieldTable) -> Self {
        let number = |name: &str| match headers.inner().get(name) {
            Some(AMQPValue::LongUInt(value)) => u64::from(*value),
            Some(AMQPValue::LongLongInt(value)) => u64::try_from(*value).unwrap_or_default(),
            _ => 0,
        };
        let left = headers
            .inner()
            .contains_key(WAIT_LEFT)
            .then(|| number(WAIT_LEFT));
        Self {
            attempts: u32::try_from(number(ATTEMPTS)).unwrap_or(u32::MAX),
            not_before_millis: number(NOT_BEFORE),
            remaining_millis: left,
        }
    }
}

/// Milliseconds since the epoch, by the clock of this process.
pub(super) fn unix_millis() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
