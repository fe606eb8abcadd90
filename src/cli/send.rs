//! The flags of `sealpost send`.

use std::path::PathBuf;

use clap::Args;
use http::{HeaderName, HeaderValue};
use url::Url;

use super::value;
use crate::control::ResolveOverride;
use crate::model::DeliveryFormat;

/// The options of `sealpost send`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Prints each answer; for many events a progress bar and a summary. Exits 1 if one was not accepted.\n\nExamples:\n  sealpost send http://127.0.0.1:8080/default/br --data '{\"name\":\"Knative Demo\"}'\n  sealpost send https://127.0.0.1:8443/default/br --ca .sealpost/ca.crt --type my.event --ext tenant=a\n  sealpost send http://127.0.0.1:8080/default/c --count 1000 --rate 100/s --data @event.json\n  sealpost send https://broker.example/default/br --bearer @token --events - < events.ndjson"
)]
pub struct SendOptions {
    /// Where to send
    #[arg(value_parser = value::parse_http_url)]
    pub url: Url,

    /// CA certificate to trust besides the system's, PEM
    #[arg(long, value_name = "FILE", env = "SEALPOST_CA")]
    pub ca: Option<PathBuf>,

    /// Attribute type
    #[arg(long = "type", value_name = "T", env = "SEALPOST_TYPE", default_value = "dev.sealpost.send", value_parser = value::parse_nonempty_text)]
    pub ty: String,

    /// Attribute source
    #[arg(long, value_name = "S", env = "SEALPOST_SOURCE", default_value = "/sealpost/send", value_parser = value::parse_nonempty_text)]
    pub source: String,

    /// Attribute id; with --count, a number is appended [default: a random UUID for each event]
    #[arg(long, value_name = "ID", env = "SEALPOST_ID", value_parser = value::parse_nonempty_text)]
    pub id: Option<String>,

    /// Attribute subject
    #[arg(long, value_name = "S", env = "SEALPOST_SUBJECT", value_parser = value::parse_nonempty_text)]
    pub subject: Option<String>,

    /// Extension attribute, name=value; repeatable
    #[arg(long, value_name = "K=V", env = "SEALPOST_EXT", value_parser = value::parse_extension)]
    pub ext: Vec<(String, String)>,

    /// Data: text, or @FILE, or @- for standard input
    #[arg(long, value_name = "STR|@FILE", env = "SEALPOST_DATA")]
    pub data: Option<String>,

    /// Send an event for each line of a file, or of standard input with -: a CloudEvent in JSON each,
    /// which gets --type, --source and a new id where it has none
    #[arg(long, value_name = "FILE|-", env = "SEALPOST_EVENTS", conflicts_with_all = ["data", "count", "id", "subject", "ext", "content_type"])]
    pub events: Option<String>,

    /// Header field of each request; repeatable
    #[arg(long = "header", value_name = "NAME: VALUE", env = "SEALPOST_HEADER", value_delimiter = '\n', value_parser = value::parse_header_field)]
    pub headers: Vec<(HeaderName, HeaderValue)>,

    /// Token that proves who sends, or @FILE with it: Authorization: Bearer
    #[arg(
        long,
        value_name = "TOKEN|@FILE",
        env = "SEALPOST_BEARER",
        hide_env_values = true
    )]
    pub bearer: Option<String>,

    /// Media type of the data [default: application/json if it is, else text/plain, else
    /// application/octet-stream]
    #[arg(long, value_name = "CT", env = "SEALPOST_CONTENT_TYPE")]
    pub content_type: Option<String>,

    /// binary or structured
    #[arg(
        long,
        value_name = "MODE",
        env = "SEALPOST_MODE",
        default_value = "binary"
    )]
    pub mode: DeliveryFormat,

    /// How many events
    #[arg(long, value_name = "N", env = "SEALPOST_COUNT", default_value = "1", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,

    /// Events per second at most [default: as fast as they are answered]
    #[arg(long, value_name = "N/s", env = "SEALPOST_RATE", value_parser = value::parse_rate)]
    pub rate: Option<f64>,

    /// Requests under way at once
    #[arg(long, visible_alias = "concurrency", value_name = "N", env = "SEALPOST_PARALLEL", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub parallel: u16,

    /// Where a host name really is, for one port or for all; TLS still verifies HOST; repeatable
    #[arg(
        long,
        value_name = "HOST[:PORT]=ADDR:PORT",
        env = "SEALPOST_RESOLVE",
        value_delimiter = ','
    )]
    pub resolve: Vec<ResolveOverride>,
}
