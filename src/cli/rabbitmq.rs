//! The flags of RabbitMQ, of its connection and of its queues.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::value;

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
        requires = "rabbitmq_uri"
    )]
    pub rabbitmq_username: Option<String>,

    /// Password, instead of the URI's; better given by the environment
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "SEALPOST_RABBITMQ_PASSWORD",
        requires = "rabbitmq_uri",
        hide_env_values = true
    )]
    pub rabbitmq_password: Option<String>,

    /// CA that the certificate of amqps is verified with, PEM [default: those of the system]
    #[arg(
        long,
        value_name = "FILE",
        env = "SEALPOST_RABBITMQ_CA",
        requires = "rabbitmq_uri"
    )]
    pub rabbitmq_ca: Option<PathBuf>,
}

/// The address of RabbitMQ as it was given: the URI; user name and password instead of the URI's;
/// the file of a CA.
pub(crate) type RabbitmqConnectionArgs<'a> = (
    &'a str,
    (Option<&'a str>, Option<&'a str>),
    Option<&'a Path>,
);

impl RabbitmqConnectionOptions {
    /// The address and credentials that were given; `None` if there is no URI.
    #[must_use]
    pub(crate) fn connection(&self) -> Option<RabbitmqConnectionArgs<'_>> {
        let credentials = (
            self.rabbitmq_username.as_deref(),
            self.rabbitmq_password.as_deref(),
        );
        Some((
            self.rabbitmq_uri.as_deref()?,
            credentials,
            self.rabbitmq_ca.as_deref(),
        ))
    }
}

impl std::fmt::Debug for RabbitmqConnectionOptions {
    /// Shows the fields that cannot hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            rabbitmq_username,
            rabbitmq_ca,
            ..
        } = self;
        f.debug_struct("RabbitmqConnectionOptions")
            .field("username", rabbitmq_username)
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
