//! The status document, JSON at `/api/v1/status`, which the status page draws. It holds no secrets
//! (`scrub.rs`).

mod groups;
mod ready_condition;
mod row_reason;
mod row_state;
mod subscription_row;
mod trust;

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use crate::channel::ChannelBackend as _;
use crate::channel::backends::ChannelBackends;
use crate::control::{Problem, Resolution, ServedConfiguration, Severity};
use crate::delivery::SubscriptionWorkerStates;
use crate::model::{BackendKind, ProcessRole};
use crate::supervisor::Readiness;
use crate::telemetry::counters::ProcessCounters;
use crate::tls::server_identity::ServerIdentity;
use groups::StatusGroup;
use trust::{CertificateUse, TrustedCertificates};

/// The parts of the process that the status is read from.
pub(crate) struct StatusSource {
    /// The role and the start of the process, which do not change.
    pub process: ProcessInfo,
    /// The readiness of the process.
    pub readiness: Readiness,
    /// The counters of the process as a whole, and its series.
    pub counters: Arc<ProcessCounters>,
    /// The configuration that is served.
    pub served: watch::Receiver<ServedConfiguration>,
    /// The workers of subscriptions, each with its series.
    pub subscription_workers: SubscriptionWorkerStates,
    /// The backends that keep events.
    pub backends: Arc<ChannelBackends>,
    /// True while this process writes status into the cluster; `None` where no leader is elected.
    pub is_leader: Option<watch::Receiver<bool>>,
    /// The certificate of the HTTPS listener.
    pub server_identity: ServerIdentity,
}

/// The facts about a process that do not change while it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessInfo {
    /// The role of the process.
    pub role: ProcessRole,
    /// True if the configuration comes from a cluster, false if it comes from files.
    pub in_cluster: bool,
    /// The time at which the process was started.
    pub started: SystemTime,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusDocument<'s> {
    time: String,
    process: ProcessStatus,
    totals: ProcessTotals,
    groups: Vec<StatusGroup<'s>>,
    certificates: Vec<CertificateUse<'s>>,
    problems: Vec<StatusProblem<'s>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessStatus {
    version: &'static str,
    started: String,
    role: &'static str,
    configuration: &'static str,
    transport_encryption: &'static str,
    ready: bool,
    /// The requirements of readiness that are not met, in words.
    missing: Option<String>,
    /// The objects that are not served although the process is ready, in words.
    unserved: Option<String>,
    /// True if RabbitMQ is connected; `None` if none is configured.
    rabbitmq_connected: Option<bool>,
    /// The bytes of the channels on disk; `None` if none is in use.
    disk: Option<DiskUsageStatus>,
    /// True while this process writes status into the cluster; `None` where no leader is elected.
    leads: Option<bool>,
}

/// What channels on disk take of it.
#[derive(Serialize)]
struct DiskUsageStatus {
    bytes: u64,
    limit: u64,
    /// The reason for which events are refused, in words, while there is no room for them.
    full: Option<String>,
    /// The failure for which the disk cannot be written to, in words.
    failure: Option<String>,
}

/// Counters of the process as a whole; they go on when subscriptions come and go.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessTotals {
    accepted: u64,
    refused: u64,
    unrouted: u64,
    enqueued: u64,
    delivered: u64,
    dead_lettered: u64,
    lost: u64,
    parked: u64,
    retries: u64,
    unfinished: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusProblem<'s> {
    severity: &'static str,
    file: Option<&'s str>,
    line: Option<usize>,
    object: Option<StatusObjectName<'s>>,
    field: &'s str,
    message: &'s str,
}

/// An object by kind, namespace and name.
#[derive(Serialize)]
struct StatusObjectName<'s> {
    kind: &'s str,
    namespace: &'s str,
    name: &'s str,
}

impl StatusSource {
    /// Returns the status as it is now, as JSON.
    pub(super) fn render_json(&self) -> String {
        let shown = Arc::clone(&self.served.borrow().resolution);
        let mut trusted = TrustedCertificates::of_resolution(&shown);
        let groups = groups::collect_groups(self, &shown, &mut trusted);
        let status = StatusDocument {
            time: format_time(SystemTime::now().into()),
            process: self.process_status(&shown),
            totals: self.totals(&groups),
            groups,
            certificates: trusted.certificates(&self.server_identity),
            problems: shown.problems.iter().map(status_problem).collect(),
        };
        // The document has only strings, numbers, booleans and lists of them, so that this does not
        // fail.
        serde_json::to_string(&status).unwrap_or_default()
    }

    fn process_status(&self, shown: &Resolution) -> ProcessStatus {
        let missing = self.readiness.missing();
        ProcessStatus {
            version: env!("CARGO_PKG_VERSION"),
            started: format_time(self.process.started.into()),
            role: self.process.role.as_str(),
            configuration: if self.process.in_cluster {
                "cluster"
            } else {
                "files"
            },
            transport_encryption: shown.table.transport_encryption().as_str(),
            ready: missing.is_none(),
            unserved: self.readiness.remark().filter(|_| missing.is_none()),
            missing,
            rabbitmq_connected: self.is_rabbitmq_connected(),
            disk: self.disk_usage(),
            leads: self.is_leader.as_ref().map(|leads| *leads.borrow()),
        }
    }

    /// True if RabbitMQ can be published to and consumed from now; `None` if none is configured.
    fn is_rabbitmq_connected(&self) -> Option<bool> {
        let connection = self.backends.connection(BackendKind::Rabbitmq)?;
        Some(connection.outage.is_none())
    }

    /// What channels on disk take; `None` if none is in use.
    fn disk_usage(&self) -> Option<DiskUsageStatus> {
        let connection = self.backends.connection(BackendKind::Disk);
        let failure = connection.and_then(|disk| disk.failure);
        let usage = self.backends.storage_usage();
        if usage.is_none() && failure.is_none() {
            return None;
        }
        Some(DiskUsageStatus {
            bytes: usage.as_ref().map_or(0, |usage| usage.used),
            limit: usage.as_ref().map_or(0, |usage| usage.limit),
            full: usage.and_then(|usage| usage.lack),
            failure: failure.map(|failure| failure.to_string()),
        })
    }

    fn totals(&self, groups: &[StatusGroup<'_>]) -> ProcessTotals {
        let counters = &self.counters;
        // Queues that outlive the process know of events that it has not counted; it counts events of
        // subscriptions that are gone.
        let rows = groups.iter().flat_map(|group| &group.subscriptions);
        let in_queues = rows.filter_map(|row| row.counts.as_ref()?.unfinished);
        let in_queues: usize = in_queues.sum();
        ProcessTotals {
            accepted: counters.accepted.get(),
            refused: counters.refused.get(),
            unrouted: counters.unrouted.get(),
            enqueued: counters.enqueued.get(),
            delivered: counters.delivered.get(),
            dead_lettered: counters.dead_lettered.get(),
            lost: counters.lost.get(),
            parked: counters.parked.get(),
            retries: counters.retries.get(),
            unfinished: counters.unfinished().max(in_queues as u64),
        }
    }
}

fn status_problem(problem: &Problem) -> StatusProblem<'_> {
    StatusProblem {
        severity: match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        },
        file: problem.file.as_deref(),
        line: problem.line,
        object: problem.object.as_ref().map(|object| StatusObjectName {
            kind: &object.kind,
            namespace: &object.namespace,
            name: &object.name,
        }),
        field: &problem.field,
        message: &problem.message,
    }
}

/// Formats a time in seconds since the epoch by RFC 3339.
fn format_timestamp(timestamp: i64) -> String {
    OffsetDateTime::from_unix_timestamp(timestamp)
        .map_or_else(|_| timestamp.to_string(), format_time)
}

pub(super) fn format_time(time: OffsetDateTime) -> String {
    let time = time.replace_millisecond(time.millisecond()).unwrap_or(time);
    time.format(&Rfc3339).unwrap_or_default()
}
