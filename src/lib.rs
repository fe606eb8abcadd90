//! sealpost: takes CloudEvents over HTTP or HTTPS, keeps them in channels, and delivers them to
//! every subscriber.
//!
//! The modules in reading order, which is the order in which an event passes them:
//!
//! - [`event`], [`filter`], [`model`]: the vocabulary, which is pure.
//! - [`server`] accepts connections; [`ingress`] makes events of requests and answers them;
//!   [`router`] accepts events for a channel, whoever brings them; [`channel`] keeps them in a
//!   queue for each subscription.
//! - [`dispatcher`] runs a worker for each queue; [`delivery`] delivers one event to one
//!   subscription, with retries, reply and dead letter sink; [`relay`] does the work of the roles
//!   of upstream's broker instead: one request in, one out. [`client`] sends, by one HTTP client
//!   for each set of trusted certificates; [`display`] prints. [`auth`] verifies the tokens of
//!   senders, and gets those that are sent.
//! - [`event_type`] describes to the cluster which types of events are seen.
//! - [`source`] sends events of its own, at the times of a schedule.
//! - [`control`] makes routing tables of Knative manifests.
//! - [`correlation`]: the ids by which RequestReplies recognize replies.
//! - [`observation`] takes what is told of single events, for `explain` and `tap`.
//! - [`system_events`] tells operators what they should know, as events.
//! - [`wire_text`], [`scrub`], [`budget`], [`tls`], [`telemetry`], [`supervisor`]: mechanisms that
//!   the others use.
//! - [`admin`], [`cli`], [`command`], [`app`]: the program around them.
//!
//! Control plane and data plane meet in one immutable [`model::RoutingTable`]. The library exists
//! for the binary, its tests and its benches; it promises no stable interface.

// The futures of the admin port reach through several backends to a connection of lapin, whose own
// types are deep.
#![recursion_limit = "256"]

pub(crate) mod admin;
pub mod app;
pub mod auth;
pub(crate) mod budget;
pub mod channel;
pub mod cli;
pub mod client;
pub mod command;
pub mod control;
pub(crate) mod correlation;
pub mod delivery;
pub mod dispatcher;
pub mod display;
mod doubling_wait;
pub mod event;
pub mod event_type;
pub mod filter;
pub mod ingress;
pub mod model;
pub mod observation;
pub mod relay;
pub mod router;
pub(crate) mod scrub;
pub mod server;
pub(crate) mod source;
pub(crate) mod supervisor;
mod system_events;
pub mod telemetry;
pub mod tls;
pub mod wire_text;
