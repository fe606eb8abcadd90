//! The serde mirrors of Kubernetes' own kinds, which hold configuration or are referred to.

use std::fmt;

use serde::Deserialize;

use super::duck::{ObjectMeta, TextMap};

/// A `ConfigMap`, which holds configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConfigMapManifest {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    pub(crate) data: TextMap,
    pub(crate) binary_data: TextMap,
}

/// A `Secret`, which holds certificates or keys.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretManifest {
    pub(crate) data: TextMap,
    pub(crate) string_data: TextMap,
}

impl fmt::Debug for SecretManifest {
    /// Writes the name of the type only, since the values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A `Service`, which destinations refer to.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ServiceManifest {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<ServiceSpec>,
}

/// The `spec` of a `Service`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceSpec {
    pub(crate) selector: TextMap,
    #[serde(rename = "type")]
    pub(crate) service_type: Option<String>,
    pub(crate) external_name: Option<String>,
}

/// A `Pod`, which says what runs behind a Service.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PodManifest {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<PodSpec>,
}

/// The `spec` of a `Pod`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PodSpec {
    pub(crate) containers: Option<Vec<Container>>,
}

/// One entry of a Pod's `spec.containers`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Container {
    pub(crate) image: Option<String>,
}
