//! The control plane: Knative objects, from files or from a cluster, become problems and one immutable routing table.
//!
//! In reading order: [`read`] finds files and parses them (`file`, `yaml`, `manifest`), [`resolve`] turns what they say
//! into a [`Resolution`], [`watch`] does both again whenever something changes. [`Connected::follow`] does the same with the
//! objects of a cluster (`kubernetes`). Nothing here receives or sends events.

mod channels;
mod file;
mod go_duration;
mod journal;
mod kind;
mod kubernetes;
mod manifest;
mod problem;
mod report;
mod resolve;
mod schema;
mod settings;
mod watch;
mod yaml;

use std::path::PathBuf;

pub use channels::Channels;
pub use file::{of_text, read};
pub use kubernetes::{Access, Cluster, Connected, Latest, Stops};
pub use manifest::Manifests;
pub(crate) use manifest::spelling::meant;
pub use problem::{ObjectName, Problem, Severity, short};
pub use resolve::{Resolution, ServerCertificate, Sink, SinkName, resolve, resolve_sink, trigger_filters};
pub use schema::{json_schema, schema_names};
pub use settings::{
    ApiServer, CaCerts, ClusterNames, DeliveryMerge, Objects, Rabbitmq, ResolveOverride, ResolveOverrideError, Scope,
    Settings, UnknownFields, Urls,
};
pub use watch::watch;

/// Every problem of the manifests at these paths, as if they were applied for the first time.
#[must_use]
pub fn check(paths: &[PathBuf], settings: &Settings) -> Vec<Problem> {
    resolve(&read(paths), None, settings).problems
}
