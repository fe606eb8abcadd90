//! What a process is doing, as JSON: `/api/v1/status`, which the status page draws. It holds no secrets (`scrub.rs`).

mod groups;
mod trust;

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use super::present;
use crate::channel::storages::Storages;
use crate::control::{Problem, Resolution, Severity};
use crate::delivery::Lanes;
use crate::model::Role;
use crate::supervisor::Readiness;
use crate::telemetry::counters::Counters;
use crate::tls::server::ServerIdentity;
use groups::Group;
use trust::{Trusted, Use};

/// Where the status is read from.
pub struct View {
    /// What the process is.
    pub process: Process,
    /// Whether it should get traffic.
    pub readiness: Readiness,
    /// What it counts as a whole.
    pub counters: Arc<Counters>,
    /// The configuration that is served.
    pub shown: watch::Receiver<Arc<Resolution>>,
    /// What is counted of each subscription.
    pub lanes: Lanes,
    /// Where events rest.
    pub storages: Arc<Storages>,
    /// Whether this process tells the cluster what it serves; `None` where nobody is elected for that.
    pub leads: Option<watch::Receiver<bool>>,
    /// The certificate of the HTTPS listener.
    pub identity: ServerIdentity,
}

/// What does not change while a process runs.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// What it is.
    pub role: Role,
    /// Whether the configuration is a cluster's; else it is from files.
    pub in_cluster: bool,
    /// When it was started.
    pub started: SystemTime,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'s> {
    time: String,
    process: Facts,
    totals: Totals,
    groups: Vec<Group<'s>>,
    certificates: Vec<Use<'s>>,
    problems: Vec<Shown<'s>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Facts {
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
struct Totals {
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
struct Shown<'s> {
    severity: &'static str,
    file: Option<&'s str>,
    line: Option<usize>,
    object: Option<Named<'s>>,
    field: &'s str,
    message: &'s str,
}

/// An object by its name.
#[derive(Serialize)]
struct Named<'s> {
    kind: &'s str,
    namespace: &'s str,
    name: &'s str,
}

impl View {
    /// The status now, as JSON.
    pub(super) fn render(&self) -> String {
        let shown = Arc::clone(&self.shown.borrow());
        let mut trusted = Trusted::of(&shown);
        let groups = groups::of(self, &shown, &mut trusted);
        let status = Status {
            time: rfc3339(SystemTime::now().into()),
            process: self.facts(&shown),
            totals: self.totals(),
            groups,
            certificates: trusted.certificates(&self.identity),
            problems: shown.problems.iter().map(problem).collect(),
        };
        // Strings, numbers and lists of them: there is nothing that JSON does not know.
        serde_json::to_string(&status).unwrap_or_default()
    }

    fn facts(&self, shown: &Resolution) -> Facts {
        let missing = self.readiness.missing();
        Facts {
            version: env!("CARGO_PKG_VERSION"),
            started: rfc3339(self.process.started.into()),
            role: self.process.role.as_str(),
            configuration: if self.process.in_cluster { "cluster" } else { "files" },
            transport_encryption: shown.table.transport_encryption().as_str(),
            ready: missing.is_none(),
            unserved: self.readiness.remark().filter(|_| missing.is_none()),
            missing,
            rabbitmq_connected: self.storages.is_rabbitmq_connected(),
            leads: self.leads.as_ref().map(|leads| *leads.borrow()),
        }
    }

    fn totals(&self) -> Totals {
        let counters = &self.counters;
        Totals {
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

fn problem(problem: &Problem) -> Shown<'_> {
    Shown {
        severity: match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        },
        file: problem.file.as_deref(),
        line: problem.line,
        object: problem.object.as_ref().map(|object| Named {
            kind: &object.kind,
            namespace: &object.namespace,
            name: &object.name,
        }),
        field: &problem.field,
        message: &problem.message,
    }
}

/// A time in seconds since the epoch.
fn at(timestamp: i64) -> String {
    OffsetDateTime::from_unix_timestamp(timestamp).map_or_else(|_| timestamp.to_string(), rfc3339)
}

fn rfc3339(time: OffsetDateTime) -> String {
    let time = time.replace_millisecond(time.millisecond()).unwrap_or(time);
    time.format(&Rfc3339).unwrap_or_default()
}
