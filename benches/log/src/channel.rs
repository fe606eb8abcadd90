//! The place that the log has in sealpost.

pub mod disk;
