//! `EventType`s, made of events that are seen (contract 8.1 to 8.3).
//!
//! Whoever sees an event only puts its type into a bounded queue, if it is new, and never waits; one task makes what is
//! in the queue. What does not fit is left to the next event of that type. Nothing here changes what becomes of an event.

pub mod kubernetes;

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use md5::{Digest, Md5};
use moka::future::Cache;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::event::Event;
use crate::model::EventTypeOwner;
use crate::telemetry::counters::ProcessCounters;
use crate::wire_text::WireText;

/// Types that wait to be made.
const QUEUE: usize = 1024;
/// Types that are remembered as made.
const MAX_KNOWN: u64 = 50_000;
/// One that is removed from the cluster comes back after this time, if its events go on.
const REMEMBERED: Duration = Duration::from_secs(600);
/// One that could not be made is not tried again for this time.
const PAUSE: Duration = Duration::from_secs(30);
/// Making one takes no longer (contract 8.1).
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a `type`, a `source` or a `dataschema` that an `EventType` is made for. Longer ones are no names that anybody
/// looks up, and what waits or is remembered is to be small.
const LONGEST_TEXT: usize = 2048;
/// The longest name of an object.
const LONGEST_NAME: usize = 253;

type EventTypeFingerprint = [u8; 16];

/// A type of events that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType {
    /// What it was seen at.
    pub owner: Arc<EventTypeOwner>,
    /// `metadata.name` (contract 8.2).
    pub name: String,
    /// The event's `type`.
    pub ty: String,
    /// The event's `source`.
    pub source: String,
    /// The event's `dataschema`, or nothing.
    pub schema: String,
    /// The event's `specversion`.
    pub spec_version: &'static str,
}

/// Makes `EventType`s.
pub trait EventTypeCreator: Send + Sync + 'static {
    /// Makes one; one that exists is left as it is.
    fn create<'a>(&'a self, wanted: &'a EventType) -> BoxFuture<'a, Result<CreationOutcome, String>>;
}

/// What came of making one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreationOutcome {
    /// It is new.
    Created,
    /// There was one of its name.
    AlreadyExists,
}

/// What has been done already.
#[derive(Clone)]
struct SeenEventTypes {
    created: Cache<EventTypeFingerprint, ()>,
    failed: Cache<EventTypeFingerprint, ()>,
}

impl SeenEventTypes {
    fn holds(&self, fingerprint: &EventTypeFingerprint) -> bool {
        self.created.contains_key(fingerprint) || self.failed.contains_key(fingerprint)
    }
}

/// Where events are shown. The default looks at none.
#[derive(Clone, Default)]
pub struct EventTypeObserver(Option<ObserverState>);

#[derive(Clone)]
struct ObserverState {
    queue: mpsc::Sender<EventType>,
    memory: SeenEventTypes,
    counters: Arc<ProcessCounters>,
    /// Whether it was told that some events have attributes that are too long.
    too_long_logged: Arc<AtomicBool>,
}

impl EventTypeObserver {
    /// Has the type of an event made, if it is wanted and new. Never waits; free where it is not wanted.
    pub fn observe(&self, owner: Option<&Arc<EventTypeOwner>>, event: &Event) {
        let (Some(owner), Some(looking)) = (owner, &self.0) else { return };
        let text = |name| event.get(name).unwrap_or_default();
        let (ty, source, schema) = (text("type"), text("source"), text("dataschema"));
        if [&ty, &source, &schema].iter().any(|text| text.len() > LONGEST_TEXT) {
            return looking.log_too_long(owner, event);
        }
        let fingerprint = fingerprint(owner, &ty, &source);
        if looking.memory.holds(&fingerprint) {
            return;
        }
        let wanted = EventType {
            name: object_name(owner, &fingerprint),
            owner: Arc::clone(owner),
            ty: ty.into_owned(),
            source: source.into_owned(),
            schema: schema.into_owned(),
            spec_version: event.spec_version().as_str(),
        };
        if looking.queue.try_send(wanted).is_err() {
            looking.counters.event_types_put_off.increment();
        }
    }
}

impl ObserverState {
    /// No `EventType` is made of this event. That is told once, since nobody has to mend it soon.
    fn log_too_long(&self, owner: &EventTypeOwner, event: &Event) {
        if !self.too_long_logged.swap(true, Ordering::Relaxed) {
            let (kind, namespace, name) = (owner.kind, &owner.namespace, &owner.name);
            tracing::warn!(
                kind, namespace, name, event.id = %WireText::new(event.id()), longest = LONGEST_TEXT,
                "No EventType is made of events whose type, source or dataschema is longer: use shorter ones; this is told once"
            );
        }
    }
}

/// The task that makes them.
pub struct EventTypeWorker {
    queue: mpsc::Receiver<EventType>,
    memory: SeenEventTypes,
    creator: Arc<dyn EventTypeCreator>,
    counters: Arc<ProcessCounters>,
}

/// Where events are shown, and the task that has `creator` make their types.
#[must_use]
pub fn observer_and_worker(
    creator: Arc<dyn EventTypeCreator>,
    counters: Arc<ProcessCounters>,
) -> (EventTypeObserver, EventTypeWorker) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let remember = |time| Cache::builder().max_capacity(MAX_KNOWN).time_to_live(time).build();
    let memory = SeenEventTypes { created: remember(REMEMBERED), failed: remember(PAUSE) };
    let looking = ObserverState {
        queue: sender,
        memory: memory.clone(),
        counters: Arc::clone(&counters),
        too_long_logged: Arc::default(),
    };
    (EventTypeObserver(Some(looking)), EventTypeWorker { queue, memory, creator, counters })
}

impl EventTypeWorker {
    /// Makes types until `stop`. What is in the queue then is left to other processes.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(Some(wanted)) = stop.run_until_cancelled(self.queue.recv()).await {
            if stop.run_until_cancelled(self.create_event_type(&wanted)).await.is_none() {
                return;
            }
        }
    }

    async fn create_event_type(&self, wanted: &EventType) {
        let fingerprint = fingerprint(&wanted.owner, &wanted.ty, &wanted.source);
        if self.memory.holds(&fingerprint) {
            return;
        }
        let created = tokio::time::timeout(TIMEOUT, self.creator.create(wanted)).await;
        let failed = match created {
            Ok(Ok(created)) => {
                if created == CreationOutcome::Created {
                    self.counters.event_types_created.increment();
                    tracing::info!(namespace = wanted.owner.namespace, name = wanted.name, "EventType made");
                }
                self.memory.created.insert(fingerprint, ()).await;
                return;
            }
            Ok(Err(reason)) => reason,
            Err(_elapsed) => format!("no answer within {} s", TIMEOUT.as_secs()),
        };
        self.counters.event_types_failed.increment();
        tracing::warn!(
            namespace = wanted.owner.namespace,
            name = wanted.name,
            error = failed,
            "An EventType could not be made"
        );
        self.memory.failed.insert(fingerprint, ()).await;
    }
}

/// Contract 8.2: `type`, `source`, namespace and name, one behind the other.
fn fingerprint(owner: &EventTypeOwner, ty: &str, source: &str) -> EventTypeFingerprint {
    let parts = [ty, source, &owner.namespace, &owner.name];
    parts.iter().fold(Md5::new(), Digest::chain_update).finalize().into()
}

/// `et-<name>-<md5>`; the name gives way where that is too long.
fn object_name(owner: &EventTypeOwner, fingerprint: &EventTypeFingerprint) -> String {
    let kept = LONGEST_NAME - "et-".len() - "-".len() - 2 * fingerprint.len();
    let mut name = format!("et-{}-", owner.name.get(..kept).unwrap_or(&owner.name).to_ascii_lowercase());
    for byte in fingerprint {
        if write!(name, "{byte:02x}").is_err() {
            tracing::debug!("Formatting into a string failed");
        }
    }
    name
}

#[cfg(test)]
mod tests;
