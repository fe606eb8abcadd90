//! Turns manifests into one immutable routing table and the problems that are found on the way.
//! Resolving is pure, and never fails as a whole.
//!
//! An object with problems keeps its last good form, which is taken from the last resolution, so
//! that a mistake in a manifest never ends a delivery. Nothing here knows files, clocks or sockets.

pub(crate) mod collect;
pub(crate) mod config;
mod delivery;
mod destination;
mod filter;
mod keys;
mod parent;
pub(crate) mod reconciled;
mod relayed;
mod reuse;
mod senders;
mod sink;
mod status;
mod subscription;
mod written;

use std::collections::{HashMap, HashSet};
use std::iter;
use std::sync::Arc;

use crate::control::read::document::ManifestSet;
use crate::control::read::problem::Problem;
use crate::control::settings::ControlSettings;
use crate::control::task::ControlTask;
use crate::model::{Inventory, ObservabilityConfig, RoutingTable, TrustedCertificate};
use collect::CollectedObjects;
use collect::claims::{Claims, LastServed};
use collect::injection::injected_brokers;
use config::ClusterConfig;
use config::trust::{DestinationTrust, SharedBundles};
use destination::DestinationResolver;
use destination::address::ChannelAddresses;
use destination::service;
use destination::service_location::ServiceLocations;
use reconciled::{ReconciledChannels, UnchangedChannel};
use relayed::ResolvedRelays;
use reuse::reuse_if_equal;
use senders::authorization::{SenderRules, SenderSources};
use written::flow::declare::remove_written_duplicates;
use written::{WrittenMemory, WrittenObjects, request_reply};

pub(crate) use config::certificate::ServerCertificate;
pub(crate) use filter::trigger_filters;
pub(crate) use sink::{ResolvedSink, SinkName, resolve_sink};

/// The meaning of a set of manifests: all that the data plane and the admin API need.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// The channels and subscriptions that are served, by address. The same value as in the last
    /// resolution if nothing changed.
    pub table: Arc<RoutingTable>,
    /// Every channel, Broker, Trigger and Subscription, with its status.
    pub inventory: Arc<Inventory>,
    /// The problems that were found, in the order of files and lines.
    pub problems: Vec<Problem>,
    /// The server certificate of the TLS Secrets; `None` if there is no such Secret.
    pub certificate: Option<ServerCertificate>,
    /// The DNS names that channels and Brokers are addressed by, some with a wildcard, for a
    /// server certificate.
    pub hosts: Vec<String>,
    /// The level of logs that `config-logging` asks for; `None` if it asks for none.
    pub log_level: Option<&'static str>,
    /// The collectors of traces and metrics, as `config-observability` names them.
    pub observability: ObservabilityConfig,
    /// The objects that it was made of, for those who ask what has changed.
    pub(crate) manifests: ManifestSet,
    /// The last good forms, for the next resolution.
    memory: ResolutionMemory,
}

/// The last good forms that are not part of the routing table.
#[derive(Clone, Debug)]
struct ResolutionMemory {
    config: ClusterConfig,
    claims: Claims,
    service_locations: ServiceLocations,
    shared_bundles: SharedBundles,
    task: TaskMemory,
}

/// The last good forms of the objects that a task is about.
#[derive(Clone, Debug)]
enum TaskMemory {
    Written(WrittenMemory),
    Reconciled(ReconciledChannels),
    Relayed(ResolvedRelays),
    /// The task is about no objects.
    Nothing,
}

/// What a task makes of its objects.
struct TaskResolution {
    table: RoutingTable,
    inventory: Inventory,
    /// The problems of objects that are not among the collected ones any more.
    problems: Vec<Problem>,
    /// The DNS names of a server certificate.
    hosts: Vec<String>,
    memory: TaskMemory,
}

/// Resolves manifests. `last` is the resolution in use, from which objects with problems keep their
/// form.
#[must_use]
pub fn resolve(
    manifests: &ManifestSet,
    last: Option<&Resolution>,
    settings: &ControlSettings,
) -> Resolution {
    let memory = last.map(|last| &last.memory);
    // Channels of a cluster that have not changed are set aside first, with their last form: there
    // may be thousands of them.
    let last_reconciled = memory.and_then(|memory| memory.task.reconciled_channels());
    let (unchanged, documents) =
        reconciled::split_unchanged(manifests.documents(), last_reconciled);
    // Which object has a name that several claim is decided before any of them is read; then the
    // Brokers that others ask for join them.
    let claims = Claims::of(manifests, last.map(Resolution::served).as_ref(), settings);
    let documents = claims.in_order(documents, settings);
    let injected = injected_brokers(&documents, manifests.unparsed_texts(), last, settings);
    let mut collected =
        CollectedObjects::from_documents(documents.into_iter().chain(&injected.made), settings);
    collected.problems.extend(injected.problems);
    claims.report_displacing(manifests.documents(), &mut collected, settings);
    collected.unparsed_texts = manifests.unparsed_texts().collect();
    // Channels and Subscriptions that a Sequence or Parallel generates replace objects of their
    // names, before anything refers to these.
    remove_written_duplicates(&mut collected);
    // The settings for all objects come before the objects, since they decide how each is read.
    let config = ClusterConfig::resolve(
        &mut collected,
        settings,
        memory.map(|memory| &memory.config),
    );
    // The resolver has all that a destination can depend on: objects are resolved from here on.
    let mut resolver = destination_resolver(&mut collected, settings, last, &config);
    let resolved = resolve_task(&mut collected, &mut resolver, &config, unchanged, last);
    let table = resolved.table.with_oidc(resolver.sender_rules.oidc());
    // All problems are sorted at the end, since one object may be reported by several steps.
    let found = collected
        .into_problems()
        .into_iter()
        .chain(resolved.problems);
    let problems = sort_problems(manifests.problems().cloned().chain(found).collect());
    Resolution {
        // Equal values are replaced by the last ones, so that whoever follows them sees that
        // nothing has changed.
        table: reuse_if_equal(last.map(|last| &last.table), table),
        inventory: reuse_if_equal(last.map(|last| &last.inventory), resolved.inventory),
        problems,
        certificate: config.certificate.clone(),
        hosts: resolved.hosts,
        log_level: config.log_level,
        observability: config.observability.clone(),
        manifests: manifests.clone(),
        memory: ResolutionMemory {
            config,
            claims,
            service_locations: resolver.service_locations,
            shared_bundles: resolver.trust.shared_bundles,
            task: resolved.memory,
        },
    }
}

/// Builds the resolver of destinations. Certificates, trust bundles and Services come before it,
/// since destinations are verified with them and reached by them; policies are resolved before
/// channels, each of which asks for those that apply to it.
fn destination_resolver<'s>(
    collected: &mut CollectedObjects<'_>,
    settings: &'s ControlSettings,
    last: Option<&Resolution>,
    config: &ClusterConfig,
) -> DestinationResolver<'s> {
    let memory = last.map(|last| &last.memory);
    let no_services = ServiceLocations::new();
    let service_locations = service::resolve(
        collected,
        memory.map_or(&no_services, |memory| &memory.service_locations),
    );
    let ca_certs = config.advertised_ca_certs(settings);
    // A flag goes before `config-features`.
    let mode = settings.transport_encryption.unwrap_or(config.mode);
    let trusted = memory
        .map(|memory| memory.shared_bundles.clone())
        .unwrap_or_default();
    let trust = DestinationTrust::new(&config.trust_bundles, trusted, settings.now);
    let sources = SenderSources {
        flags: &config.flags,
        last: last.and_then(|last| last.table.oidc()),
        trust: &trust,
        keys: &config.key_ring,
    };
    let sender_rules = SenderRules::from_collected(collected, settings, &sources);
    DestinationResolver {
        settings,
        mode,
        addresses: ChannelAddresses::new(settings, mode, ca_certs),
        service_locations,
        trust,
        sender_rules,
        serving_states: HashMap::new(),
        key_ring: Arc::clone(&config.key_ring),
        reply_timeout: config
            .flags
            .reply_timeout
            .unwrap_or(request_reply::DEFAULT_TIMEOUT),
        flows: HashSet::new(),
    }
}

/// Resolves the objects that the task of the process is about.
fn resolve_task(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
    config: &ClusterConfig,
    unchanged: Vec<UnchangedChannel<'_, '_>>,
    last: Option<&Resolution>,
) -> TaskResolution {
    let memory = last.map(|last| &last.memory.task);
    match resolver.settings.task {
        ControlTask::ServeManifests => {
            let table = last.map(|last| last.table.as_ref());
            let memory = memory.and_then(TaskMemory::written);
            let written =
                WrittenObjects::resolve(collected, resolver, &config.defaults, memory, table);
            TaskResolution {
                table: written.routing_table(resolver),
                // The inventory shows the problems of each object, so that it is made after all of
                // them have been resolved.
                inventory: written.inventory(collected, resolver),
                problems: Vec::new(),
                hosts: resolver.addresses.certificate_names(written.channel_keys()),
                memory: TaskMemory::Written(written.into_memory()),
            }
        }
        ControlTask::ServeChannels { .. } => {
            let memory = memory.and_then(TaskMemory::reconciled_channels);
            let channels =
                reconciled::resolve(collected, resolver, unchanged, &config.backends, memory);
            TaskResolution {
                table: reconciled::routing_table(&channels, resolver),
                inventory: reconciled::inventory(&channels),
                problems: reconciled::problems(&channels).collect(),
                hosts: resolver.addresses.certificate_names(iter::empty()),
                memory: TaskMemory::Reconciled(channels),
            }
        }
        ControlTask::RelayBrokers(_) | ControlTask::RelayTriggers(_) => {
            let memory = memory.and_then(TaskMemory::relays);
            let relays = relayed::resolve(collected, resolver, memory);
            TaskResolution {
                table: empty_table(resolver).with_relays(relays.to_relay_table()),
                inventory: relays.inventory(),
                problems: Vec::new(),
                hosts: resolver.addresses.certificate_names(iter::empty()),
                memory: TaskMemory::Relayed(relays),
            }
        }
        // The controller reads the settings for all objects here, and the objects themselves when
        // it reconciles them.
        ControlTask::ReconcileChannels(_) => TaskResolution {
            table: empty_table(resolver),
            inventory: Inventory::default(),
            problems: Vec::new(),
            hosts: resolver.addresses.certificate_names(iter::empty()),
            memory: TaskMemory::Nothing,
        },
    }
}

/// The table of a process that serves no channels.
fn empty_table(resolver: &DestinationResolver<'_>) -> RoutingTable {
    let hosts = resolver.addresses.hosts.clone();
    RoutingTable::new(resolver.mode, hosts, Vec::new(), iter::empty())
}

impl TaskMemory {
    fn written(&self) -> Option<&WrittenMemory> {
        match self {
            Self::Written(memory) => Some(memory),
            _ => None,
        }
    }

    fn reconciled_channels(&self) -> Option<&ReconciledChannels> {
        match self {
            Self::Reconciled(channels) => Some(channels),
            _ => None,
        }
    }

    fn relays(&self) -> Option<&ResolvedRelays> {
        match self {
            Self::Relayed(relays) => Some(relays),
            _ => None,
        }
    }
}

impl Resolution {
    /// The certificates of the trust bundles, which every https destination trusts.
    pub(crate) fn common_certificates(&self) -> impl Iterator<Item = &TrustedCertificate> {
        self.memory
            .config
            .trust_bundles
            .values()
            .flat_map(|bundle| bundle.certificates())
    }

    /// The channels of a cluster, as they were resolved; `None` in another task.
    pub(super) fn reconciled_channels(&self) -> Option<&ReconciledChannels> {
        self.memory.task.reconciled_channels()
    }

    /// What is served, for those who ask what an edit has displaced.
    fn served(&self) -> LastServed<'_> {
        LastServed {
            claims: &self.memory.claims,
            table: &self.table,
            inventory: &self.inventory,
            problems: &self.problems,
        }
    }

    /// True if a user of the resolution would see a difference to the other one.
    #[must_use]
    pub(crate) fn differs(&self, other: &Self) -> bool {
        !Arc::ptr_eq(&self.table, &other.table)
            || !Arc::ptr_eq(&self.inventory, &other.inventory)
            || self.problems != other.problems
            || self.certificate != other.certificate
            || self.hosts != other.hosts
            || self.log_level != other.log_level
            || self.observability != other.observability
    }
}

/// Sorts problems by file, line and object; within one line they stay in the order in which they
/// were found.
fn sort_problems(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by(|a, b| (&a.file, a.line, &a.object).cmp(&(&b.file, b.line, &b.object)));
    problems.dedup();
    // A problem that is said of all objects of a kind is reported by each of them, and kept once.
    let mut said = HashSet::new();
    problems.retain(|problem| {
        problem.object.is_some() || problem.file.is_some() || said.insert(problem.clone())
    });
    problems
}

#[cfg(test)]
mod tests;
