//! The flags that decide which part of a configuration is served: for `run` and `check` alike, so
//! that both report the same.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{ManifestOptions, RabbitmqConnectionOptions};
use crate::control::{
    AdvertisedCaCerts, ApiServerAvailability, ControlSettings, ListenerUrls, RabbitmqAvailability,
};
use crate::model::{BackendKind, TransportEncryption};

/// The role of a process, as the flag names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Channels, Brokers and Triggers in one process.
    Channel,
    /// Takes events for Brokers and hands them to their channels elsewhere.
    Ingress,
    /// Takes events for Triggers and hands to subscribers those that pass.
    Filter,
    /// Reconciles RabbitmqChannels of a cluster; takes no events.
    Controller,
}

/// The part of the configuration that is served, and the certificates that it is served with.
#[derive(Clone, Debug, Args)]
pub struct ServedOptions {
    /// What to be: everything in one process, or what upstream's mt-broker-ingress or
    /// mt-broker-filter is [default: with --kubernetes as CONTAINER_NAME says, else channel]
    #[arg(long, value_name = "ROLE", env = "SEALPOST_ROLE")]
    pub role: Option<RoleArg>,

    /// disabled, permissive or strict; overrides the ConfigMap config-features [default: from
    /// there, else disabled]
    #[arg(long, value_name = "MODE", env = "SEALPOST_TRANSPORT_ENCRYPTION", value_parser = parse_transport_encryption)]
    pub transport_encryption: Option<TransportEncryption>,

    /// Server certificate, PEM, leaf first; re-read when it changes
    #[arg(
        long,
        value_name = "FILE",
        env = "SEALPOST_TLS_CERT",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,

    /// Its private key, PEM: PKCS#1, PKCS#8 or SEC1
    #[arg(
        long,
        value_name = "FILE",
        env = "SEALPOST_TLS_KEY",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,

    /// The CA that senders should trust, PEM: advertised as CACerts
    #[arg(
        long,
        value_name = "FILE",
        env = "SEALPOST_TLS_CA",
        requires = "tls_cert"
    )]
    pub tls_ca: Option<PathBuf>,

    /// What a Channel without template and a Broker's channel are made of
    #[arg(
        long,
        value_name = "KIND",
        env = "SEALPOST_DEFAULT_CHANNEL",
        default_value = "inmemory"
    )]
    pub default_channel: BackendKind,

    /// Limits of each namespace, as YAML: bufferedBytes, queueCapacity and rate, with "*" for the
    /// namespaces that have no entry; beyond, senders get 429. Re-read when it changes. Only where
    /// events are kept, that is in the role channel
    #[arg(long, value_name = "FILE", env = "SEALPOST_NAMESPACE_LIMITS")]
    pub namespace_limits: Option<PathBuf>,
}

impl ServedOptions {
    /// Checks the flags for what cannot be, whatever the manifests say.
    ///
    /// # Errors
    /// Says which flag to change.
    pub(crate) fn validate(&self, rabbitmq: &RabbitmqConnectionOptions) -> Result<(), String> {
        if self.default_channel == BackendKind::Rabbitmq && rabbitmq.rabbitmq_uri.is_none() {
            return Err("--default-channel rabbitmq needs --rabbitmq-uri".to_owned());
        }
        Ok(())
    }

    /// The settings for resolving manifests without a cluster. `urls` are those of the listeners,
    /// if there are any.
    #[must_use]
    pub(crate) fn control_settings(
        &self,
        manifests: &ManifestOptions,
        rabbitmq: &RabbitmqConnectionOptions,
        urls: Option<ListenerUrls>,
        ca_certs: AdvertisedCaCerts,
    ) -> ControlSettings {
        let rabbitmq = if rabbitmq.rabbitmq_uri.is_some() {
            RabbitmqAvailability::Given
        } else {
            RabbitmqAvailability::Missing
        };
        ControlSettings {
            task: self.manifests_task(),
            default_backend: self.default_channel,
            rabbitmq,
            api_server: ApiServerAvailability::Missing,
            ..manifests.control_settings(self.transport_encryption, urls, ca_certs)
        }
    }
}

fn parse_transport_encryption(text: &str) -> Result<TransportEncryption, String> {
    TransportEncryption::parse(text).ok_or_else(|| "use disabled, permissive or strict".to_owned())
}
