//! What a process is doing, as JSON: `/api/v1/status`, which the status page draws. It holds no secrets (`scrub.rs`).

mod groups;
mod trust;

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use super::objects;
use crate::channel::backends::ChannelBackends;
use crate::control::{Problem, Resolution, Severity};
use crate::delivery::SubscriptionWorkerStates;
use crate::model::ProcessRole;
use crate::supervisor::Readiness;
use crate::telemetry::counters::ProcessCounters;
use crate::tls::server_identity::ServerIdentity;
use groups::StatusGroup;
use trust::{CertificateUse, TrustedCertificates};

/// Where the status is read from.
pub struct StatusSource {
    /// What the process is.
    pub process: ProcessInfo,
    /// Whether it should get traffic.
    pub readiness: Readiness,
    /// What it counts as a whole.
    pub counters: Arc<ProcessCounters>,
    /// The configuration that is served.
    pub served: watch::Receiver<Arc<Resolution>>,
    /// What is counted of each subscription.
    pub subscription_workers: SubscriptionWorkerStates,
    /// Where events rest.
    pub storages: Arc<ChannelBackends>,
    /// Whether this process tells the cluster what it serves; `None` where nobody is elected for that.
    pub is_leader: Option<watch::Receiver<bool>>,
    /// The certificate of the HTTPS listener.
    pub server_identity: ServerIdentity,
}

/// What does not change while a process runs.
#[derive(Clone, Copy, Debug)]
pub struct ProcessInfo {
    /// What it is.
    pub role: ProcessRole,
    /// Whether the configuration is a cluster's; else it is from files.
    pub in_cluster: bool,
    /// When it was started.
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
    /// What readiness waits for.
    missing: Option<String>,
    /// What is not served although the process is ready.
    unserved: Option<String>,
    /// `None` without RabbitMQ.
    rabbitmq_connected: Option<bool>,
    /// Whether this process writes into the cluster; `None` where nobody is elected for that.
    leads: Option<bool>,
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

/// An object by its name.
#[derive(Serialize)]
struct StatusObjectName<'s> {
    kind: &'s str,
    namespace: &'s str,
    name: &'s str,
}

impl StatusSource {
    /// The status now, as JSON.
    pub(super) fn render_json(&self) -> String {
        let shown = Arc::clone(&self.served.borrow());
        let mut trusted = TrustedCertificates::of_resolution(&shown);
        let groups = groups::collect_groups(self, &shown, &mut trusted);
        let status = StatusDocument {
            time: format_time(SystemTime::now().into()),
            process: self.process_status(&shown),
            totals: self.totals(),
            groups,
            certificates: trusted.certificates(&self.server_identity),
            problems: shown.problems.iter().map(status_problem).collect(),
        };
        // Strings, numbers and lists of them: there is nothing that JSON does not know.
        serde_json::to_string(&status).unwrap_or_default()
    }

    fn process_status(&self, shown: &Resolution) -> ProcessStatus {
        let missing = self.readiness.missing();
        ProcessStatus {
            version: env!("CARGO_PKG_VERSION"),
            started: format_time(self.process.started.into()),
            role: self.process.role.as_str(),
            configuration: if self.process.in_cluster { "cluster" } else { "files" },
            transport_encryption: shown.table.transport_encryption().as_str(),
            ready: missing.is_none(),
            unserved: self.readiness.remark().filter(|_| missing.is_none()),
            missing,
            rabbitmq_connected: self.storages.is_rabbitmq_connected(),
            leads: self.is_leader.as_ref().map(|leads| *leads.borrow()),
        }
    }

    fn totals(&self) -> ProcessTotals {
        let counters = &self.counters;
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
            unfinished: counters.unfinished(),
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

/// A time in seconds since the epoch.
fn format_timestamp(timestamp: i64) -> String {
    OffsetDateTime::from_unix_timestamp(timestamp).map_or_else(|_| timestamp.to_string(), format_time)
}

fn format_time(time: OffsetDateTime) -> String {
    let time = time.replace_millisecond(time.millisecond()).unwrap_or(time);
    time.format(&Rfc3339).unwrap_or_default()
}
