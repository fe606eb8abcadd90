//! The `sealpost` binary from outside: real processes, real sockets, real handshakes.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::string_slice,
    reason = "tests end at what they did not expect, and measure by the wall clock"
)]

mod audit;
mod breakages;
mod broker;
mod cesql;
mod cluster;
mod commands;
mod corpus;
mod delivery;
mod deploy;

mod destinations;
mod disk;
mod encryption;
mod examples;
mod exec;
mod fanout;
mod filters;
mod flows;
mod fuzz;
mod history;
mod kubernetes;
mod life;
mod limits;
mod listener;
mod lists;
mod load;
mod memory;
mod metrics;
mod namespace_limits;
mod observability;
mod observation;
mod operators;
mod peers;
mod python;
mod rabbitmq;
mod reach;
mod receive;
mod reference;
mod references;
mod reload;
mod replay;
mod request_reply;
mod roles;
mod secrets;
mod senders;
mod sources;
mod status;
mod support;
mod system_events;
mod texts;
mod tidy;
mod top;
mod traces;
mod trust;
mod tutorials;
