//! The flags that decide what of a configuration is served: for `run` and `check` alike, so that both say the same.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{ManifestOptions, RabbitmqAccess};
use crate::control::{ApiServer, CaCerts, Rabbitmq, Settings, Urls};
use crate::model::{self, TransportEncryption};

/// What a channel is made of where nothing says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DefaultChannel {
    /// In memory.
    Inmemory,
    /// On RabbitMQ.
    Rabbitmq,
}

impl From<DefaultChannel> for model::Storage {
    fn from(channel: DefaultChannel) -> Self {
        match channel {
            DefaultChannel::Inmemory => Self::Memory,
            DefaultChannel::Rabbitmq => Self::Rabbitmq,
        }
    }
}

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Channels, Brokers and Triggers in one process.
    Channel,
    /// Takes events for Brokers and hands them to their channels elsewhere.
    Ingress,
    /// Takes events for Triggers and hands to subscribers those that pass.
    Filter,
    /// Reconciles RabbitmqChannels of a cluster; takes no events.
    Controller,
}

impl From<Role> for model::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Channel => Self::Channel,
            Role::Ingress => Self::Ingress,
            Role::Filter => Self::Filter,
            // It reads what is about channels.
            Role::Controller => Self::Channel,
        }
    }
}

/// What is served, and how.
#[derive(Clone, Debug, Args)]
pub struct ServedOptions {
    /// What to be: everything in one process, or what upstream's mt-broker-ingress or mt-broker-filter is [default: with
    /// --kubernetes as CONTAINER_NAME says, else channel]
    #[arg(long, value_name = "ROLE", env = "SEALPOST_ROLE")]
    pub role: Option<Role>,

    /// disabled, permissive or strict; overrides the ConfigMap config-features [default: from there, else disabled]
    #[arg(long, value_name = "MODE", env = "SEALPOST_TRANSPORT_ENCRYPTION", value_parser = transport_encryption)]
    pub transport_encryption: Option<TransportEncryption>,

    /// Server certificate, PEM, leaf first; re-read when it changes
    #[arg(long, value_name = "FILE", env = "SEALPOST_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Its private key, PEM: PKCS#1, PKCS#8 or SEC1
    #[arg(long, value_name = "FILE", env = "SEALPOST_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// The CA that senders should trust, PEM: advertised as CACerts
    #[arg(long, value_name = "FILE", env = "SEALPOST_TLS_CA", requires = "tls_cert")]
    pub tls_ca: Option<PathBuf>,

    /// What a Channel without template and a Broker's channel are made of
    #[arg(long, value_name = "KIND", env = "SEALPOST_DEFAULT_CHANNEL", default_value = "inmemory")]
    pub default_channel: DefaultChannel,
}

impl ServedOptions {
    /// What cannot be, whatever the manifests say.
    ///
    /// # Errors
    /// What to change.
    pub fn validate(&self, rabbitmq: &RabbitmqAccess) -> Result<(), String> {
        if self.default_channel == DefaultChannel::Rabbitmq && rabbitmq.rabbitmq_uri.is_none() {
            return Err("--default-channel rabbitmq needs --rabbitmq-uri".to_owned());
        }
        Ok(())
    }

    /// The settings for reading manifests, where there is no cluster. `urls` are those of the listeners, if there are any.
    #[must_use]
    pub fn settings(
        &self,
        manifests: &ManifestOptions,
        rabbitmq: &RabbitmqAccess,
        urls: Option<Urls>,
        ca_certs: CaCerts,
    ) -> Settings {
        let rabbitmq = if rabbitmq.rabbitmq_uri.is_some() { Rabbitmq::Given } else { Rabbitmq::Missing };
        Settings {
            role: self.role.map(model::Role::from).unwrap_or_default(),
            default_storage: self.default_channel.into(),
            rabbitmq,
            api_server: ApiServer::Missing,
            ..manifests.settings(self.transport_encryption, urls, ca_certs)
        }
    }
}

fn transport_encryption(text: &str) -> Result<TransportEncryption, String> {
    TransportEncryption::parse(text).ok_or_else(|| "use disabled, permissive or strict".to_owned())
}
