//! The serde mirrors of types that several kinds share: metadata, destinations, references,
//! delivery specs.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A map of texts, in which Kubernetes allows null values.
pub(crate) type TextMap = Option<BTreeMap<String, Option<String>>>;

/// The text under a key of a [`TextMap`]; `None` if it is missing or null.
pub(crate) fn text<'t>(texts: &'t TextMap, key: &str) -> Option<&'t str> {
    texts.as_ref()?.get(key)?.as_deref()
}

/// The `metadata` of an object, as far as it is read.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ObjectMeta {
    pub(crate) uid: Option<String>,
    pub(crate) labels: TextMap,
    pub(crate) annotations: TextMap,
}

impl ObjectMeta {
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        text(&self.annotations, key)
    }
}

/// A reference to an object (Knative's `KReference`).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KReference {
    pub(crate) api_version: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) namespace: Option<String>,
    /// The API group, which may stand instead of `apiVersion` if the version does not matter.
    pub(crate) group: Option<String>,
}

/// A destination of events as it is written: `ref`, `uri`, or both.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) struct DestinationManifest {
    #[serde(rename = "ref")]
    pub(crate) reference: Option<KReference>,
    pub(crate) uri: Option<String>,
    #[serde(rename = "CACerts")]
    pub(crate) ca_certs: Option<String>,
    pub(crate) audience: Option<String>,
}

/// A delivery spec as it is written (contract 2.1).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliverySpecManifest {
    pub(crate) dead_letter_sink: Option<DestinationManifest>,
    pub(crate) retry: Option<i64>,
    pub(crate) backoff_policy: Option<String>,
    pub(crate) backoff_delay: Option<String>,
    pub(crate) backoff_max: Option<String>,
    pub(crate) timeout: Option<String>,
    pub(crate) retry_after_max: Option<String>,
    pub(crate) format: Option<String>,
}
