//! From manifests to one immutable routing table and the problems on the way: pure, and never fails as a whole.
//!
//! An object with problems keeps its last good form, which is taken from the last resolution; so a mistake in a
//! manifest never ends a delivery. Nothing here knows files, clocks or sockets.

mod address;
mod authorization;
pub(crate) mod backends;
mod certificate;
mod channel;
mod claims;
mod collect;
mod correlation;
mod defaults;
mod delivery;
mod destination;
mod features;
mod filter;
mod flags;
mod flow;
mod logging;
mod observability;
mod other_kinds;
mod owned;
mod policy;
pub(crate) mod reconciled;
mod reference;
mod relay;
mod request_reply;
mod routes;
mod service;
mod service_account;
mod sink;
mod source;
mod status;
mod subscription;
mod trust;
mod uri;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::manifest::ManifestSet;
use super::settings::ObjectSource;
use super::{AdvertisedCaCerts, ControlSettings, Problem};
use crate::correlation::KeyRing;
use crate::model::{
    ChannelKey, Inventory, ObservabilityConfig, ProcessRole, RequestReply, RoutingTable, TransportEncryption,
    TrustedCertificate,
};

use address::ChannelAddresses;
use authorization::SenderRules;
use backends::ImcBackendConfig;
use channel::ResolvedParents;
use claims::Claims;
use collect::CollectedObjects;
use defaults::ResolvedDefaults;
use destination::DestinationResolver;
use flags::FeatureFlags;
use flow::ResolvedFlows;
use reconciled::ReconciledChannels;
use relay::ResolvedRelays;
use routes::SubscriptionRoutes;
use service::ServiceLocations;
use trust::{BundlesByName, DestinationTrust, SharedBundles};

pub use certificate::ServerCertificate;
pub(super) use collect::is_identified;
pub use filter::trigger_filters;
pub use sink::{ResolvedSink, SinkName, resolve_sink};

/// What manifests mean.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// Who takes events where, and who gets them. The same value as in the last resolution if nothing changed.
    pub table: Arc<RoutingTable>,
    /// Every channel, broker, trigger and subscription, with its status.
    pub inventory: Arc<Inventory>,
    /// What is wrong, in the order of files and lines.
    pub problems: Vec<Problem>,
    /// From the TLS Secrets, if there are any.
    pub certificate: Option<ServerCertificate>,
    /// The DNS names that channels and brokers are addressed by, some with a wildcard, for a server certificate.
    pub hosts: Vec<String>,
    /// The level of logs that `config-logging` wants; `None` if there is none.
    pub log_level: Option<&'static str>,
    /// Where traces and numbers go, as `config-observability` says.
    pub observability: ObservabilityConfig,
    memory: ResolutionMemory,
}

/// The last good forms that do not stand in the routing table.
#[derive(Clone, Debug)]
struct ResolutionMemory {
    mode: TransportEncryption,
    flags: FeatureFlags,
    defaults: ResolvedDefaults,
    /// Channels and Brokers, Sequences and Parallels, and who has the names that several claim.
    written_parents_and_flows: (ResolvedParents, ResolvedFlows, Claims),
    backends: ImcBackendConfig,
    reconciled_channels: ReconciledChannels,
    relays: ResolvedRelays,
    service_locations: ServiceLocations,
    trust_bundles: BundlesByName,
    shared_bundles: SharedBundles,
    key_ring: Arc<KeyRing>,
}

/// Resolves manifests. `last` is the resolution that is in use, from which objects with problems keep their form.
#[must_use]
pub fn resolve(manifests: &ManifestSet, last: Option<&Resolution>, settings: &ControlSettings) -> Resolution {
    let memory = last.map(|last| &last.memory);
    let last_reconciled = memory.map(|memory| &memory.reconciled_channels);
    let (known, documents) = reconciled::split_unchanged(manifests.documents(), last_reconciled);
    let claims = Claims::of(manifests, memory.map(|memory| &memory.written_parents_and_flows.2), settings);
    let mut collected = CollectedObjects::from_documents(claims.in_order(documents, settings).into_iter(), settings);
    collected.unparsed_texts = manifests.unparsed_texts().collect();
    flow::remove_written_duplicates(&mut collected);
    let config = ClusterConfig::resolve(&mut collected, settings, last);
    let effective = settings.transport_encryption.unwrap_or(config.mode);
    let keys =
        reuse_if_equal(memory.map(|memory| &memory.key_ring), correlation::resolve_key_ring(&mut collected, settings));
    let table = last.map(|last| last.table.as_ref());
    let mut resolver = destination_resolver(&mut collected, settings, last, &config, &keys);
    let defaults = ResolvedDefaults::resolve(&mut collected, settings, memory.map(|memory| &memory.defaults));
    let log_level = logging::log_level(&mut collected.config_maps, settings, last.and_then(|last| last.log_level));
    let observability = observability::resolve(&mut collected.config_maps, settings);
    let backends = ImcBackendConfig::resolve(&mut collected, settings, memory.map(|memory| &memory.backends));
    let reconciled = reconciled::resolve(&mut collected, &mut resolver, known, &backends, last_reconciled);
    let own = WrittenObjects::resolve(&mut collected, &mut resolver, &defaults, last);
    let relayed = relay::resolve(&mut collected, &mut resolver, memory.map(|memory| &memory.relays));
    let last_sources = table.map(RoutingTable::sources).unwrap_or_default();
    let sources = source::resolve(&mut collected.ping_sources, &mut resolver, last_sources);
    let table = match settings.object_source {
        ObjectSource::Written => own.routing_table(&resolver, effective),
        ObjectSource::Reconciled(_) => reconciled::routing_table(&reconciled, &resolver, effective),
    };
    let table =
        table.with_relays(relayed.to_relay_table()).with_sources(sources).with_oidc(resolver.sender_rules.oidc());
    let inventory = match settings.role {
        ProcessRole::Channel if settings.object_source != ObjectSource::Written => reconciled::inventory(&reconciled),
        ProcessRole::Channel => status::inventory(&collected, &own, &resolver),
        ProcessRole::Ingress | ProcessRole::Filter => relayed.inventory(),
    };
    let table = reuse_if_equal(last.map(|last| &last.table), table);
    let inventory = reuse_if_equal(last.map(|last| &last.inventory), inventory);
    let hosts = resolver.addresses.certificate_names(own.channel_keys());
    let found = collected.into_problems().into_iter().chain(reconciled::problems(&reconciled));
    let problems = sort_problems(manifests.problems().cloned().chain(found).collect());
    let (DestinationResolver { service_locations: services, trust, .. }, written) =
        (resolver, (own.parents, own.flows, claims));
    let shared = trust.shared_bundles;
    let ClusterConfig { mode, flags, certificate, trust_bundles } = config;
    let memory = ResolutionMemory {
        mode,
        flags,
        defaults,
        written_parents_and_flows: written,
        backends,
        reconciled_channels: reconciled,
        relays: relayed,
        service_locations: services,
        trust_bundles,
        shared_bundles: shared,
        key_ring: keys,
    };
    Resolution { table, inventory, problems, certificate, hosts, log_level, observability, memory }
}

/// What the ConfigMaps and Secrets of the cluster say for all objects; resolved before any of them.
struct ClusterConfig {
    /// `transport-encryption` of `config-features`.
    mode: TransportEncryption,
    flags: FeatureFlags,
    certificate: Option<ServerCertificate>,
    trust_bundles: BundlesByName,
}

impl ClusterConfig {
    fn resolve(collected: &mut CollectedObjects<'_>, settings: &ControlSettings, last: Option<&Resolution>) -> Self {
        let memory = last.map(|last| &last.memory);
        let mode = features::transport_encryption(collected, settings, memory.map(|memory| memory.mode));
        let flags = flags::resolve(collected, settings, memory.map(|memory| &memory.flags));
        let certificate = server_certificate(collected, settings, last);
        let last_bundles = memory.map(|memory| &memory.trust_bundles);
        let trust_bundles = trust::read_trust_bundles(&mut collected.config_maps, settings, last_bundles);
        Self { mode, flags, certificate, trust_bundles }
    }
}

/// Resolves destinations, by the addresses of channels, by Services, by what is trusted, and by who may send.
fn destination_resolver<'s>(
    collected: &mut CollectedObjects<'_>,
    settings: &'s ControlSettings,
    last: Option<&Resolution>,
    config: &ClusterConfig,
    keys: &Arc<KeyRing>,
) -> DestinationResolver<'s> {
    let memory = last.map(|last| &last.memory);
    let no_services = ServiceLocations::new();
    let services = service::resolve(collected, memory.map_or(&no_services, |memory| &memory.service_locations));
    let ca_certs = advertised_ca_certs(&settings.ca_certs, config.certificate.as_ref());
    let mode = settings.transport_encryption.unwrap_or(config.mode);
    let trusted = memory.map(|memory| memory.shared_bundles.clone()).unwrap_or_default();
    let trust = DestinationTrust::new(&config.trust_bundles, trusted, settings.now);
    let last_oidc = last.and_then(|last| last.table.oidc());
    let rules = SenderRules::from_collected(collected, settings, (&config.flags, last_oidc), (&trust, keys));
    DestinationResolver {
        settings,
        mode,
        addresses: ChannelAddresses::new(settings, mode, ca_certs),
        service_locations: services,
        trust,
        sender_rules: rules,
        serving_states: HashMap::new(),
        key_ring: Arc::clone(keys),
        reply_timeout: config.flags.reply_timeout.unwrap_or(request_reply::DEFAULT_TIMEOUT),
        flows: HashSet::new(),
    }
}

/// What is served of manifests without the help of a cluster.
#[derive(Default)]
struct WrittenObjects {
    parents: ResolvedParents,
    flows: ResolvedFlows,
    routes: SubscriptionRoutes,
    request_replies: Vec<Arc<RequestReply>>,
}

impl WrittenObjects {
    fn resolve(
        collected: &mut CollectedObjects<'_>,
        resolver: &mut DestinationResolver<'_>,
        defaults: &ResolvedDefaults,
        last: Option<&Resolution>,
    ) -> Self {
        if resolver.settings.role != ProcessRole::Channel || resolver.settings.object_source != ObjectSource::Written {
            return Self::default();
        }
        let table = last.map(|last| last.table.as_ref());
        request_reply::declare_request_replies(collected, resolver);
        let mut parents =
            channel::resolve(collected, resolver, defaults, last.map(|last| &last.memory.written_parents_and_flows.0));
        let request_replies = request_reply::resolve(collected, resolver, &parents, table);
        let flows =
            flow::resolve(collected, resolver, &mut parents, last.map(|last| &last.memory.written_parents_and_flows.1));
        let mut routes = SubscriptionRoutes::build(collected, resolver, (&parents, &flows), table);
        flow::rounds::tell(collected, &flows, &routes);
        let request_replies = request_replies.place_triggers(&mut routes, &parents);
        Self { parents, flows, routes, request_replies }
    }

    /// Everything that has an address.
    fn channel_keys(&self) -> impl Iterator<Item = &ChannelKey> {
        self.parents.keys().chain(self.request_replies.iter().map(|request_reply| &request_reply.key))
    }

    fn routing_table(&self, resolver: &DestinationResolver<'_>, mode: TransportEncryption) -> RoutingTable {
        let table = self.routes.routing_table(&self.parents, &resolver.addresses, &resolver.sender_rules, mode);
        table.with_request_replies(self.request_replies.clone())
    }
}

/// That of the TLS Secrets, unless another one is given.
fn server_certificate(
    collected: &mut CollectedObjects<'_>,
    settings: &ControlSettings,
    last: Option<&Resolution>,
) -> Option<ServerCertificate> {
    let last = last.and_then(|last| last.certificate.as_ref());
    match &settings.ca_certs {
        AdvertisedCaCerts::Given(_) => None,
        AdvertisedCaCerts::Unknown | AdvertisedCaCerts::Development(_) => {
            certificate::resolve(&mut collected.secrets, settings, last)
        }
    }
}

/// The CA that https addresses advertise.
fn advertised_ca_certs(given: &AdvertisedCaCerts, certificate: Option<&ServerCertificate>) -> Option<String> {
    match (given, certificate) {
        (AdvertisedCaCerts::Given(ca), _) => ca.clone(),
        (_, Some(certificate)) => certificate.ca_pem.clone(),
        (AdvertisedCaCerts::Development(ca), None) => Some(ca.clone()),
        (AdvertisedCaCerts::Unknown, None) => None,
    }
}

/// The value of the last resolution where it is equal.
fn reuse_if_equal<T: PartialEq>(last: Option<&Arc<T>>, value: T) -> Arc<T> {
    last.filter(|last| ***last == value).cloned().unwrap_or_else(|| Arc::new(value))
}

impl Resolution {
    /// The certificates that every https destination trusts: those of the trust bundles.
    pub fn common_certificates(&self) -> impl Iterator<Item = &TrustedCertificate> {
        self.memory.trust_bundles.values().flat_map(|bundle| bundle.certificates())
    }

    /// The channels of a cluster.
    pub(super) fn reconciled_channels(&self) -> &ReconciledChannels {
        &self.memory.reconciled_channels
    }

    /// Whether somebody who uses the other one would see a difference.
    #[must_use]
    pub fn differs(&self, other: &Self) -> bool {
        !Arc::ptr_eq(&self.table, &other.table)
            || !Arc::ptr_eq(&self.inventory, &other.inventory)
            || self.problems != other.problems
            || self.certificate != other.certificate
            || self.hosts != other.hosts
            || self.log_level != other.log_level
            || self.observability != other.observability
    }
}

/// In the order of files and lines; the order in which they were found within one line.
fn sort_problems(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by(|a, b| (&a.file, a.line, &a.object).cmp(&(&b.file, b.line, &b.object)));
    problems.dedup();
    // What is said of all objects of a kind is said by each of them.
    let mut said = HashSet::new();
    problems.retain(|problem| problem.object.is_some() || problem.file.is_some() || said.insert(problem.clone()));
    problems
}

#[cfg(test)]
mod tests;
