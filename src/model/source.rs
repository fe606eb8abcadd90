//! A PingSource: it sends events of its own at the times of a schedule.

use std::sync::Arc;

use super::{CronSchedule, Subscription};
use crate::event::Event;

/// A PingSource: it sends an event at each time of its schedule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PingSource {
    /// The name of the source, its sink as the subscriber, and how delivery to it is tried.
    pub subscription: Arc<Subscription>,
    /// The times at which it sends.
    pub schedule: CronSchedule,
    /// The event that it sends; each copy gets an `id` and a `time` of its own.
    pub event: Event,
}

impl Eq for PingSource {}
