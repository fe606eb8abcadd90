//! The one value that control plane and data plane share: which channel takes events at which
//! address, and which subscriptions get them.

use std::collections::HashMap;
use std::sync::Arc;

use super::{
    Addressable, Channel, ChannelKey, ChannelKind, OidcAuthentication, PingSource, RelayTable,
    RequestReply, Subscription, TransportEncryption,
};

/// The host names of Knative's Services, which say which kind of object a path means (contract
/// IF-3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceHosts {
    /// `imc-dispatcher.<system namespace>.svc.<domain>`: channels only.
    pub channels: String,
    /// `broker-ingress.<system namespace>.svc.<domain>`: brokers only.
    pub brokers: String,
    /// `request-reply.<system namespace>.svc.<domain>`: RequestReplies only.
    pub request_replies: String,
    /// `broker-filter.<system namespace>.svc.<domain>`: the filter of Triggers, where that is a
    /// process of its own.
    pub filter: String,
}

impl ServiceHosts {
    /// The hosts in this system namespace and cluster domain.
    #[must_use]
    pub fn new(system_namespace: &str, cluster_domain: &str) -> Self {
        Self {
            channels: format!("imc-dispatcher.{system_namespace}.svc.{cluster_domain}"),
            brokers: format!("broker-ingress.{system_namespace}.svc.{cluster_domain}"),
            request_replies: format!("request-reply.{system_namespace}.svc.{cluster_domain}"),
            filter: format!("broker-filter.{system_namespace}.svc.{cluster_domain}"),
        }
    }
}

/// The object that a request's host and path mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressLookup<'t> {
    /// A channel or Broker: its index in [`RoutingTable::channels`], and the object itself.
    Channel(usize, &'t Arc<Channel>),
    /// A RequestReply of this process.
    RequestReply(&'t Arc<RequestReply>),
    /// There is no object at this path, or none of the kind that the host means.
    NotFound,
    /// The path is not of the form `/namespace/name`.
    BadPath,
    /// The path means several of a channel, a Broker and a RequestReply, and the host does not say
    /// which.
    Ambiguous,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PathEntry {
    /// The index of the channel at the path.
    channel: Option<usize>,
    /// The index of the Broker at the path.
    broker: Option<usize>,
    /// The index of the RequestReply at the path.
    request_reply: Option<usize>,
}

/// Every served object by its address, with the mode of transport encryption. The table is
/// immutable: a change of the configuration makes a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingTable {
    transport_encryption: TransportEncryption,
    hosts: ServiceHosts,
    /// All channels and Brokers, whose indices the maps below hold.
    channels: Vec<Arc<Channel>>,
    /// The objects by the path `/namespace/name`.
    by_path: HashMap<String, PathEntry>,
    /// The indices of channels by lower-case host name without port.
    by_host: HashMap<String, usize>,
    relays: RelayTable,
    sources: Vec<Arc<PingSource>>,
    request_replies: Vec<Arc<RequestReply>>,
    oidc: Option<Arc<OidcAuthentication>>,
}

fn index_by_path(channels: &[Arc<Channel>]) -> HashMap<String, PathEntry> {
    let mut by_path: HashMap<String, PathEntry> = HashMap::with_capacity(channels.len());
    for (index, channel) in channels.iter().enumerate() {
        let key = &channel.key;
        let path = format!("/{}/{}", key.namespace, key.name);
        let entry = by_path.entry(path).or_default();
        match key.kind {
            ChannelKind::Channel => entry.channel = Some(index),
            ChannelKind::Broker => entry.broker = Some(index),
            // It is no channel; see `RoutingTable::with_request_replies`.
            ChannelKind::RequestReply => {}
        }
    }
    by_path
}

impl RoutingTable {
    /// A table of these channels. `host_names` maps the host names that mean one channel each; a
    /// name of an unknown channel is ignored.
    #[must_use]
    pub fn new(
        transport_encryption: TransportEncryption,
        hosts: ServiceHosts,
        channels: Vec<Arc<Channel>>,
        host_names: impl IntoIterator<Item = (String, ChannelKey)>,
    ) -> Self {
        let by_path = index_by_path(&channels);
        let indices = channels.iter().enumerate();
        let by_key: HashMap<_, _> = indices
            .map(|(index, channel)| (&channel.key, index))
            .collect();
        let host_names = host_names.into_iter();
        let by_host = host_names.filter_map(|(host, key)| {
            let index = by_key.get(&key)?;
            Some((host.to_ascii_lowercase(), *index))
        });
        let by_host = by_host.collect();
        Self {
            transport_encryption,
            hosts,
            by_path,
            by_host,
            channels,
            relays: RelayTable::default(),
            sources: Vec::new(),
            request_replies: Vec::new(),
            oidc: None,
        }
    }

    /// A table with the same mode and hosts, and nothing at any address.
    #[must_use]
    pub(crate) fn without_channels(&self) -> Self {
        Self::new(
            self.transport_encryption,
            self.hosts.clone(),
            Vec::new(),
            [],
        )
    }

    /// The same table, with these relays of the roles `ingress` and `filter`.
    #[must_use]
    pub(crate) fn with_relays(self, relays: RelayTable) -> Self {
        Self { relays, ..self }
    }

    /// The same table, with these PingSources.
    #[must_use]
    pub(crate) fn with_sources(self, sources: Vec<Arc<PingSource>>) -> Self {
        Self { sources, ..self }
    }

    /// The same table, with these RequestReplies.
    #[must_use]
    pub(crate) fn with_request_replies(mut self, request_replies: Vec<Arc<RequestReply>>) -> Self {
        for (index, request_reply) in request_replies.iter().enumerate() {
            let ChannelKey {
                namespace, name, ..
            } = &request_reply.key;
            self.by_path
                .entry(format!("/{namespace}/{name}"))
                .or_default()
                .request_reply = Some(index);
        }
        Self {
            request_replies,
            ..self
        }
    }

    /// Every RequestReply, in the order in which they were given.
    #[must_use]
    pub(crate) fn request_replies(&self) -> &[Arc<RequestReply>] {
        &self.request_replies
    }

    /// The RequestReply of this name; `None` if there is none.
    #[must_use]
    pub(crate) fn request_reply(&self, key: &ChannelKey) -> Option<&Arc<RequestReply>> {
        let at = self
            .by_path
            .get(&format!("/{}/{}", key.namespace, key.name))?;
        self.request_replies.get(at.request_reply?)
    }

    /// The same table, whose senders are asked for tokens of this issuer; for none if `None`.
    #[must_use]
    pub fn with_oidc(self, oidc: Option<Arc<OidcAuthentication>>) -> Self {
        Self { oidc, ..self }
    }

    /// The issuer whose tokens senders must show; none are asked for if `None`.
    #[must_use]
    pub fn oidc(&self) -> Option<&Arc<OidcAuthentication>> {
        self.oidc.as_ref()
    }

    /// The PingSources, which send events by themselves.
    #[must_use]
    pub(crate) fn sources(&self) -> &[Arc<PingSource>] {
        &self.sources
    }

    /// The relays of the roles `ingress` and `filter`.
    #[must_use]
    pub(crate) fn relays(&self) -> &RelayTable {
        &self.relays
    }

    /// The mode of transport encryption.
    #[must_use]
    pub(crate) fn transport_encryption(&self) -> TransportEncryption {
        self.transport_encryption
    }

    /// Every channel and Broker, in the order in which they were given.
    #[must_use]
    pub fn channels(&self) -> &[Arc<Channel>] {
        &self.channels
    }

    /// The destinations of all subscriptions of channels and Brokers, each with its subscription.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = (&Subscription, &Addressable)> {
        let subscriptions = self
            .channels
            .iter()
            .flat_map(|channel| &channel.subscriptions);
        subscriptions.flat_map(|subscription| {
            let all = [
                &subscription.subscriber,
                &subscription.reply,
                &subscription.dead_letter_sink,
            ];
            all.into_iter()
                .flatten()
                .map(|destination| (&**subscription, destination))
        })
    }

    /// The next time after `now` at which a certificate of a destination begins or ceases to be
    /// valid, all in seconds since the epoch; `None` if there is none.
    #[must_use]
    pub(crate) fn next_trust_change(&self, now: i64) -> Option<i64> {
        let certificates = self
            .destinations()
            .flat_map(|(_, destination)| destination.trust.certificates());
        certificates
            .flat_map(|certificate| {
                [
                    certificate.not_before,
                    certificate.not_after.saturating_add(1),
                ]
            })
            .filter(|change| *change > now)
            .min()
    }

    /// The channel or Broker of this name, with its index in [`Self::channels`]; `None` if there is
    /// none.
    #[must_use]
    pub(crate) fn channel(&self, key: &ChannelKey) -> Option<(usize, &Arc<Channel>)> {
        let at = self
            .by_path
            .get(&format!("/{}/{}", key.namespace, key.name))?;
        let index = match key.kind {
            ChannelKind::Channel => at.channel,
            ChannelKind::Broker => at.broker,
            ChannelKind::RequestReply => None,
        }?;
        self.channels.get(index).map(|channel| (index, channel))
    }

    /// Finds the object that a request's host (with or without port) and path mean. At the path
    /// `/`, only a host that means one channel counts; a trailing slash is ignored (contract IF-3,
    /// CR-1, CR-2, but hosts are compared as RFC 9110 says, contract G-45).
    #[must_use]
    pub fn look_up(&self, host: Option<&str>, path: &str) -> AddressLookup<'_> {
        let host = host.map(without_port);
        if path == "/" {
            return self.channel_lookup(host.and_then(|host| self.channel_index_of_host(host)));
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        match self.by_path.get(path) {
            Some(at) => self.look_up_by_host(host, at),
            None if is_namespaced_path(path) => AddressLookup::NotFound,
            None => AddressLookup::BadPath,
        }
    }

    fn look_up_by_host(&self, host: Option<&str>, at: &PathEntry) -> AddressLookup<'_> {
        let is = |name: &str| host.is_some_and(|host| host.eq_ignore_ascii_case(name));
        if is(&self.hosts.brokers) {
            return self.channel_lookup(at.broker);
        }
        if is(&self.hosts.channels) {
            return self.channel_lookup(at.channel);
        }
        if is(&self.hosts.request_replies) {
            return self.request_reply_lookup(at.request_reply);
        }
        match (at.channel, at.broker, at.request_reply) {
            (channel, broker, None) if channel.is_none() || broker.is_none() => {
                self.channel_lookup(channel.or(broker))
            }
            (None, None, request_reply) => self.request_reply_lookup(request_reply),
            _ => AddressLookup::Ambiguous,
        }
    }

    fn channel_index_of_host(&self, host: &str) -> Option<usize> {
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.by_host.get(&host.to_ascii_lowercase()).copied()
        } else {
            self.by_host.get(host).copied()
        }
    }

    fn request_reply_lookup(&self, index: Option<usize>) -> AddressLookup<'_> {
        let found = index.and_then(|index| self.request_replies.get(index));
        found.map_or(AddressLookup::NotFound, AddressLookup::RequestReply)
    }

    fn channel_lookup(&self, index: Option<usize>) -> AddressLookup<'_> {
        index
            .and_then(|index| Some((index, self.channels.get(index)?)))
            .map_or(AddressLookup::NotFound, |(index, channel)| {
                AddressLookup::Channel(index, channel)
            })
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// True if a path is of the form `/namespace/name`.
fn is_namespaced_path(path: &str) -> bool {
    let mut segments = path.split('/');
    segments.next() == Some("")
        && segments
            .next()
            .is_some_and(|namespace| !namespace.is_empty())
        && segments.next().is_some_and(|name| !name.is_empty())
        && segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AcknowledgeMode;

    fn key(kind: ChannelKind, name: &str) -> ChannelKey {
        ChannelKey {
            kind,
            namespace: "ns".to_owned(),
            name: name.to_owned(),
        }
    }

    fn table() -> RoutingTable {
        let keys = [
            key(ChannelKind::Channel, "c"),
            key(ChannelKind::Broker, "b"),
            key(ChannelKind::Channel, "both"),
            key(ChannelKind::Broker, "both"),
        ];
        let channels = keys.iter().map(|key| {
            Arc::new(Channel {
                key: key.clone(),
                backend: crate::model::BackendKind::Memory,
                acknowledge: AcknowledgeMode::AfterDelivery,
                retain: None,
                authorization: None,
                event_types: None,
                subscriptions: vec![],
            })
        });
        let names = [(
            "C-kn-channel.ns.svc.cluster.local".to_owned(),
            keys[0].clone(),
        )];
        let hosts = ServiceHosts::new("knative-eventing", "cluster.local");
        RoutingTable::new(
            TransportEncryption::Disabled,
            hosts,
            channels.collect(),
            names,
        )
    }

    /// Contract CR-1, CR-2, CR-4, IF-3.
    #[test]
    fn addresses() {
        let table = table();
        let channels = "imc-dispatcher.knative-eventing.svc.cluster.local";
        let brokers = "broker-ingress.knative-eventing.svc.cluster.local:8443";
        for (host, path, found) in [
            (
                "localhost:8080",
                "/ns/c",
                AddressLookup::Channel(0, &table.channels[0]),
            ),
            (
                "localhost",
                "/ns/c/",
                AddressLookup::Channel(0, &table.channels[0]),
            ),
            (
                "c-kn-channel.ns.svc.cluster.local",
                "/",
                AddressLookup::Channel(0, &table.channels[0]),
            ),
            (
                "c-kn-channel.ns.SVC.cluster.local:80",
                "/",
                AddressLookup::Channel(0, &table.channels[0]),
            ),
            ("localhost", "/", AddressLookup::NotFound),
            (
                "localhost",
                "/ns/b",
                AddressLookup::Channel(1, &table.channels[1]),
            ),
            (
                brokers,
                "/ns/b",
                AddressLookup::Channel(1, &table.channels[1]),
            ),
            (brokers, "/ns/c", AddressLookup::NotFound),
            (channels, "/ns/b", AddressLookup::NotFound),
            (
                channels,
                "/ns/both",
                AddressLookup::Channel(2, &table.channels[2]),
            ),
            (
                brokers,
                "/ns/both",
                AddressLookup::Channel(3, &table.channels[3]),
            ),
            ("localhost", "/ns/both", AddressLookup::Ambiguous),
            ("localhost", "/ns/none", AddressLookup::NotFound),
            ("localhost", "/ns", AddressLookup::BadPath),
            ("localhost", "//ns/c", AddressLookup::BadPath),
            ("localhost", "/ns/c/x", AddressLookup::BadPath),
            ("localhost", "/ns/c//", AddressLookup::BadPath),
            ("localhost", "*", AddressLookup::BadPath),
            ("localhost", "", AddressLookup::BadPath),
        ] {
            assert_eq!(table.look_up(Some(host), path), found, "{host} {path}");
        }
        assert_eq!(table.look_up(None, "/"), AddressLookup::NotFound);
        assert_eq!(
            table
                .channel(&key(ChannelKind::Broker, "both"))
                .map(|(index, _)| index),
            Some(3)
        );
    }
}
