//! The flags of RabbitMQ, of its connection and of its queues.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::value;
use crate::channel::rabbitmq::{CredentialSource, RabbitmqAddress, RabbitmqCredentials};

/// The address of RabbitMQ, and the credentials.
#[derive(Clone, Args)]
pub struct RabbitmqConnectionOptions {
    /// RabbitMQ to use, amqp://user:password@host:port/vhost or amqps://; several nodes of a
    /// cluster are separated by commas; better given by the environment
    #[arg(
        long,
        value_name = "URI",
        env = "SEALPOST_RABBITMQ_URI",
        hide_env_values = true
    )]
    pub rabbitmq_uri: Option<String>,

    /// User name, instead of the URI's
    #[arg(
        long,
        value_name = "NAME",
        env = "SEALPOST_RABBITMQ_USERNAME",
        requires = "rabbitmq_uri",
        conflicts_with = "rabbitmq_username_file"
    )]
    pub rabbitmq_username: Option<String>,

    /// File with the user name, instead of the URI's; read again for each connection
    #[arg(
        long,
        value_name = "FILE",
        env = "SEALPOST_RABBITMQ_USERNAME_FILE",
        requires = "rabbitmq_uri"
    )]
    pub rabbitmq_username_file: Option<PathBuf>,

    /// Password, instead of the URI's; better given by the environment, or in a file
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "SEALPOST_RABBITMQ_PASSWORD",
        requires = "rabbitmq_uri",
        conflicts_with = "rabbitmq_password_file",
        hide_env_values = true
    )]
    pub rabbitmq_password: Option<String>,

    /// File with the password, instead of the URI's; read again for each connection, so that a new
    /// password needs no restart
    #[arg(
        long,
        value_name = "FILE",
        env = "SEALPOST_RABBITMQ_PASSWORD_FILE",
        requires = "rabbitmq_uri"
    )]
    pub rabbitmq_password_file: Option<PathBuf>,

    /// CA that the certificate of amqps is verified with, PEM [default: those of the system]
    #[arg(
        long,
        value_name = "FILE",
        env = "SEALPOST_RABBITMQ_CA",
        requires = "rabbitmq_uri"
    )]
    pub rabbitmq_ca: Option<PathBuf>,
}

impl RabbitmqConnectionOptions {
    /// The address by which RabbitMQ is reached; `None` if there is no URI.
    ///
    /// # Errors
    /// Fails if the URI is wrong, or a file of a CA, a user name or a password cannot be read.
    pub(crate) fn address(&self) -> anyhow::Result<Option<RabbitmqAddress>> {
        let Some(uri) = &self.rabbitmq_uri else {
            return Ok(None);
        };
        let credentials = RabbitmqCredentials {
            username: credential(&self.rabbitmq_username, &self.rabbitmq_username_file),
            password: credential(&self.rabbitmq_password, &self.rabbitmq_password_file),
        };
        RabbitmqAddress::new(uri, credentials, self.rabbitmq_ca.as_deref()).map(Some)
    }
}

fn credential(text: &Option<String>, file: &Option<PathBuf>) -> Option<CredentialSource> {
    let text = text.clone().map(CredentialSource::Text);
    text.or_else(|| file.clone().map(CredentialSource::File))
}

impl std::fmt::Debug for RabbitmqConnectionOptions {
    /// Shows the fields that cannot hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            rabbitmq_username,
            rabbitmq_username_file,
            rabbitmq_password_file,
            rabbitmq_ca,
            ..
        } = self;
        f.debug_struct("RabbitmqConnectionOptions")
            .field("username", rabbitmq_username)
            .field("username_file", rabbitmq_username_file)
            .field("password_file", rabbitmq_password_file)
            .field("ca", rabbitmq_ca)
            .finish_non_exhaustive()
    }
}

/// The type of RabbitMQ's queues, as the flag names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum QueueTypeArg {
    /// Replicated.
    Quorum,
    /// On one node.
    Classic,
}

/// The flags of channels on RabbitMQ.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "RabbitMQ")]
pub struct RabbitmqOptions {
    /// The address of RabbitMQ, and the credentials.
    #[command(flatten)]
    pub access: RabbitmqConnectionOptions,

    /// How queues are stored: quorum or classic
    #[arg(
        long,
        value_name = "TYPE",
        env = "SEALPOST_RABBITMQ_QUEUE_TYPE",
        default_value = "quorum"
    )]
    pub rabbitmq_queue_type: QueueTypeArg,

    /// Messages of one queue that are held unacknowledged at most
    #[arg(long, value_name = "N", env = "SEALPOST_RABBITMQ_PREFETCH", default_value = "256", value_parser = clap::value_parser!(u16).range(1..))]
    pub rabbitmq_prefetch: u16,

    /// Longest wait between attempts for which a message is held; longer ones go through durable
    /// delay queues
    #[arg(long, value_name = "DURATION", env = "SEALPOST_RABBITMQ_PATIENCE", default_value = "PT5S", value_parser = value::parse_duration_value)]
    pub rabbitmq_patience: Duration,

    /// RabbitMQ's consumer timeout (its consumer_timeout): messages are held for three quarters of
    /// it, then put off; a shorter one is learnt from RabbitMQ when it is met
    #[arg(long, value_name = "DURATION", env = "SEALPOST_RABBITMQ_CONSUMER_TIMEOUT", default_value = "PT30M", value_parser = value::parse_nonzero_duration)]
    pub rabbitmq_consumer_timeout: Duration,

    /// Delete the queue of a subscription that is gone, after so long [default: keep it for ever]
    #[arg(long, value_name = "DURATION", env = "SEALPOST_RABBITMQ_DELETE_AFTER", value_parser = value::parse_duration_value)]
    pub rabbitmq_delete_after: Option<Duration>,
}
