//! Who may send to whom, and as whom events are sent.

pub(super) mod authorization;
pub(super) mod policy;
pub(super) mod policy_target;
pub(super) mod service_account;
