//! What the control plane is told besides the manifests.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use url::Url;

use super::channel_kind::ServedChannelKind;
use crate::correlation::CorrelationSeed;
use crate::model::{BackendKind, ProcessRole, TransportEncryption};

/// What `resolve` needs to know that does not stand in the manifests. Plain data: no clock, no files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSettings {
    /// What the process does.
    pub role: ProcessRole,
    /// Where `config-features`, trust bundles and TLS Secrets are looked for; by default `knative-eventing`.
    pub system_namespace: String,
    /// The domain of cluster host names; by default `cluster.local`.
    pub cluster_domain: String,
    /// The namespace of objects without `metadata.namespace`; by default `default`.
    pub default_namespace: String,
    /// What a Trigger or Subscription with a delivery spec of its own gets of its parent's.
    pub delivery_merge: DeliveryMerge,
    /// What a channel without template is made of.
    pub default_backend: BackendKind,
    /// Whether there is a RabbitMQ to make channels of.
    pub rabbitmq: RabbitmqAvailability,
    /// Whether there is a cluster.
    pub api_server: ApiServerAvailability,
    /// Overrides `transport-encryption` of `config-features`.
    pub transport_encryption: Option<TransportEncryption>,
    /// Where host names really are; the first that matches counts.
    pub resolve_overrides: Vec<ResolveOverride>,
    /// Base URLs of the listeners, for the addresses in the inventory; `None` shows the addresses of a cluster.
    pub listener_urls: Option<ListenerUrls>,
    /// What is advertised with https addresses.
    pub ca_certs: AdvertisedCaCerts,
    /// Where objects are from.
    pub object_source: ObjectSource,
    /// The kind of channels that is served, of a cluster.
    pub channel_kind: ServedChannelKind,
    /// The name of the ConfigMap with the level of logs; by default `config-logging`.
    pub config_logging: String,
    /// The name of the ConfigMap with how metrics and traces leave; by default `config-observability`.
    pub config_observability: String,
    /// What becomes of fields that no schema has.
    pub unknown_fields: UnknownFields,
    /// Whether names of a cluster's Services can be found from here.
    pub cluster_names: ClusterNameLookup,
    /// What keys are made of for RequestReplies that have none.
    pub key_seed: Option<CorrelationSeed>,
    /// Seconds since the epoch, against which validity of certificates is checked.
    pub now: i64,
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self {
            role: ProcessRole::default(),
            system_namespace: "knative-eventing".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            default_namespace: "default".to_owned(),
            delivery_merge: DeliveryMerge::default(),
            default_backend: BackendKind::default(),
            rabbitmq: RabbitmqAvailability::default(),
            api_server: ApiServerAvailability::default(),
            transport_encryption: None,
            resolve_overrides: Vec::new(),
            listener_urls: None,
            ca_certs: AdvertisedCaCerts::Unknown,
            object_source: ObjectSource::default(),
            channel_kind: ServedChannelKind::default(),
            config_logging: "config-logging".to_owned(),
            config_observability: "config-observability".to_owned(),
            unknown_fields: UnknownFields::default(),
            cluster_names: ClusterNameLookup::default(),
            key_seed: None,
            now: 0,
        }
    }
}

/// Where objects are from, and so what counts in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ObjectSource {
    /// From users: `spec` counts, and everything is resolved here.
    #[default]
    Written,
    /// From a cluster whose control plane has resolved them: channels have their addresses in `status` and their
    /// subscribers in `spec`, and every destination is reached by HTTP, also those inside this process, since each hop
    /// is authorized by itself.
    Reconciled(ChannelScope),
}

/// Which channels of a cluster are served (contract 2.6, 1.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelScope {
    /// All but those that have a dispatcher in their namespace.
    #[default]
    Cluster,
    /// Only those, of one namespace.
    Namespace,
}

/// What becomes of a field that is in no schema (contract IF-6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFields {
    /// It is an error of its object.
    #[default]
    Error,
    /// It is a warning, and ignored; an error nevertheless where ignoring it would let more pass.
    Warn,
}

/// Whether names of a cluster's Services can be found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterNameLookup {
    /// They can: the process is in a cluster.
    #[default]
    Available,
    /// They cannot.
    Unavailable,
}

/// Whether there is a RabbitMQ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RabbitmqAvailability {
    /// There is, or nothing is run.
    #[default]
    Given,
    /// There is none.
    Missing,
}

/// Whether there is a cluster, whose controllers have written `status`, and which issues and verifies tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiServerAvailability {
    /// There is, or nothing is run.
    #[default]
    Given,
    /// There is none: the manifests are all there is.
    Missing,
}

/// How the delivery spec of a Trigger or Subscription and that of its Broker or channel become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryMerge {
    /// Its own replaces its parent's as a whole, but for the dead letter sink, as upstream (contract BF-3).
    #[default]
    Replace,
    /// Field by field: what its own does not set is its parent's (contract G-34).
    Fields,
}

/// The CA that https addresses advertise, PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdvertisedCaCerts {
    /// None is known, unless a TLS Secret brings one.
    #[default]
    Unknown,
    /// The development CA, unless a TLS Secret brings one.
    Development(String),
    /// That of the certificate given on the command line, if its CA was given; TLS Secrets are not used.
    Given(Option<String>),
}

/// Base URLs of the listeners of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerUrls {
    /// Such as `http://127.0.0.1:8080`.
    pub http: Url,
    /// Such as `https://127.0.0.1:8443`.
    pub https: Url,
}

/// Where a host name really is (`--resolve HOST[:PORT]=ADDR:PORT`). TLS still verifies the host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveOverride {
    /// The host name as URLs have it, in lower case and ASCII.
    pub host: String,
    /// The port it is for; `None` means every port.
    pub port: Option<u16>,
    /// Where to connect instead.
    pub connect_to: SocketAddr,
}

impl ResolveOverride {
    /// Whether it is meant for this URL.
    #[must_use]
    pub fn matches(&self, url: &Url) -> bool {
        url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(&self.host))
            && (self.port.is_none() || self.port == url.port_or_known_default())
    }
}

/// Text that is no [`ResolveOverride`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not HOST[:PORT]=ADDR:PORT: write for example sink.default.svc.cluster.local:443=127.0.0.1:9443")]
pub struct ResolveOverrideError(String);

impl FromStr for ResolveOverride {
    type Err = ResolveOverrideError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_override(text).ok_or_else(|| ResolveOverrideError(text.to_owned()))
    }
}

impl fmt::Display for ResolveOverride {
    /// `HOST[:PORT]=ADDR:PORT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "={}", self.connect_to)
    }
}

fn parse_override(text: &str) -> Option<ResolveOverride> {
    let (from, to) = text.split_once('=')?;
    let to = to.trim().parse().ok()?;
    let from = from.trim();
    let (host, port) = match from.rsplit_once(':') {
        // The last colon of a bare `[::1]` is inside the brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
        _ => (from, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || (host.contains(':') && !bracketed) || host.contains(['/', ' ', '@']) {
        return None;
    }
    // As URLs have it: in ASCII, and an address in its one form.
    let host = url::Host::parse(host).ok()?.to_string();
    Some(ResolveOverride { host, port, connect_to: to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_overrides() {
        for (text, host, port, to) in [
            ("a.b=127.0.0.1:80", "a.b", None, "127.0.0.1:80"),
            ("b\u{fc}cher.example:80=127.0.0.1:80", "xn--bcher-kva.example", Some(80), "127.0.0.1:80"),
            ("B\u{dc}CHER.example=127.0.0.1:80", "xn--bcher-kva.example", None, "127.0.0.1:80"),
            ("A.b:443=127.0.0.1:9443", "a.b", Some(443), "127.0.0.1:9443"),
            ("a=[::1]:80", "a", None, "[::1]:80"),
            ("[::1]:80=10.0.0.1:81", "[::1]", Some(80), "10.0.0.1:81"),
            ("[::1]=10.0.0.1:81", "[::1]", None, "10.0.0.1:81"),
        ] {
            let expected = ResolveOverride { host: host.to_owned(), port, connect_to: to.parse().expect("address") };
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "a", "a=b:80", "a=127.0.0.1", "=127.0.0.1:80", "a:x=127.0.0.1:80", "http://a:80=127.0.0.1:80"]
        {
            let error = text.parse::<ResolveOverride>().expect_err(text);
            assert!(error.to_string().contains("HOST[:PORT]=ADDR:PORT"), "{error}");
        }
    }

    #[test]
    fn matches_hosts_of_any_case_and_default_ports() {
        let url = |text: &str| Url::parse(text).expect("URL");
        let secure: ResolveOverride = "Sink.ns:443=127.0.0.1:9443".parse().expect("override");
        assert!(secure.matches(&url("https://SINK.ns/path")));
        assert!(!secure.matches(&url("http://sink.ns")));
        assert!(!secure.matches(&url("https://sink.ns:8443")));
        assert!(!secure.matches(&url("https://other.ns")));
        let any: ResolveOverride = "sink.ns=127.0.0.1:9443".parse().expect("override");
        assert!(any.matches(&url("http://sink.ns:1234")));
    }
}
