//! The control plane: it turns Knative objects, from files or from a cluster, into one immutable
//! routing table and a list of problems.
//!
//! In reading order: [`read_manifests`] finds files and parses them (`read`), [`resolve()`] turns
//! what they say into a [`Resolution`] by the [`ControlTask`] of the process (`task`), and
//! [`watch_files`] does both again whenever something changes (`files`).
//! `follow_cluster` does the same with the objects of a cluster (`cluster`).
//! Nothing here receives or sends events. This file re-exports for the rest of the crate alone.

mod channel_kind;
mod cluster;
mod files;
mod limits_file;
pub(crate) mod object_changes;
mod problem_log;
mod read;
mod resolve;
mod served_configuration;
mod settings;
mod task;

use std::path::PathBuf;

pub use channel_kind::ServedChannelKind;
pub(crate) use cluster::{
    ApiServerAccess, ClusterSettings, FollowerChannels, LatestResolution, StopSignals,
};
pub(crate) use files::watch_files;
pub(crate) use limits_file::{parse_namespace_limits, read_limits_text};
pub use read::document::ManifestSet;
pub use read::file::parse_manifests;
pub use read::file::read_manifests;
pub use read::problem::Problem;
pub(crate) use read::problem::{Severity, short};
pub(crate) use read::schema::{json_schema, schema_names};
pub(crate) use read::spelling::suggest_word;
pub use resolve::Resolution;
pub use resolve::resolve;
pub(crate) use resolve::{
    ResolvedSink, ServerCertificate, SinkName, resolve_sink, trigger_filters,
};
pub(crate) use served_configuration::ServedConfiguration;
pub use settings::ControlSettings;
pub use settings::UnknownFields;
pub(crate) use settings::{
    AdvertisedCaCerts, ApiServerAvailability, ClusterNameLookup, DataDirectoryAvailability,
    DeliveryMerge, ListenerUrls, RabbitmqAvailability, ResolveOverride,
};
pub use task::ChannelScope;
pub use task::ControlTask;
pub use task::ObjectSource;

/// Finds every problem of the manifests at these paths, as if they were applied for the first time.
#[must_use]
pub fn check_manifests(paths: &[PathBuf], settings: &ControlSettings) -> Vec<Problem> {
    resolve(&read_manifests(paths), None, settings).problems
}
