//! `EventType`s, created from events that are seen (contract 8.1 to 8.3).
//!
//! The task that sees an event only puts its type into a bounded queue, if it is new, and never
//! waits; one worker creates the types in the queue. A type that does not fit into the queue is
//! left to the next event of that type. Nothing here changes the delivery of an event.

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

/// Types that may wait to be created.
const QUEUE: usize = 1024;
/// Types that are remembered as created.
const MAX_KNOWN: u64 = 50_000;
/// Time for which a type is remembered: one that is removed from the cluster comes back after it,
/// if its events go on.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Time after which the creation of a type is tried again that has failed.
const PAUSE: Duration = Duration::from_secs(30);
/// Longest time that the creation of one type may take (contract 8.1).
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest size in bytes of a `type`, a `source` or a `dataschema` for which an `EventType` is
/// created. Longer ones are no names that anybody looks up, and types that wait or are remembered
/// must be small.
const LONGEST_TEXT: usize = 2048;
/// Longest name that an object may have, in bytes.
const LONGEST_NAME: usize = 253;

type EventTypeFingerprint = [u8; 16];

/// A type of events that was seen at a channel or Broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType {
    /// Object at which the event was seen.
    pub(crate) owner: Arc<EventTypeOwner>,
    /// Value of `metadata.name` (contract 8.2).
    pub(crate) name: String,
    /// The attribute `type` of the event.
    pub(crate) ty: String,
    /// The attribute `source` of the event.
    pub(crate) source: String,
    /// The attribute `dataschema` of the event, or an empty text.
    pub(crate) schema: String,
    /// The attribute `specversion` of the event.
    pub(crate) spec_version: &'static str,
}

/// Creates `EventType` objects, for example in a cluster.
pub trait EventTypeCreator: Send + Sync + 'static {
    /// Creates one object; one that exists is left as it is.
    ///
    /// # Errors
    /// The reason in words, if the object could not be created.
    fn create<'a>(
        &'a self,
        wanted: &'a EventType,
    ) -> BoxFuture<'a, Result<CreationOutcome, String>>;
}

/// Outcome of a creation that has not failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreationOutcome {
    /// The object is new.
    Created,
    /// An object of its name existed before.
    AlreadyExists,
}

/// Fingerprints of types that need not be created: those that exist, and those that have failed a
/// moment ago.
#[derive(Clone)]
struct SeenEventTypes {
    created: Cache<EventTypeFingerprint, ()>,
    failed: Cache<EventTypeFingerprint, ()>,
}

impl SeenEventTypes {
    fn new() -> Self {
        let remember = |time| {
            Cache::builder()
                .max_capacity(MAX_KNOWN)
                .time_to_live(time)
                .build()
        };
        Self {
            created: remember(REMEMBERED),
            failed: remember(PAUSE),
        }
    }

    fn holds(&self, fingerprint: &EventTypeFingerprint) -> bool {
        self.created.contains_key(fingerprint) || self.failed.contains_key(fingerprint)
    }
}

/// Observer of events, from whose types `EventType`s are created. The default observes nothing.
#[derive(Clone, Default)]
pub struct EventTypeObserver(Option<ObserverState>);

#[derive(Clone)]
struct ObserverState {
    queue: mpsc::Sender<EventType>,
    memory: SeenEventTypes,
    counters: Arc<ProcessCounters>,
    /// True if it was logged that some events have attributes that are too long.
    too_long_logged: Arc<AtomicBool>,
}

impl EventTypeObserver {
    /// Queues the type of an event for creation, if its owner wants that and the type is new. Never
    /// waits, and costs nothing where it is not wanted.
    pub(crate) fn observe(&self, owner: Option<&Arc<EventTypeOwner>>, event: &Event) {
        if let (Some(owner), Some(state)) = (owner, &self.0) {
            state.observe(owner, event);
        }
    }
}

impl ObserverState {
    fn observe(&self, owner: &Arc<EventTypeOwner>, event: &Event) {
        let text = |name| event.get(name).unwrap_or_default();
        let (ty, source, schema) = (text("type"), text("source"), text("dataschema"));
        // Checked before hashing: what is too long need not be remembered.
        if [&ty, &source, &schema]
            .iter()
            .any(|text| text.len() > LONGEST_TEXT)
        {
            return self.log_too_long(owner, event);
        }
        let fingerprint = fingerprint(owner, &ty, &source);
        if self.memory.holds(&fingerprint) {
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
        if self.queue.try_send(wanted).is_err() {
            self.counters.event_types_put_off.increment();
        }
    }

    /// Logs that no `EventType` is created from this event. That is logged once, since nobody has
    /// to mend it soon.
    fn log_too_long(&self, owner: &EventTypeOwner, event: &Event) {
        if !self.too_long_logged.swap(true, Ordering::Relaxed) {
            let (kind, namespace, name) = (owner.kind, &owner.namespace, &owner.name);
            tracing::warn!(
                kind, namespace, name, event.id = %WireText::new(event.id()), longest = LONGEST_TEXT,
                "No EventType is made of events whose type, source or dataschema is longer: \
                 use shorter ones; this is told once"
            );
        }
    }
}

/// Task that creates the queued types.
pub struct EventTypeWorker {
    queue: mpsc::Receiver<EventType>,
    memory: SeenEventTypes,
    creator: Arc<dyn EventTypeCreator>,
    counters: Arc<ProcessCounters>,
}

/// Makes an observer, and the worker that has `creator` create the observed types.
#[must_use]
pub fn observer_and_worker(
    creator: Arc<dyn EventTypeCreator>,
    counters: Arc<ProcessCounters>,
) -> (EventTypeObserver, EventTypeWorker) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let memory = SeenEventTypes::new();
    let state = ObserverState {
        queue: sender,
        memory: memory.clone(),
        counters: Arc::clone(&counters),
        too_long_logged: Arc::default(),
    };
    let worker = EventTypeWorker {
        queue,
        memory,
        creator,
        counters,
    };
    (EventTypeObserver(Some(state)), worker)
}

impl EventTypeWorker {
    /// Creates types until `stop`. Types in the queue at that time are left to other processes.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(Some(wanted)) = stop.run_until_cancelled(self.queue.recv()).await {
            if stop
                .run_until_cancelled(self.create_event_type(&wanted))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    async fn create_event_type(&self, wanted: &EventType) {
        let fingerprint = fingerprint(&wanted.owner, &wanted.ty, &wanted.source);
        // Several observers may have queued the same type before it was created.
        if self.memory.holds(&fingerprint) {
            return;
        }
        let created = tokio::time::timeout(TIMEOUT, self.creator.create(wanted)).await;
        let created = created
            .unwrap_or_else(|_elapsed| Err(format!("no answer within {} s", TIMEOUT.as_secs())));
        match created {
            Ok(created) => {
                self.log_created(wanted, created);
                self.memory.created.insert(fingerprint, ()).await;
            }
            Err(error) => {
                self.log_failed(wanted, &error);
                // Remembered as failed, so that its events do not ask for it all the time.
                self.memory.failed.insert(fingerprint, ()).await;
            }
        }
    }

    fn log_created(&self, wanted: &EventType, created: CreationOutcome) {
        if created == CreationOutcome::Created {
            self.counters.event_types_created.increment();
            tracing::info!(
                namespace = wanted.owner.namespace,
                name = wanted.name,
                "EventType made"
            );
        }
    }

    fn log_failed(&self, wanted: &EventType, error: &str) {
        self.counters.event_types_failed.increment();
        tracing::warn!(
            namespace = wanted.owner.namespace,
            name = wanted.name,
            error,
            "An EventType could not be made"
        );
    }
}

/// Hash of `type`, `source`, namespace and name, one behind the other (contract 8.2).
fn fingerprint(owner: &EventTypeOwner, ty: &str, source: &str) -> EventTypeFingerprint {
    let parts = [ty, source, &owner.namespace, &owner.name];
    parts
        .iter()
        .fold(Md5::new(), Digest::chain_update)
        .finalize()
        .into()
}

/// Name `et-<name>-<md5>`; the owner's name is cut where the whole is too long.
fn object_name(owner: &EventTypeOwner, fingerprint: &EventTypeFingerprint) -> String {
    let kept = LONGEST_NAME - "et-".len() - "-".len() - 2 * fingerprint.len();
    let mut name = format!(
        "et-{}-",
        owner
            .name
            .get(..kept)
            .unwrap_or(&owner.name)
            .to_ascii_lowercase()
    );
    for byte in fingerprint {
        if write!(name, "{byte:02x}").is_err() {
            tracing::debug!("Formatting into a string failed");
        }
    }
    name
}

#[cfg(test)]
mod tests;
