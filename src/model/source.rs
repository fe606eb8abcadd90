//! A sender of events of its own: a PingSource.

use std::sync::Arc;

use super::{CronSchedule, Subscription};
use crate::event::Event;

/// Sends an event at the times of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct PingSource {
    /// Its name, who gets its events, and how that is tried.
    pub subscription: Arc<Subscription>,
    /// When.
    pub schedule: CronSchedule,
    /// What; each event has an `id` and a `time` of its own.
    pub event: Event,
}

impl Eq for PingSource {}
