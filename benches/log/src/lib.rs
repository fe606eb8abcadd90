//! The log of channels on disk, compiled without the rest of sealpost: seconds instead of minutes.

pub mod channel;
