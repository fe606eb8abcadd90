//! Resolves the sink of a program beside this process, as Knative's SinkBinding and ContainerSource
//! would do it.

use std::net::SocketAddr;

use serde_json::{Value, json};
use url::{Position, Url};

use super::config::certificate::advertised_ca_certs;
use super::{Resolution, resolve};
use crate::control::read::document::ManifestSet;
use crate::control::read::kind::ResourceKind;
use crate::control::read::problem::Problem;
use crate::control::resolve::destination::address::ChannelAddresses;
use crate::control::settings::ControlSettings;
use crate::model::{Addressable, ChannelKey, ChannelKind, DestinationRoute, DestinationUrl};

/// A sink as `kn` names it on its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkName {
    /// The URL of any server.
    Url(String),
    /// An object of the manifests.
    Object {
        /// The object's `apiVersion`, from the kind that was named.
        api_version: &'static str,
        /// The object's `kind`, such as `Broker`.
        kind: &'static str,
        /// The `metadata.name` of the object.
        name: String,
        /// The `metadata.namespace` of the object; `None` means the default namespace.
        namespace: Option<String>,
    },
}

/// The address of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvedSink {
    /// The URL that events are posted to.
    pub url: String,
    /// The CA certificates (PEM) that an https URL is verified with, besides the system's roots.
    pub ca_certs: Option<String>,
    /// Sentences about things that are probably not as they were meant.
    pub remarks: Vec<String>,
}

/// Resolves a sink with these manifests. `settings.listener_urls` are the addresses of the process
/// that serves them.
///
/// # Errors
/// Says why the sink has no address, and a remedy; at least one sentence.
pub(crate) fn resolve_sink(
    manifests: &ManifestSet,
    name: &SinkName,
    settings: &ControlSettings,
) -> Result<ResolvedSink, Vec<String>> {
    // Knative resolves the sink of every source alike, so that a PingSource stands in. Its random
    // name occurs in problems only.
    let own = format!("sink-{}", uuid::Uuid::new_v4());
    let source = json!({
        "apiVersion": ResourceKind::PingSource.api_version(), "kind": ResourceKind::PingSource.as_str(),
        "metadata": {"name": own}, "spec": {"sink": sink_destination(name)},
    });
    let resolution = resolve(&manifests.with_object(usize::MAX, source), None, settings);
    let is_own = |problem: &&Problem| {
        problem
            .object
            .as_ref()
            .is_some_and(|object| object.name == own)
    };
    let said = resolution
        .problems
        .iter()
        .filter(is_own)
        .map(|problem| problem.message.clone());
    let source = resolution
        .table
        .sources()
        .iter()
        .find(|source| source.subscription.key.name == own);
    match source.and_then(|source| source.subscription.subscriber.as_ref()) {
        Some(to) => build_sink(to, &resolution, settings, said.collect()),
        None => Err(said.collect()),
    }
}

fn sink_destination(name: &SinkName) -> Value {
    match name {
        SinkName::Url(url) => json!({ "uri": url }),
        SinkName::Object {
            api_version,
            kind,
            name,
            namespace,
        } => {
            json!({"ref": {"apiVersion": api_version, "kind": kind, "name": name, "namespace": namespace}})
        }
    }
}

/// The address of a resolved destination for a program beside this process.
fn build_sink(
    to: &Addressable,
    resolution: &Resolution,
    settings: &ControlSettings,
    mut remarks: Vec<String>,
) -> Result<ResolvedSink, Vec<String>> {
    let ca_certs = || advertised_ca_certs(&settings.ca_certs, resolution.certificate.as_ref());
    if to.audience.is_some() {
        remarks.push(
            "it asks who sends, and the command is given no token: its events are refused"
                .to_owned(),
        );
    }
    let (url, is_ours) = match &to.route {
        DestinationRoute::Local(key) => {
            let url = local_url(key, resolution, settings)?;
            let is_https = url.scheme() == "https";
            (url.into(), is_https)
        }
        DestinationRoute::Remote { connect } => (
            remote_url(&to.url, *connect, &mut remarks),
            is_own_https_url(&to.url, settings),
        ),
        DestinationRoute::EventDisplay => {
            let rule = "it is shown by `sealpost run` itself, and has no address for others: send to a channel or Broker \
                        that it gets its events from, or run `sealpost display` and give its URL";
            return Err(vec![rule.to_owned()]);
        }
        DestinationRoute::WaitingRequest(key) => {
            return Err(vec![format!(
                "it answers what is sent to {key}, and takes nothing else"
            )]);
        }
        DestinationRoute::Unresolved(why) => return Err(vec![why.to_string()]),
    };
    Ok(ResolvedSink {
        url,
        ca_certs: ca_certs().filter(|_| is_ours),
        remarks,
    })
}

/// The URL of a channel or Broker of this program.
fn local_url(
    key: &ChannelKey,
    resolution: &Resolution,
    settings: &ControlSettings,
) -> Result<Url, Vec<String>> {
    let mode = resolution.table.transport_encryption();
    ChannelAddresses::new(settings, mode, None)
        .preferred_url(key)
        .filter(|_| has_own_path(key, resolution))
        .ok_or_else(|| {
            let rule = "there are several of a channel, a Broker and a RequestReply of that name, \
                 so that their path says nothing: rename one";
            vec![rule.to_owned()]
        })
}

/// The URL of something elsewhere; what an override says is put into it where TLS allows that.
fn remote_url(
    url: &DestinationUrl,
    connect: Option<SocketAddr>,
    remarks: &mut Vec<String>,
) -> String {
    match connect {
        Some(there) if url.scheme() == "http" => return with_authority(url, &there.to_string()),
        Some(there) => remarks.push(format!(
            "--resolve is nothing that the command knows: have {} lead to {there}, for example in \
             /etc/hosts",
            url.host_str().unwrap_or_default()
        )),
        None => {}
    }
    url.as_written().to_owned()
}

/// True if the path of a channel or Broker means it alone.
fn has_own_path(key: &ChannelKey, resolution: &Resolution) -> bool {
    let others = [
        ChannelKind::Channel,
        ChannelKind::Broker,
        ChannelKind::RequestReply,
    ]
    .into_iter();
    let mut others = others
        .filter(|kind| *kind != key.kind)
        .map(|kind| ChannelKey {
            kind,
            ..key.clone()
        });
    !others.any(|other| is_served(&other, resolution))
}

fn is_served(key: &ChannelKey, resolution: &Resolution) -> bool {
    let table = &resolution.table;
    table.channel(key).is_some()
        || table
            .request_replies()
            .iter()
            .any(|request_reply| request_reply.key == *key)
}

/// The same URL with another host and port.
fn with_authority(url: &Url, authority: &str) -> String {
    let path = &url[Position::BeforePath..];
    format!("{}://{authority}{path}", url.scheme())
}

/// True if a URL is one of the HTTPS listener, by whichever name of this machine.
fn is_own_https_url(url: &Url, settings: &ControlSettings) -> bool {
    let Some(urls) = settings
        .listener_urls
        .as_ref()
        .filter(|_| url.scheme() == "https")
    else {
        return false;
    };
    let is_here = |host: Option<&str>| matches!(host, Some("localhost" | "127.0.0.1" | "[::1]"));
    url.port_or_known_default() == urls.https.port_or_known_default()
        && (url.host_str() == urls.https.host_str()
            || (is_here(url.host_str()) && is_here(urls.https.host_str())))
}
