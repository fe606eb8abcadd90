//! Tests of the `EventType`s that are created from events, and that no event waits for it (contract
//! 8.1 to 8.3).

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;

/// Makes what it is told, at a pace, unless it is told to fail.
#[derive(Default)]
struct Cluster {
    made: Mutex<Vec<EventType>>,
    takes: Duration,
    failures: AtomicUsize,
}

impl Cluster {
    fn names(&self) -> Vec<String> {
        self.made
            .lock()
            .expect("lock")
            .iter()
            .map(|made| made.name.clone())
            .collect()
    }
}

impl EventTypeCreator for Cluster {
    fn create<'a>(
        &'a self,
        wanted: &'a EventType,
    ) -> BoxFuture<'a, Result<CreationOutcome, String>> {
        async move {
            tokio::time::sleep(self.takes).await;
            let fails = self
                .failures
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_ok();
            let mut made = self.made.lock().expect("lock");
            let existed = made.iter().any(|made| made.name == wanted.name);
            made.push(wanted.clone());
            match (fails, existed) {
                (true, _) => Err("403 Forbidden".to_owned()),
                (false, true) => Ok(CreationOutcome::AlreadyExists),
                (false, false) => Ok(CreationOutcome::Created),
            }
        }
        .boxed()
    }
}

fn owner() -> Arc<EventTypeOwner> {
    Arc::new(EventTypeOwner {
        api_version: "messaging.knative.dev/v1",
        kind: "InMemoryChannel",
        namespace: "orders".to_owned(),
        name: "invoice-feed".to_owned(),
        uid: "7b1b2f0a-33b7-4f0e-8d0a-0c6a5f5e1a01".to_owned(),
        address: Some("http".to_owned()),
    })
}

fn invoice() -> Event {
    Event::new("1", "/billing/eu-1", "com.example.invoice.created")
}

fn running(
    cluster: Cluster,
) -> (
    Arc<Cluster>,
    EventTypeObserver,
    Arc<ProcessCounters>,
    JoinSet<()>,
) {
    let (cluster, counters) = (Arc::new(cluster), Arc::new(ProcessCounters::default()));
    let (event_types, maker) = observer_and_worker(
        Arc::clone(&cluster) as Arc<dyn EventTypeCreator>,
        Arc::clone(&counters),
    );
    let mut running = JoinSet::new();
    running.spawn(maker.run(CancellationToken::new()));
    (cluster, event_types, counters, running)
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Contract 8.2: the object as upstream makes it.
#[tokio::test(start_paused = true)]
async fn the_object_is_that_of_the_contract() {
    let (cluster, event_types, counters, _running) = running(Cluster::default());
    for _ in 0..1000 {
        event_types.observe(Some(&owner()), &invoice());
    }
    pass(1).await;
    assert_eq!(
        counters.event_types_created.get(),
        1,
        "8.1: one for each type and source"
    );
    let made = cluster.made.lock().expect("lock")[0].clone();
    let expected = serde_json::json!({
        "apiVersion": "eventing.knative.dev/v1beta3",
        "kind": "EventType",
        "metadata": {
            "name": "et-invoice-feed-c74455819ec7d0f87fe53b41b50554f3",
            "namespace": "orders",
            "ownerReferences": [{
                "apiVersion": "messaging.knative.dev/v1",
                "kind": "InMemoryChannel",
                "name": "invoice-feed",
                "uid": "7b1b2f0a-33b7-4f0e-8d0a-0c6a5f5e1a01",
            }],
        },
        "spec": {
            "reference": {
                "apiVersion": "messaging.knative.dev/v1",
                "kind": "InMemoryChannel",
                "name": "invoice-feed",
                "namespace": "orders",
                "address": "http",
            },
            "description": "created from observed traffic",
            "attributes": [
                {"name": "type", "value": "com.example.invoice.created", "required": true},
                {"name": "source", "value": "/billing/eu-1", "required": true},
                {"name": "schemadata", "value": "", "required": true},
                {"name": "specversion", "value": "1.0", "required": true},
                {"name": "id", "required": true},
            ],
        },
    });
    assert_eq!(kubernetes::build_object(&made), expected);
}

/// None is made of what nobody looks up by its name, so that what waits is small; others are made
/// as before.
#[tokio::test(start_paused = true)]
async fn long_texts_make_none() {
    let (cluster, event_types, _, _running) = running(Cluster::default());
    let long = "x".repeat(LONGEST_TEXT + 1);
    let mut schema = invoice();
    schema.set("dataschema", &format!("http://{long}"));
    for event in [
        Event::new("1", &long, "t"),
        Event::new("1", "/s", &long),
        schema,
    ] {
        event_types.observe(Some(&owner()), &event);
    }
    event_types.observe(
        Some(&owner()),
        &Event::new("1", "/s", &"x".repeat(LONGEST_TEXT)),
    );
    pass(1).await;
    let made = cluster.made.lock().expect("lock");
    assert_eq!(
        made.iter()
            .map(|made| made.ty.capacity())
            .collect::<Vec<_>>(),
        [LONGEST_TEXT]
    );
}

/// Names are names of Kubernetes, and different for what is different, however long.
#[test]
fn names_are_short_enough() {
    let long = Arc::new(EventTypeOwner {
        name: "n".repeat(253),
        ..(*owner()).clone()
    });
    let names: Vec<String> = ["/a", "/b"]
        .map(|source| object_name(&long, &fingerprint(&long, "t", source)))
        .into_iter()
        .collect();
    assert!(
        names
            .iter()
            .all(|name| name.len() == LONGEST_NAME && name.starts_with("et-nnn"))
    );
    assert_ne!(names[0], names[1]);
}

/// Contract 8.1: what is not wanted costs nothing, and an API server that takes its time delays
/// nobody; what does not fit is made of a later event.
#[tokio::test(start_paused = true)]
async fn nobody_waits() {
    let slow = Cluster {
        takes: Duration::from_secs(20),
        ..Cluster::default()
    };
    let (cluster, event_types, counters, _running) = running(slow);
    let started = Instant::now();
    let of_type = |number: usize| Event::new("1", "/s", &format!("t{number}"));
    for number in 0..3000 {
        event_types.observe(Some(&owner()), &of_type(number));
        event_types.observe(None, &of_type(number));
        EventTypeObserver::default().observe(Some(&owner()), &of_type(number));
    }
    assert!(started.elapsed().is_zero());
    assert_eq!(counters.event_types_put_off.get(), 3000 - QUEUE as u64);
    pass(20 * (QUEUE as u64 + 1)).await;
    assert_eq!(cluster.names().len(), QUEUE);
    event_types.observe(Some(&owner()), &of_type(2999));
    pass(30).await;
    assert_eq!(cluster.names().len(), QUEUE + 1);
}

/// One that exists is no failure; one that failed is tried again, though not at once; a silent API
/// server is left alone after 30 s.
#[tokio::test]
async fn failures_are_tried_again_later() {
    let (cluster, event_types, counters, _running) = running(Cluster {
        failures: AtomicUsize::new(1),
        ..Cluster::default()
    });
    event_types.observe(Some(&owner()), &invoice());
    while counters.event_types_failed.get() == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        event_types.observe(Some(&owner()), &invoice());
        tokio::task::yield_now().await;
    }
    assert_eq!(cluster.names().len(), 1, "it is left alone for a while");
}

#[tokio::test(start_paused = true)]
async fn a_silent_cluster_is_left_alone() {
    let silent = Cluster {
        takes: Duration::from_secs(1 << 30),
        ..Cluster::default()
    };
    let (_cluster, event_types, counters, _running) = running(silent);
    event_types.observe(Some(&owner()), &invoice());
    pass(29).await;
    assert_eq!(counters.event_types_failed.get(), 0);
    pass(2).await;
    assert_eq!(counters.event_types_failed.get(), 1);
}

/// The task ends at once when it is told to, whatever it waits for.
#[tokio::test(start_paused = true)]
async fn it_stops() {
    let silent = Arc::new(Cluster {
        takes: Duration::from_secs(1 << 30),
        ..Cluster::default()
    });
    let (event_types, maker) = observer_and_worker(silent, Arc::default());
    event_types.observe(Some(&owner()), &invoice());
    let stop = CancellationToken::new();
    let started = Instant::now();
    tokio::join!(maker.run(stop.clone()), async {
        pass(1).await;
        stop.cancel();
    });
    assert_eq!(started.elapsed(), Duration::from_secs(1));
}
