//! From manifests to one immutable routing table and the problems on the way: pure, and never fails as a whole.
//!
//! An object with problems keeps its last good form, which is taken from the last resolution; so a mistake in a
//! manifest never ends a delivery. Nothing here knows files, clocks or sockets.

mod access;
mod account;
mod address;
pub(crate) mod backends;
mod certificate;
mod channel;
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
mod others;
mod policy;
pub(crate) mod reconciled;
mod reference;
mod relay;
mod request_reply;
mod routes;
mod service;
mod sink;
mod source;
mod status;
mod subscription;
mod trust;
mod uri;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::manifest::Manifests;
use super::settings::Objects;
use super::{CaCerts, Problem, Settings};
use crate::correlation::KeyRing;
use crate::model::{
    Certificate, ChannelKey, Inventory, Observability, RequestReply, Role, RoutingTable, TransportEncryption,
};

use access::Rules;
use address::Addresses;
use backends::Backends;
use channel::Parents;
use collect::Collected;
use defaults::Defaults;
use destination::Resolver;
use flags::Flags;
use flow::Flows;
use reconciled::Reconciled;
use relay::Relayed;
use routes::Routes;
use service::Reaches;
use trust::{Bundles, Shared, Trust};

pub use certificate::ServerCertificate;
pub(super) use collect::is_identified;
pub use filter::trigger_filters;
pub use sink::{Sink, SinkName, resolve_sink};

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
    pub observability: Observability,
    memory: Memory,
}

/// The last good forms that do not stand in the routing table.
#[derive(Clone, Debug)]
struct Memory {
    mode: TransportEncryption,
    flags: Flags,
    defaults: Defaults,
    /// Channels and Brokers, Sequences and Parallels.
    written: (Parents, Flows),
    backends: Backends,
    reconciled: Reconciled,
    relayed: Relayed,
    services: Reaches,
    bundles: Bundles,
    shared: Shared,
    keys: Arc<KeyRing>,
}

/// Resolves manifests. `last` is the resolution that is in use, from which objects with problems keep their form.
#[must_use]
pub fn resolve(manifests: &Manifests, last: Option<&Resolution>, settings: &Settings) -> Resolution {
    let memory = last.map(|last| &last.memory);
    let last_reconciled = memory.map(|memory| &memory.reconciled);
    let (known, documents) = reconciled::known(manifests.documents(), last_reconciled);
    let mut collected = Collected::of(documents.into_iter(), settings);
    collected.unread = manifests.unread().collect();
    flow::take_over(&mut collected);
    let mode = features::transport_encryption(&mut collected, settings, memory.map(|memory| memory.mode));
    let flags = flags::resolve(&mut collected, settings, memory.map(|memory| &memory.flags));
    let certificate = server_certificate(&mut collected, settings, last);
    let bundles = trust::bundles(&mut collected.config_maps, settings, memory.map(|memory| &memory.bundles));
    let no_services = Reaches::new();
    let services = service::resolve(&mut collected, memory.map_or(&no_services, |memory| &memory.services));

    let ca_certs = advertised(&settings.ca_certs, certificate.as_ref());
    let effective = settings.transport_encryption.unwrap_or(mode);
    let trusted = memory.map(|memory| memory.shared.clone()).unwrap_or_default();
    let trust = Trust::new(&bundles, trusted, settings.now);
    let table = last.map(|last| last.table.as_ref());
    let keys = shared(memory.map(|memory| &memory.keys), correlation::ring(&mut collected, settings));
    let rules = Rules::of(&mut collected, settings, (&flags, table.and_then(RoutingTable::oidc)), (&trust, &keys));
    let mut resolver = Resolver {
        settings,
        mode: effective,
        addresses: Addresses::new(settings, effective, ca_certs),
        services,
        trust,
        rules,
        places: HashMap::new(),
        keys: Arc::clone(&keys),
        reply_timeout: flags.reply_timeout.unwrap_or(request_reply::DEFAULT_TIMEOUT),
        flows: HashSet::new(),
    };
    let defaults = Defaults::resolve(&mut collected, settings, memory.map(|memory| &memory.defaults));
    let log_level = logging::level(&mut collected.config_maps, settings, last.and_then(|last| last.log_level));
    let observability = observability::resolve(&mut collected.config_maps, settings);
    let backends = Backends::resolve(&mut collected, settings, memory.map(|memory| &memory.backends));
    let reconciled = reconciled::resolve(&mut collected, &mut resolver, known, &backends, last_reconciled);
    let own = Own::resolve(&mut collected, &mut resolver, &defaults, last);
    let relayed = relay::resolve(&mut collected, &mut resolver, memory.map(|memory| &memory.relayed));
    let last_sources = table.map(RoutingTable::sources).unwrap_or_default();
    let sources = source::resolve(&mut collected.ping_sources, &mut resolver, last_sources);
    let table = match settings.objects {
        Objects::Written => own.table(&resolver, effective),
        Objects::Reconciled(_) => reconciled::table(&reconciled, &resolver, effective),
    };
    let table = table.with_relays(relayed.relays()).with_sources(sources).with_oidc(resolver.rules.oidc());
    let inventory = match settings.role {
        Role::Channel if settings.objects != Objects::Written => reconciled::inventory(&reconciled),
        Role::Channel => status::inventory(&collected, &own, &resolver),
        Role::Ingress | Role::Filter => relayed.inventory(),
    };
    let table = shared(last.map(|last| &last.table), table);
    let inventory = shared(last.map(|last| &last.inventory), inventory);
    let hosts = resolver.addresses.certificate_names(own.keys());
    let found = collected.into_problems().into_iter().chain(reconciled::problems(&reconciled));
    let problems = ordered(manifests.problems().cloned().chain(found).collect());
    let (Resolver { services, trust, .. }, written) = (resolver, (own.parents, own.flows));
    let shared = trust.shared;
    let memory =
        Memory { mode, flags, defaults, written, backends, reconciled, relayed, services, bundles, shared, keys };
    Resolution { table, inventory, problems, certificate, hosts, log_level, observability, memory }
}

/// What is served of manifests without the help of a cluster.
#[derive(Default)]
struct Own {
    parents: Parents,
    flows: Flows,
    routes: Routes,
    request_replies: Vec<Arc<RequestReply>>,
}

impl Own {
    fn resolve(
        collected: &mut Collected<'_>,
        resolver: &mut Resolver<'_>,
        defaults: &Defaults,
        last: Option<&Resolution>,
    ) -> Self {
        if resolver.settings.role != Role::Channel || resolver.settings.objects != Objects::Written {
            return Self::default();
        }
        let table = last.map(|last| last.table.as_ref());
        request_reply::declare(collected, resolver);
        let mut parents = channel::resolve(collected, resolver, defaults, last.map(|last| &last.memory.written.0));
        let request_replies = request_reply::resolve(collected, resolver, &parents, table);
        let flows = flow::resolve(collected, resolver, &mut parents, last.map(|last| &last.memory.written.1));
        let mut routes = Routes::build(collected, resolver, (&parents, &flows), table);
        flow::rounds::tell(collected, &flows, &routes);
        let request_replies = request_replies.placed(&mut routes, &parents);
        Self { parents, flows, routes, request_replies }
    }

    /// Everything that has an address.
    fn keys(&self) -> impl Iterator<Item = &ChannelKey> {
        self.parents.keys().chain(self.request_replies.iter().map(|request_reply| &request_reply.key))
    }

    fn table(&self, resolver: &Resolver<'_>, mode: TransportEncryption) -> RoutingTable {
        let table = self.routes.table(&self.parents, &resolver.addresses, &resolver.rules, mode);
        table.with_request_replies(self.request_replies.clone())
    }
}

/// That of the TLS Secrets, unless another one is given.
fn server_certificate(
    collected: &mut Collected<'_>,
    settings: &Settings,
    last: Option<&Resolution>,
) -> Option<ServerCertificate> {
    let last = last.and_then(|last| last.certificate.as_ref());
    match &settings.ca_certs {
        CaCerts::Given(_) => None,
        CaCerts::Unknown | CaCerts::Development(_) => certificate::resolve(&mut collected.secrets, settings, last),
    }
}

/// The CA that https addresses advertise.
fn advertised(given: &CaCerts, certificate: Option<&ServerCertificate>) -> Option<String> {
    match (given, certificate) {
        (CaCerts::Given(ca), _) => ca.clone(),
        (_, Some(certificate)) => certificate.ca_pem.clone(),
        (CaCerts::Development(ca), None) => Some(ca.clone()),
        (CaCerts::Unknown, None) => None,
    }
}

/// The value of the last resolution where it is equal.
fn shared<T: PartialEq>(last: Option<&Arc<T>>, value: T) -> Arc<T> {
    last.filter(|last| ***last == value).cloned().unwrap_or_else(|| Arc::new(value))
}

impl Resolution {
    /// The certificates that every https destination trusts: those of the trust bundles.
    pub fn common_certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.memory.bundles.values().flat_map(|bundle| bundle.certificates())
    }

    /// The channels of a cluster.
    pub(super) fn reconciled(&self) -> &Reconciled {
        &self.memory.reconciled
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
fn ordered(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by(|a, b| (&a.file, a.line, &a.object).cmp(&(&b.file, b.line, &b.object)));
    problems.dedup();
    // What is said of all objects of a kind is said by each of them.
    let mut said = HashSet::new();
    problems.retain(|problem| problem.object.is_some() || problem.file.is_some() || said.insert(problem.clone()));
    problems
}

#[cfg(test)]
mod tests;
