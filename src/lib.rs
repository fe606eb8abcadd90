//! sealpost: CloudEvents in over HTTP or HTTPS, through a channel, out to every subscriber.

pub mod admin;
pub mod app;
pub mod channel;
pub mod cli;
pub mod client;
pub mod command;
pub mod control;
pub mod delivery;
pub mod dispatcher;
pub mod display;
pub mod event;
pub mod filter;
pub mod ingress;
pub mod model;
pub mod router;
pub mod server;
pub mod supervisor;
pub mod telemetry;
pub mod tls;
