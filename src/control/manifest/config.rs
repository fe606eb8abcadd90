//! The core kinds that configuration and references are read from.

use std::fmt;

use serde::Deserialize;

use super::duck::{Metadata, Texts};

/// `ConfigMap`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConfigMap {
    #[serde(default)]
    pub(crate) metadata: Metadata,
    pub(crate) data: Texts,
    pub(crate) binary_data: Texts,
}

/// `Secret`.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Secret {
    pub(crate) data: Texts,
    pub(crate) string_data: Texts,
}

impl fmt::Debug for Secret {
    /// Values are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// `Service`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Service {
    #[serde(default)]
    pub(crate) metadata: Metadata,
    pub(crate) spec: Option<ServiceSpec>,
}

/// `spec` of a `Service`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceSpec {
    pub(crate) selector: Texts,
    #[serde(rename = "type")]
    pub(crate) of_type: Option<String>,
    pub(crate) external_name: Option<String>,
}

/// `Pod`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Pod {
    #[serde(default)]
    pub(crate) metadata: Metadata,
    pub(crate) spec: Option<PodSpec>,
}

/// `spec` of a `Pod`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PodSpec {
    pub(crate) containers: Option<Vec<Container>>,
}

/// One of `spec.containers`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Container {
    pub(crate) image: Option<String>,
}
