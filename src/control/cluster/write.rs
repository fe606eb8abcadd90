//! The one way into the cluster: [`queue`] decides what is written and when, [`requests`] sends it,
//! [`status_updates`] is what a dispatcher has to write. What the controller has to write stands in
//! `controller::reconcile`.

pub(super) mod queue;
pub(super) mod requests;
pub(super) mod status_updates;
mod warning_event;
