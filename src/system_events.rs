//! The operator's events: what an operator should know, as CloudEvents into a Broker or channel that
//! `--system-events` names. A destination begins to fail and takes events again, events are parked,
//! a certificate expires soon, a part of the configuration is refused.
//!
//! Nothing is told where it happens: once a second what is so now is compared with what was told.
//! So the way of events pays nothing, what changes faster than that is told as it is in the end, and
//! what found no place within the rate is told later, if it is so still. Nothing is told about the
//! deliveries of these events themselves (`own_deliveries.rs`).

mod certificate_watch;
mod failure_watch;
mod own_deliveries;
mod parked_watch;
mod problem_watch;
mod rate_allowance;
mod runner;
mod system_event;
mod target;

pub(crate) use runner::{SystemEventRunner, SystemEventSettings};
