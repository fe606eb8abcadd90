//! The flags of `sealpost display`.

use std::path::PathBuf;

use clap::Args;

use super::{LineOptions, value};

/// The options of `sealpost display`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Prints events in the layout of Knative's event_display.\n\nExamples:\n  sealpost display --addr 127.0.0.1:8081\n  sealpost display --reply my.reply\n  sealpost display --status 503\n  sealpost display -o json | jq .type"
)]
pub struct DisplayOptions {
    /// Address to listen on
    #[arg(long, value_name = "HOST:PORT", env = "SEALPOST_ADDR", default_value = "127.0.0.1:8081", value_parser = value::parse_listen_address)]
    pub addr: String,

    /// Answer each event with an event of this type
    #[arg(long, value_name = "TYPE", env = "SEALPOST_REPLY", value_parser = value::parse_nonempty_text)]
    pub reply: Option<String>,

    /// Answer with this status
    #[arg(long, value_name = "CODE", env = "SEALPOST_STATUS", default_value = "200", value_parser = clap::value_parser!(u16).range(200..=999))]
    pub status: u16,

    /// How events are printed: as text, or one event in JSON on each line.
    #[command(flatten)]
    pub lines: LineOptions,

    /// Server certificate for HTTPS, PEM, leaf first
    #[arg(
        long,
        value_name = "FILE",
        env = "SEALPOST_TLS_CERT",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,

    /// Its private key, PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "SEALPOST_TLS_KEY",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
}
