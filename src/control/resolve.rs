//! Raw objects become the routing table. Pure: the same objects and the same last result give the same result.
//!
//! It never fails as a whole. A broken object is reported, keeps its last good form if it had one, and stops no other.

mod channels;
mod delivery;
mod destination;
mod features;
mod index;
mod spec;
mod status;
mod subscriptions;
mod trust;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::read::Raw;
use super::{Manifests, ObjectName, Problem, Settings, Severity};
use crate::model::{Channel, ChannelKey, Hosts, Inventory, RoutingTable, Subscription, TransportEncryption};
use channels::ChannelDraft;
use features::Features;
use index::Index;
use trust::Trust;

/// The kinds of channel that a reference may name.
const CHANNEL_KINDS: [&str; 3] = ["Channel", "InMemoryChannel", "RabbitmqChannel"];

/// What manifests mean.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// For the data plane.
    pub table: Arc<RoutingTable>,
    /// For `sealpost get`.
    pub inventory: Arc<Inventory>,
    /// For whoever wrote the manifests, in the order of files and lines.
    pub problems: Vec<Problem>,
    /// The certificate of a TLS Secret, if there is one.
    pub certificate: Option<ServerCertificate>,
    /// Every DNS name by which channels and brokers are addressed.
    pub host_names: Vec<String>,
    /// The last good form of every object.
    good: HashMap<ObjectName, Arc<Raw>>,
}

/// A certificate and its key, PEM, from a Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerCertificate {
    /// `tls.crt`.
    pub chain_pem: String,
    /// `tls.key`.
    pub key_pem: String,
    /// `ca.crt`.
    pub ca_pem: Option<String>,
    /// Which Secret.
    pub origin: String,
}

impl fmt::Debug for ServerCertificate {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerCertificate({})", self.origin)
    }
}

/// Resolves manifests at `now` (seconds since the epoch). `last` is the result before, whose good forms and equal parts
/// are kept.
#[must_use]
pub fn resolve(manifests: &Manifests, last: Option<&Resolution>, settings: &Settings, now: i64) -> Resolution {
    let mut problems = manifests.problems.clone();
    let index = Index::new(&manifests.objects, &mut problems);
    let features = Features::read(&index, settings, &mut problems);
    let certificate = features::certificate(&index, settings, last, &mut problems);
    let trust = Trust::new(&index, settings, now, &mut problems);
    let mut resolver = Resolver {
        settings,
        index,
        transport_encryption: features.transport_encryption,
        addresses: status::Addresses::new(settings, features.transport_encryption, certificate.as_ref()),
        trust,
        problems,
        last_good: last.map(|last| &last.good),
        good: HashMap::new(),
        statuses: Vec::new(),
    };
    let drafts = resolver.channels();
    let drafts = resolver.subscriptions(drafts);
    resolver.finish(drafts, certificate, last)
}

/// What is known while resolving.
struct Resolver<'a> {
    settings: &'a Settings,
    index: Index,
    transport_encryption: TransportEncryption,
    addresses: status::Addresses,
    trust: Trust,
    problems: Vec<Problem>,
    last_good: Option<&'a HashMap<ObjectName, Arc<Raw>>>,
    good: HashMap<ObjectName, Arc<Raw>>,
    statuses: Vec<status::Resolved>,
}

/// An object that cannot be used; its problems have been reported.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Broken {
    /// The first problem, for the object's status.
    message: String,
}

/// Collects the problems of one object.
struct Findings<'r> {
    raw: &'r Raw,
    problems: Vec<Problem>,
}

impl Findings<'_> {
    /// Something that makes the object unusable.
    fn error(&mut self, field: &str, message: impl Into<String>) -> Broken {
        let problem = self.raw.problem(Severity::Error, field, message);
        let broken = Broken { message: format!("{}: {}", problem.field, problem.message) };
        self.problems.push(problem);
        broken
    }

    fn warning(&mut self, field: &str, message: impl Into<String>) {
        self.problems.push(self.raw.problem(Severity::Warning, field, message));
    }

    /// The first error so far.
    fn broken(&self) -> Option<Broken> {
        let problem = self.problems.iter().find(|problem| problem.severity == Severity::Error)?;
        Some(Broken { message: format!("{}: {}", problem.field, problem.message) })
    }
}

impl Resolver<'_> {
    /// Resolves an object by `read`, or else its last good form. Tells with the result what is wrong with the new form.
    fn with_fallback<R>(
        &mut self,
        raw: &Arc<Raw>,
        read: impl Fn(&mut Self, &mut Findings<'_>) -> Result<R, Broken>,
    ) -> (Option<R>, Option<Broken>) {
        let mut findings = Findings { raw, problems: Vec::new() };
        let result = read(self, &mut findings).and_then(|result| findings.broken().map_or(Ok(result), Err));
        self.problems.append(&mut findings.problems);
        let broken = match result {
            Ok(result) => {
                self.good.insert(raw.name.clone(), Arc::clone(raw));
                return (Some(result), None);
            }
            Err(broken) => broken,
        };
        let Some(good) = self.last_good.and_then(|good| good.get(&raw.name)).cloned() else {
            return (None, Some(broken));
        };
        let mut silent = Findings { raw: &good, problems: Vec::new() };
        let result = read(self, &mut silent).ok().filter(|_| silent.broken().is_none());
        self.good.insert(raw.name.clone(), Arc::clone(&good));
        (result, Some(broken))
    }

    fn finish(
        mut self,
        drafts: Vec<ChannelDraft>,
        certificate: Option<ServerCertificate>,
        last: Option<&Resolution>,
    ) -> Resolution {
        let hosts = Hosts::new(&self.settings.system_namespace, &self.settings.cluster_domain);
        let host_names = self.host_names(&hosts, &drafts);
        let inventory = status::inventory(&self, &drafts);
        let by_host: Vec<(String, ChannelKey)> =
            drafts.iter().filter_map(|draft| Some((self.channel_host(&draft.key)?, draft.key.clone()))).collect();
        let known = last.map(|last| Known::new(&last.table)).unwrap_or_default();
        let channels = drafts.into_iter().map(|draft| known.share(draft)).collect();
        let table = RoutingTable::new(self.transport_encryption, hosts, channels, by_host);
        self.problems.sort();
        Resolution {
            table: Arc::new(table),
            inventory: Arc::new(inventory),
            problems: self.problems,
            certificate,
            host_names,
            good: self.good,
        }
    }
}

/// The parts of the last table, so that what is equal is the same and need not be compared again.
#[derive(Default)]
struct Known<'t> {
    channels: HashMap<&'t ChannelKey, &'t Arc<Channel>>,
}

impl<'t> Known<'t> {
    fn new(table: &'t RoutingTable) -> Self {
        Self { channels: table.channels().iter().map(|channel| (&channel.key, channel)).collect() }
    }

    fn share(&self, draft: ChannelDraft) -> Arc<Channel> {
        let mut channel =
            Channel { key: draft.key, acknowledge: draft.acknowledge, subscriptions: draft.subscriptions };
        let Some(last) = self.channels.get(&channel.key) else { return Arc::new(channel) };
        if ***last == channel {
            return Arc::clone(last);
        }
        let same: HashMap<_, &Arc<Subscription>> = last.subscriptions.iter().map(|known| (&known.key, known)).collect();
        for subscription in &mut channel.subscriptions {
            if let Some(known) = same.get(&subscription.key).filter(|known| ***known == *subscription) {
                *subscription = Arc::clone(known);
            }
        }
        Arc::new(channel)
    }
}
