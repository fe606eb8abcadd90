//! The core kinds that configuration and references are read from.

use std::fmt;

use serde::Deserialize;

use super::duck::{ObjectMeta, TextMap};

/// `ConfigMap`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConfigMapManifest {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    pub(crate) data: TextMap,
    pub(crate) binary_data: TextMap,
}

/// `Secret`.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretManifest {
    pub(crate) data: TextMap,
    pub(crate) string_data: TextMap,
}

impl fmt::Debug for SecretManifest {
    /// Values are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// `Service`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ServiceManifest {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<ServiceSpec>,
}

/// `spec` of a `Service`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceSpec {
    pub(crate) selector: TextMap,
    #[serde(rename = "type")]
    pub(crate) service_type: Option<String>,
    pub(crate) external_name: Option<String>,
}

/// `Pod`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PodManifest {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
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
