//! The control plane: it turns Knative objects, from files or from a cluster, into one immutable
//! routing table and a list of problems.
//!
//! In reading order: [`read_manifests`] finds files and parses them (`file`, `yaml`, `manifest`),
//! [`resolve()`] turns what they say into a [`Resolution`], and [`watch_files`] does both again
//! whenever something changes. [`ClusterConnection::follow_cluster`] does the same with the objects
//! of a cluster (`kubernetes`). Nothing here receives or sends events.

mod channel_kind;
mod file;
mod file_watch;
mod go_duration;
mod kind;
mod kubernetes;
mod manifest;
mod problem;
mod problem_log;
mod report;
mod resolve;
mod schema;
mod served_configuration;
mod settings;
mod yaml;

use std::path::PathBuf;

pub use channel_kind::ServedChannelKind;
pub use file::{parse_manifests, read_manifests};
pub use file_watch::watch_files;
pub use kubernetes::{
    ApiServerAccess, ClusterConnection, ClusterSettings, LatestResolution, StopSignals,
};
pub use manifest::ManifestSet;
pub(crate) use manifest::spelling::suggest_word;
pub use problem::{ObjectName, Problem, Severity, short};
pub use resolve::{
    Resolution, ResolvedSink, ServerCertificate, SinkName, resolve, resolve_sink, trigger_filters,
};
pub use schema::{json_schema, schema_names};
pub use served_configuration::ServedConfiguration;
pub use settings::{
    AdvertisedCaCerts, ApiServerAvailability, ChannelScope, ClusterNameLookup, ControlSettings,
    DeliveryMerge, ListenerUrls, ObjectSource, RabbitmqAvailability, ResolveOverride,
    ResolveOverrideError, UnknownFields,
};

/// Finds every problem of the manifests at these paths, as if they were applied for the first time.
#[must_use]
pub fn check_manifests(paths: &[PathBuf], settings: &ControlSettings) -> Vec<Problem> {
    resolve(&read_manifests(paths), None, settings).problems
}
