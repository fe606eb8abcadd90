//! sealpost: CloudEvents in over HTTP or HTTPS, through a channel, out to every subscriber.

pub mod channel;
pub mod event;
pub mod filter;
pub mod model;
pub mod router;
pub mod server;
pub mod telemetry;
