//! The addresses of the channels and Brokers of this process: host names, advertised URLs, and the
//! URLs that mean one of them (contract IF-3, 4, 5.8).

use std::sync::Arc;

use url::Url;

use crate::control::resolve::keys::channel_key;
use crate::control::settings::ControlSettings;
use crate::model::{
    ChannelKey, ChannelKind, ProcessRole, ServiceHosts, StatusAddress, TransportEncryption,
};

const CHANNEL_SUFFIX: &str = "-kn-channel";
/// The longest label of a host name. The Service of a channel with a longer name is named by a hash
/// of it.
const LONGEST_LABEL: usize = 63;

/// Computes the addresses of channels, Brokers and RequestReplies.
#[derive(Clone, Debug)]
pub(crate) struct ChannelAddresses<'s> {
    settings: &'s ControlSettings,
    mode: TransportEncryption,
    ca_certs: Option<Arc<str>>,
    pub(crate) hosts: ServiceHosts,
}

impl<'s> ChannelAddresses<'s> {
    /// Addresses for this mode; `ca_certs` (PEM) is advertised with every https address.
    pub(crate) fn new(
        settings: &'s ControlSettings,
        mode: TransportEncryption,
        ca_certs: Option<String>,
    ) -> Self {
        let hosts = ServiceHosts::new(&settings.system_namespace, &settings.cluster_domain);
        Self {
            settings,
            mode,
            ca_certs: ca_certs.map(Arc::from),
            hosts,
        }
    }

    /// The host name that means this channel alone; `None` for Brokers, and for channels whose name
    /// is too long.
    pub(crate) fn host_name(&self, key: &ChannelKey) -> Option<String> {
        let label = format!("{}{CHANNEL_SUFFIX}", key.name);
        (key.kind == ChannelKind::Channel && label.len() <= LONGEST_LABEL).then(|| {
            format!(
                "{label}.{}.svc.{}",
                key.namespace, self.settings.cluster_domain
            )
        })
    }

    /// The entries of `status.addresses`: http in `disabled`, https and http in `permissive`, https
    /// in `strict`.
    pub(crate) fn advertised_addresses(&self, key: &ChannelKey) -> Box<[StatusAddress]> {
        let addresses = self.advertised_urls(key).into_iter().flatten();
        addresses
            .map(|(name, url)| StatusAddress::new(name, &url))
            .collect()
    }

    /// The CA certificates (PEM) that the server certificates of https addresses can be verified
    /// with; `None` if there are no such addresses.
    pub(crate) fn ca_certs(&self) -> Option<Arc<str>> {
        self.ca_certs
            .clone()
            .filter(|_| self.mode != TransportEncryption::Disabled)
    }

    /// The address that references resolve to, which is the first one (contract TL-8).
    pub(crate) fn preferred_url(&self, key: &ChannelKey) -> Option<Url> {
        self.advertised_urls(key)
            .into_iter()
            .flatten()
            .next()
            .map(|(_, url)| url)
    }

    fn advertised_urls(&self, key: &ChannelKey) -> [Option<(&'static str, Url)>; 2] {
        let http = || Some(("http", self.http_url(key)?));
        let https = || Some(("https", self.https_url(key)?));
        match self.mode {
            TransportEncryption::Disabled => [http(), None],
            TransportEncryption::Permissive => [https(), http()],
            TransportEncryption::Strict => [https(), None],
        }
    }

    fn http_url(&self, key: &ChannelKey) -> Option<Url> {
        match (&self.settings.listener_urls, self.host_name(key)) {
            (Some(urls), _) => url_of_channel(&urls.http, key),
            (None, Some(host)) => Url::parse(&format!("http://{host}/")).ok(),
            (None, None) => url_of_channel(
                &Url::parse(&format!("http://{}/", self.host_of_kind(key.kind))).ok()?,
                key,
            ),
        }
    }

    fn https_url(&self, key: &ChannelKey) -> Option<Url> {
        match &self.settings.listener_urls {
            Some(urls) => url_of_channel(&urls.https, key),
            None => url_of_channel(
                &Url::parse(&format!("https://{}/", self.host_of_kind(key.kind))).ok()?,
                key,
            ),
        }
    }

    fn host_of_kind(&self, kind: ChannelKind) -> &str {
        match kind {
            ChannelKind::Channel => &self.hosts.channels,
            ChannelKind::Broker => &self.hosts.brokers,
            ChannelKind::RequestReply => &self.hosts.request_replies,
        }
    }

    /// The channel, Broker or RequestReply that a URL means by its cluster host name, whether it
    /// exists or not.
    pub(crate) fn channel_key_of_url(&self, url: &Url) -> Option<ChannelKey> {
        if !matches!(url.port_or_known_default(), Some(80 | 443)) || url.query().is_some() {
            return None;
        }
        let host = url.host_str()?.to_ascii_lowercase();
        let kind = if host == self.hosts.channels {
            ChannelKind::Channel
        } else if host == self.hosts.brokers {
            ChannelKind::Broker
        } else if host == self.hosts.request_replies {
            ChannelKind::RequestReply
        } else {
            return self
                .channel_key_of_host(&host)
                .filter(|_| url.path() == "/");
        };
        let mut segments = url
            .path()
            .strip_suffix('/')
            .unwrap_or(url.path())
            .split('/')
            .skip(1);
        let (namespace, name) = (segments.next()?.to_owned(), segments.next()?.to_owned());
        segments
            .next()
            .is_none()
            .then_some(channel_key(kind, namespace, name))
    }

    fn channel_key_of_host(&self, host: &str) -> Option<ChannelKey> {
        let service = host
            .strip_suffix(&self.settings.cluster_domain)?
            .strip_suffix(".svc.")?;
        let (label, namespace) = service.rsplit_once('.')?;
        let name = label.strip_suffix(CHANNEL_SUFFIX)?.to_owned();
        Some(channel_key(
            ChannelKind::Channel,
            namespace.to_owned(),
            name,
        ))
    }

    /// The names that a server certificate has to be valid for, so that these channels can be
    /// addressed by them.
    pub(crate) fn certificate_names<'k>(
        &self,
        keys: impl Iterator<Item = &'k ChannelKey>,
    ) -> Vec<String> {
        let domain = &self.settings.cluster_domain;
        let mut names = Vec::new();
        let mut hosts = match self.settings.task.role() {
            ProcessRole::Channel => vec![&self.hosts.channels, &self.hosts.brokers],
            ProcessRole::Ingress => vec![&self.hosts.brokers],
            ProcessRole::Filter => vec![&self.hosts.filter],
        };
        for key in keys {
            match key.kind {
                ChannelKind::Channel => names.push(format!("*.{}.svc.{domain}", key.namespace)),
                ChannelKind::Broker => {}
                ChannelKind::RequestReply => hosts.push(&self.hosts.request_replies),
            }
        }
        for host in hosts {
            names.push(host.clone());
            names.extend(
                host.strip_suffix(domain.as_str())
                    .and_then(|host| host.strip_suffix('.'))
                    .map(str::to_owned),
            );
        }
        names.sort();
        names.dedup();
        names
    }
}

fn url_of_channel(base: &Url, key: &ChannelKey) -> Option<Url> {
    base.join(&format!("/{}/{}", key.namespace, key.name)).ok()
}
