//! The settings of the control plane: flags and variables, besides the manifests.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use url::Url;

use crate::control::task::ControlTask;
use crate::correlation::CorrelationSeed;
use crate::model::{BackendKind, TransportEncryption};

/// All that `resolve` needs to know and that does not stand in the manifests. It is plain data: no
/// clock, no files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSettings {
    /// What the process does with the objects, and where they come from.
    pub task: ControlTask,
    /// The namespace of `config-features`, trust bundles and TLS Secrets; by default
    /// `knative-eventing`.
    pub system_namespace: String,
    /// The domain of cluster host names; by default `cluster.local`.
    pub cluster_domain: String,
    /// The namespace of objects without `metadata.namespace`; by default `default`.
    pub default_namespace: String,
    /// The way in which a Trigger or Subscription with a delivery spec of its own takes over that
    /// of its parent.
    pub delivery_merge: DeliveryMerge,
    /// The backend of channels without an annotation or template.
    pub default_backend: BackendKind,
    /// Says if RabbitMQ is configured, so that channels can be kept there.
    pub rabbitmq: RabbitmqAvailability,
    /// Says if there is a directory, so that channels can be kept on disk.
    pub data_directory: DataDirectoryAvailability,
    /// Says if there is a cluster, whose API server issues and verifies tokens.
    pub api_server: ApiServerAvailability,
    /// The mode that overrides `transport-encryption` of `config-features`, if it is set.
    pub transport_encryption: Option<TransportEncryption>,
    /// The addresses that are connected to instead of what DNS says; the first one that matches
    /// counts.
    pub resolve_overrides: Vec<ResolveOverride>,
    /// The base URLs of the listeners, for the addresses in the inventory; `None` shows the
    /// addresses of a cluster.
    pub listener_urls: Option<ListenerUrls>,
    /// The CA that https addresses advertise.
    pub ca_certs: AdvertisedCaCerts,
    /// The name of the ConfigMap with the level of logs; by default `config-logging`.
    pub config_logging: String,
    /// The name of the ConfigMap with the collectors of metrics and traces; by default
    /// `config-observability`.
    pub config_observability: String,
    /// The treatment of fields that are in no schema.
    pub unknown_fields: UnknownFields,
    /// Says if host names of a cluster's Services can be looked up from this process.
    pub cluster_names: ClusterNameLookup,
    /// The seed of the keys of RequestReplies that have no Secret with keys.
    pub key_seed: Option<CorrelationSeed>,
    /// The time against which the validity of certificates is checked, in seconds since the epoch.
    pub now: i64,
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self {
            task: ControlTask::default(),
            system_namespace: "knative-eventing".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            default_namespace: "default".to_owned(),
            delivery_merge: DeliveryMerge::default(),
            default_backend: BackendKind::default(),
            rabbitmq: RabbitmqAvailability::default(),
            data_directory: DataDirectoryAvailability::default(),
            api_server: ApiServerAvailability::default(),
            transport_encryption: None,
            resolve_overrides: Vec::new(),
            listener_urls: None,
            ca_certs: AdvertisedCaCerts::Unknown,
            config_logging: "config-logging".to_owned(),
            config_observability: "config-observability".to_owned(),
            unknown_fields: UnknownFields::default(),
            cluster_names: ClusterNameLookup::default(),
            key_seed: None,
            now: 0,
        }
    }
}

/// The treatment of a field that is in no schema (contract IF-6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFields {
    /// The field is an error of its object.
    #[default]
    Error,
    /// The field is ignored, with a warning; it is an error nevertheless where ignoring it would
    /// let more events pass.
    Warn,
}

/// Says if host names of a cluster's Services can be looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterNameLookup {
    /// The names can be looked up: the process is in a cluster.
    #[default]
    Available,
    /// The names cannot be looked up: the process is outside of a cluster.
    Unavailable,
}

/// Says if RabbitMQ is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RabbitmqAvailability {
    /// RabbitMQ is configured, or the manifests are only checked.
    #[default]
    Given,
    /// RabbitMQ is not configured, so that a channel on it is an error.
    Missing,
}

/// Says if there is a directory in which channels can be kept on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataDirectoryAvailability {
    /// There is a directory, or the manifests are only checked.
    #[default]
    Given,
    /// There is none, so that a channel on disk is an error.
    Missing,
}

/// Says if there is a cluster, whose controllers have written `status`, and whose API server issues
/// and verifies tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiServerAvailability {
    /// There is a cluster, or the manifests are only checked.
    #[default]
    Given,
    /// There is no cluster: the manifests are all there is.
    Missing,
}

/// The way in which the delivery spec of a Trigger or Subscription and that of its Broker or
/// channel become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryMerge {
    /// The own spec replaces the parent's as a whole, but for the dead letter sink, as upstream
    /// (contract BF-3).
    #[default]
    Replace,
    /// The specs are merged field by field: a field that the own one does not set is the parent's
    /// (contract G-34).
    Fields,
}

/// The CA that https addresses advertise, as PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdvertisedCaCerts {
    /// No CA is known, unless a TLS Secret brings one.
    #[default]
    Unknown,
    /// The development CA, unless a TLS Secret brings another one.
    Development(String),
    /// The CA of the certificate given by flags, if its CA was given, too; TLS Secrets are not
    /// used.
    Given(Option<String>),
}

/// The base URLs of the listeners that take events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerUrls {
    /// The URL of the listener without TLS, such as `http://127.0.0.1:8080`.
    pub http: Url,
    /// The URL of the listener with TLS, such as `https://127.0.0.1:8443`.
    pub https: Url,
}

/// The address that a host name is connected to (`--resolve HOST[:PORT]=ADDR:PORT`). TLS still
/// verifies the host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveOverride {
    /// The host name in lower case and ASCII, as URLs have it.
    pub host: String,
    /// The port of the URLs that it is for; `None` means every port.
    pub port: Option<u16>,
    /// The address that is connected to instead of what DNS says.
    pub connect_to: SocketAddr,
}

impl ResolveOverride {
    /// True if the override is meant for this URL.
    #[must_use]
    pub(crate) fn matches(&self, url: &Url) -> bool {
        url.host_str()
            .is_some_and(|host| host.eq_ignore_ascii_case(&self.host))
            && (self.port.is_none() || self.port == url.port_or_known_default())
    }
}

/// The error for a text that is no [`ResolveOverride`]; it holds the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not HOST[:PORT]=ADDR:PORT: write for example \
     sink.default.svc.cluster.local:443=127.0.0.1:9443"
)]
pub struct ResolveOverrideError(String);

impl FromStr for ResolveOverride {
    type Err = ResolveOverrideError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_override(text).ok_or_else(|| ResolveOverrideError(text.to_owned()))
    }
}

impl fmt::Display for ResolveOverride {
    /// Writes `HOST[:PORT]=ADDR:PORT`, which can be parsed again.
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
    // The host is written as URLs have it: in ASCII, and an address in its one form.
    let host = url::Host::parse(host).ok()?.to_string();
    Some(ResolveOverride {
        host,
        port,
        connect_to: to,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_overrides() {
        for (text, host, port, to) in [
            ("a.b=127.0.0.1:80", "a.b", None, "127.0.0.1:80"),
            (
                "b\u{fc}cher.example:80=127.0.0.1:80",
                "xn--bcher-kva.example",
                Some(80),
                "127.0.0.1:80",
            ),
            (
                "B\u{dc}CHER.example=127.0.0.1:80",
                "xn--bcher-kva.example",
                None,
                "127.0.0.1:80",
            ),
            ("A.b:443=127.0.0.1:9443", "a.b", Some(443), "127.0.0.1:9443"),
            ("a=[::1]:80", "a", None, "[::1]:80"),
            ("[::1]:80=10.0.0.1:81", "[::1]", Some(80), "10.0.0.1:81"),
            ("[::1]=10.0.0.1:81", "[::1]", None, "10.0.0.1:81"),
        ] {
            let expected = ResolveOverride {
                host: host.to_owned(),
                port,
                connect_to: to.parse().expect("address"),
            };
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "a",
            "a=b:80",
            "a=127.0.0.1",
            "=127.0.0.1:80",
            "a:x=127.0.0.1:80",
            "http://a:80=127.0.0.1:80",
        ] {
            let error = text.parse::<ResolveOverride>().expect_err(text);
            assert!(
                error.to_string().contains("HOST[:PORT]=ADDR:PORT"),
                "{error}"
            );
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
