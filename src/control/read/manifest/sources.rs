//! The serde mirrors of `sources.knative.dev`: PingSources, which send events by themselves.

use serde::Deserialize;

use super::duck::{DestinationManifest, TextMap};

/// A `PingSource` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PingSourceManifest {
    pub(crate) spec: Option<PingSourceSpec>,
}

/// The `spec` of a `PingSource`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PingSourceSpec {
    pub(crate) schedule: Option<String>,
    pub(crate) timezone: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) data: Option<String>,
    #[serde(rename = "dataBase64")]
    pub(crate) data_base64: Option<String>,
    pub(crate) sink: Option<DestinationManifest>,
    pub(crate) ce_overrides: Option<CloudEventOverrides>,
}

/// The `spec.ceOverrides` of a source.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct CloudEventOverrides {
    pub(crate) extensions: TextMap,
}
