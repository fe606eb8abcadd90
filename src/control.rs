//! The control plane: it turns Knative objects, from files or from a cluster, into one immutable
//! routing table and a list of problems.
//!
//! In reading order: [`read_manifests`] finds files and parses them (`read`), [`resolve()`] turns
//! what they say into a [`Resolution`] by the [`ControlTask`] of the process (`task`), and
//! [`watch_files`] does both again whenever something changes (`files`).
//! [`ClusterConnection::follow_cluster`] does the same with the objects of a cluster (`cluster`).
//! Nothing here receives or sends events. This file re-exports for the rest of the crate alone.

mod channel_kind;
mod cluster;
mod files;
mod problem_log;
mod read;
mod resolve;
mod served_configuration;
mod settings;
mod task;

use std::path::PathBuf;

pub use channel_kind::ServedChannelKind;
pub use cluster::{
    ApiServerAccess, ClusterConnection, ClusterSettings, FollowerChannels, LatestResolution,
    StopSignals,
};
pub use files::watch_files;
pub use read::document::ManifestSet;
pub use read::file::{parse_manifests, read_manifests};
pub use read::problem::{ObjectName, Problem, Severity, short};
pub use read::schema::{json_schema, schema_names};
pub(crate) use read::spelling::suggest_word;
pub use resolve::{
    Resolution, ResolvedSink, ServerCertificate, SinkName, resolve, resolve_sink, trigger_filters,
};
pub use served_configuration::ServedConfiguration;
pub use settings::{
    AdvertisedCaCerts, ApiServerAvailability, ClusterNameLookup, ControlSettings,
    DataDirectoryAvailability, DeliveryMerge, ListenerUrls, RabbitmqAvailability, ResolveOverride,
    ResolveOverrideError, UnknownFields,
};
pub use task::{ChannelScope, ControlTask, ObjectSource};

/// Finds every problem of the manifests at these paths, as if they were applied for the first time.
#[must_use]
pub fn check_manifests(paths: &[PathBuf], settings: &ControlSettings) -> Vec<Problem> {
    resolve(&read_manifests(paths), None, settings).problems
}
