//! The one value that control plane and data plane share: who takes events at which address, and who gets them.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Channel, ChannelKey, ChannelKind, Oidc, Relays, RequestReply, Source, TransportEncryption};

/// The host names that say which kind of object a path means (contract IF-3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// `imc-dispatcher.<system namespace>.svc.<domain>`: channels only.
    pub channels: String,
    /// `broker-ingress.<system namespace>.svc.<domain>`: brokers only.
    pub brokers: String,
    /// `request-reply.<system namespace>.svc.<domain>`: RequestReplies only.
    pub request_replies: String,
    /// `broker-filter.<system namespace>.svc.<domain>`: the filter of Triggers, where that is a process of its own.
    pub filter: String,
}

impl Hosts {
    /// The hosts in a system namespace and cluster domain.
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

/// What is at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find<'t> {
    /// A channel or broker: its place in [`RoutingTable::channels`], and itself.
    Found(usize, &'t Arc<Channel>),
    /// A RequestReply.
    RequestReply(&'t Arc<RequestReply>),
    /// Nothing.
    NotFound,
    /// The path is not `/namespace/name`.
    BadPath,
    /// Several of a channel, a broker and a RequestReply, and the host does not say which.
    Ambiguous,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct AtPath {
    channel: Option<usize>,
    broker: Option<usize>,
    request_reply: Option<usize>,
}

/// Channels and brokers by address, and the mode. Immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingTable {
    transport_encryption: TransportEncryption,
    hosts: Hosts,
    channels: Vec<Arc<Channel>>,
    /// By `/namespace/name`.
    by_path: HashMap<String, AtPath>,
    /// By lower-case host name without port.
    by_host: HashMap<String, usize>,
    relays: Relays,
    sources: Vec<Arc<Source>>,
    request_replies: Vec<Arc<RequestReply>>,
    oidc: Option<Arc<Oidc>>,
}

impl RoutingTable {
    /// A table of these channels. `by_host` maps the host names that mean one channel each.
    #[must_use]
    pub fn new(
        transport_encryption: TransportEncryption,
        hosts: Hosts,
        channels: Vec<Arc<Channel>>,
        host_names: impl IntoIterator<Item = (String, ChannelKey)>,
    ) -> Self {
        let mut by_path: HashMap<String, AtPath> = HashMap::with_capacity(channels.len());
        let mut by_key = HashMap::with_capacity(channels.len());
        for (index, channel) in channels.iter().enumerate() {
            let key = &channel.key;
            by_key.insert(key, index);
            let at = by_path.entry(format!("/{}/{}", key.namespace, key.name)).or_default();
            match key.kind {
                ChannelKind::Channel => at.channel = Some(index),
                ChannelKind::Broker => at.broker = Some(index),
                // It is no channel; see `with_request_replies`.
                ChannelKind::RequestReply => {}
            }
        }
        let by_host = host_names
            .into_iter()
            .filter_map(|(host, key)| by_key.get(&key).map(|index| (host.to_ascii_lowercase(), *index)))
            .collect();
        Self {
            transport_encryption,
            hosts,
            by_path,
            by_host,
            channels,
            relays: Relays::default(),
            sources: Vec::new(),
            request_replies: Vec::new(),
            oidc: None,
        }
    }

    /// A table with the same mode and hosts, and nothing at any address.
    #[must_use]
    pub fn without_channels(&self) -> Self {
        Self::new(self.transport_encryption, self.hosts.clone(), Vec::new(), [])
    }

    /// The same table, with what the roles `ingress` and `filter` relay.
    #[must_use]
    pub fn with_relays(self, relays: Relays) -> Self {
        Self { relays, ..self }
    }

    /// The same table, with these senders of events.
    #[must_use]
    pub fn with_sources(self, sources: Vec<Arc<Source>>) -> Self {
        Self { sources, ..self }
    }

    /// The same table, with these RequestReplies.
    #[must_use]
    pub fn with_request_replies(mut self, request_replies: Vec<Arc<RequestReply>>) -> Self {
        for (index, request_reply) in request_replies.iter().enumerate() {
            let ChannelKey { namespace, name, .. } = &request_reply.key;
            self.by_path.entry(format!("/{namespace}/{name}")).or_default().request_reply = Some(index);
        }
        Self { request_replies, ..self }
    }

    /// Every RequestReply.
    #[must_use]
    pub fn request_replies(&self) -> &[Arc<RequestReply>] {
        &self.request_replies
    }

    /// The RequestReply of that name.
    #[must_use]
    pub fn request_reply(&self, key: &ChannelKey) -> Option<&Arc<RequestReply>> {
        let at = self.by_path.get(&format!("/{}/{}", key.namespace, key.name))?;
        self.request_replies.get(at.request_reply?)
    }

    /// The same table; senders are asked for tokens of this issuer, or for none.
    #[must_use]
    pub fn with_oidc(self, oidc: Option<Arc<Oidc>>) -> Self {
        Self { oidc, ..self }
    }

    /// Whose tokens senders are asked for; none if `None`.
    #[must_use]
    pub fn oidc(&self) -> Option<&Arc<Oidc>> {
        self.oidc.as_ref()
    }

    /// What sends events by itself.
    #[must_use]
    pub fn sources(&self) -> &[Arc<Source>] {
        &self.sources
    }

    /// What is relayed.
    #[must_use]
    pub fn relays(&self) -> &Relays {
        &self.relays
    }

    /// The mode.
    #[must_use]
    pub fn transport_encryption(&self) -> TransportEncryption {
        self.transport_encryption
    }

    /// Every channel and broker.
    #[must_use]
    pub fn channels(&self) -> &[Arc<Channel>] {
        &self.channels
    }

    /// The channel or broker of that name: its place and itself.
    #[must_use]
    pub fn get(&self, key: &ChannelKey) -> Option<(usize, &Arc<Channel>)> {
        let at = self.by_path.get(&format!("/{}/{}", key.namespace, key.name))?;
        let index = match key.kind {
            ChannelKind::Channel => at.channel,
            ChannelKind::Broker => at.broker,
            ChannelKind::RequestReply => None,
        }?;
        self.channels.get(index).map(|channel| (index, channel))
    }

    /// What a request's host (with or without port) and path mean (contract IF-3, CR-1, CR-2, but
    /// hosts are compared as RFC 9110 says, contract G-45).
    #[must_use]
    pub fn find(&self, host: Option<&str>, path: &str) -> Find<'_> {
        let host = host.map(without_port);
        if path == "/" {
            return self.found(host.and_then(|host| self.host_index(host)));
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        match self.by_path.get(path) {
            Some(at) => self.at_path(host, at),
            None if is_namespaced(path) => Find::NotFound,
            None => Find::BadPath,
        }
    }

    fn at_path(&self, host: Option<&str>, at: &AtPath) -> Find<'_> {
        let is = |name: &str| host.is_some_and(|host| host.eq_ignore_ascii_case(name));
        if is(&self.hosts.brokers) {
            return self.found(at.broker);
        }
        if is(&self.hosts.channels) {
            return self.found(at.channel);
        }
        if is(&self.hosts.request_replies) {
            return self.found_request_reply(at.request_reply);
        }
        match (at.channel, at.broker, at.request_reply) {
            (channel, broker, None) if channel.is_none() || broker.is_none() => self.found(channel.or(broker)),
            (None, None, request_reply) => self.found_request_reply(request_reply),
            _ => Find::Ambiguous,
        }
    }

    fn host_index(&self, host: &str) -> Option<usize> {
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.by_host.get(&host.to_ascii_lowercase()).copied()
        } else {
            self.by_host.get(host).copied()
        }
    }

    fn found_request_reply(&self, index: Option<usize>) -> Find<'_> {
        let found = index.and_then(|index| self.request_replies.get(index));
        found.map_or(Find::NotFound, Find::RequestReply)
    }

    fn found(&self, index: Option<usize>) -> Find<'_> {
        index
            .and_then(|index| Some((index, self.channels.get(index)?)))
            .map_or(Find::NotFound, |(index, channel)| Find::Found(index, channel))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether a path is `/namespace/name`.
fn is_namespaced(path: &str) -> bool {
    let mut segments = path.split('/');
    segments.next() == Some("")
        && segments.next().is_some_and(|namespace| !namespace.is_empty())
        && segments.next().is_some_and(|name| !name.is_empty())
        && segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Acknowledge;

    fn key(kind: ChannelKind, name: &str) -> ChannelKey {
        ChannelKey { kind, namespace: "ns".to_owned(), name: name.to_owned() }
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
                storage: crate::model::Storage::Memory,
                acknowledge: Acknowledge::AfterDelivery,
                access: None,
                event_types: None,
                subscriptions: vec![],
            })
        });
        let names = [("C-kn-channel.ns.svc.cluster.local".to_owned(), keys[0].clone())];
        let hosts = Hosts::new("knative-eventing", "cluster.local");
        RoutingTable::new(TransportEncryption::Disabled, hosts, channels.collect(), names)
    }

    /// Contract CR-1, CR-2, CR-4, IF-3.
    #[test]
    fn addresses() {
        let table = table();
        let channels = "imc-dispatcher.knative-eventing.svc.cluster.local";
        let brokers = "broker-ingress.knative-eventing.svc.cluster.local:8443";
        for (host, path, found) in [
            ("localhost:8080", "/ns/c", Find::Found(0, &table.channels[0])),
            ("localhost", "/ns/c/", Find::Found(0, &table.channels[0])),
            ("c-kn-channel.ns.svc.cluster.local", "/", Find::Found(0, &table.channels[0])),
            ("c-kn-channel.ns.SVC.cluster.local:80", "/", Find::Found(0, &table.channels[0])),
            ("localhost", "/", Find::NotFound),
            ("localhost", "/ns/b", Find::Found(1, &table.channels[1])),
            (brokers, "/ns/b", Find::Found(1, &table.channels[1])),
            (brokers, "/ns/c", Find::NotFound),
            (channels, "/ns/b", Find::NotFound),
            (channels, "/ns/both", Find::Found(2, &table.channels[2])),
            (brokers, "/ns/both", Find::Found(3, &table.channels[3])),
            ("localhost", "/ns/both", Find::Ambiguous),
            ("localhost", "/ns/none", Find::NotFound),
            ("localhost", "/ns", Find::BadPath),
            ("localhost", "//ns/c", Find::BadPath),
            ("localhost", "/ns/c/x", Find::BadPath),
            ("localhost", "/ns/c//", Find::BadPath),
            ("localhost", "*", Find::BadPath),
            ("localhost", "", Find::BadPath),
        ] {
            assert_eq!(table.find(Some(host), path), found, "{host} {path}");
        }
        assert_eq!(table.find(None, "/"), Find::NotFound);
        assert_eq!(table.get(&key(ChannelKind::Broker, "both")).map(|(index, _)| index), Some(3));
    }
}
