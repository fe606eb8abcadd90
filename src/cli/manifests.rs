//! The flags that name the manifests and say how they are read: for `run` and `check` alike.

use std::path::PathBuf;

use clap::Args;
use time::OffsetDateTime;

use super::cluster::is_pod;
use crate::control::{
    AdvertisedCaCerts, ClusterNameLookup, ControlSettings, DeliveryMerge, ListenerUrls,
    ResolveOverride, UnknownFields,
};
use crate::correlation::CorrelationSeed;
use crate::model::TransportEncryption;

/// The paths of the manifests, and the settings that manifests do not hold.
#[derive(Clone, Debug, Args)]
pub struct ManifestOptions {
    /// Manifest file or directory, - for standard input; repeatable; run watches them and applies
    /// changes
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "PATH",
        env = "SEALPOST_FILENAME",
        value_delimiter = ','
    )]
    pub filename: Vec<PathBuf>,

    /// Where a host name really is, for one port or for all; TLS still verifies HOST; repeatable
    #[arg(
        long,
        value_name = "HOST[:PORT]=ADDR:PORT",
        env = "SEALPOST_RESOLVE",
        value_delimiter = ','
    )]
    pub resolve: Vec<ResolveOverride>,

    /// Namespace of objects that name none
    #[arg(
        short = 'n',
        long,
        value_name = "NS",
        env = "SEALPOST_NAMESPACE",
        default_value = "default"
    )]
    pub namespace: String,

    /// Namespace of config-features, trust bundles and TLS Secrets [default: knative-eventing; in
    /// a cluster SYSTEM_NAMESPACE]
    #[arg(long, value_name = "NS", env = "SEALPOST_SYSTEM_NAMESPACE")]
    pub system_namespace: Option<String>,

    /// Domain of cluster host names [default: cluster.local; in a cluster CLUSTER_DOMAIN, else as
    /// resolv.conf says]
    #[arg(long, value_name = "DOMAIN", env = "SEALPOST_CLUSTER_DOMAIN")]
    pub cluster_domain: Option<String>,

    /// What a Trigger or Subscription with a delivery spec of its own gets of its parent's: only
    /// the dead letter sink, as in Knative (replace), or every field that it does not set (fields)
    #[arg(
        long,
        value_name = "HOW",
        env = "SEALPOST_DELIVERY_MERGE",
        default_value = "replace"
    )]
    pub delivery_merge: DeliveryMerge,

    /// What a field is that its kind does not have: an error, or a warning, for manifests of a
    /// newer Knative
    #[arg(
        long,
        value_name = "SEVERITY",
        env = "SEALPOST_UNKNOWN_FIELDS",
        default_value = "error"
    )]
    pub unknown_fields: UnknownFields,
}

/// Names of a cluster can be looked up in its pods.
fn cluster_names() -> ClusterNameLookup {
    if is_pod() {
        ClusterNameLookup::Available
    } else {
        ClusterNameLookup::Unavailable
    }
}

impl ManifestOptions {
    /// The namespace of Knative's configuration.
    #[must_use]
    pub(crate) fn system_namespace(&self) -> &str {
        self.system_namespace
            .as_deref()
            .unwrap_or("knative-eventing")
    }

    /// The domain of cluster host names.
    #[must_use]
    pub(crate) fn cluster_domain(&self) -> &str {
        self.cluster_domain.as_deref().unwrap_or("cluster.local")
    }

    /// The settings for resolving the manifests; the arguments are those that other flags decide.
    #[must_use]
    pub(crate) fn control_settings(
        &self,
        transport_encryption: Option<TransportEncryption>,
        urls: Option<ListenerUrls>,
        ca_certs: AdvertisedCaCerts,
    ) -> ControlSettings {
        ControlSettings {
            system_namespace: self.system_namespace().to_owned(),
            cluster_domain: self.cluster_domain().to_owned(),
            default_namespace: self.namespace.clone(),
            delivery_merge: self.delivery_merge,
            transport_encryption,
            resolve_overrides: self.resolve.clone(),
            listener_urls: urls,
            ca_certs,
            unknown_fields: self.unknown_fields,
            cluster_names: cluster_names(),
            key_seed: CorrelationSeed::random(),
            now: OffsetDateTime::now_utc().unix_timestamp(),
            ..ControlSettings::default()
        }
    }

    /// Checks that there is something to read.
    ///
    /// # Errors
    /// Fails if no manifest is named.
    pub fn validate(&self) -> Result<(), String> {
        if self.filename.is_empty() {
            Err("nothing to read: give manifests with -f PATH".to_owned())
        } else {
            Ok(())
        }
    }
}
