//! Who may send to whom, and as whom events are sent.

pub(super) mod authorization;
mod discovery;
pub(super) mod policy;
pub(super) mod policy_target;
pub(super) mod service_account;
pub(super) mod trigger_subjects;
mod uncertain;
