//! Reads manifests: finds files, parses them, and turns their documents into Knative's kinds, each
//! checked by its schema first.

pub(super) mod document;
pub(super) mod file;
pub(super) mod go_duration;
pub(super) mod header;
pub(super) mod kind;
pub(super) mod manifest;
pub(super) mod policy_body;
pub(super) mod problem;
pub(super) mod report;
pub(super) mod schema;
pub(super) mod spelling;
pub(super) mod yaml;
