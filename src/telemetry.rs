//! What operators see: logs and counters.

pub mod counters;
