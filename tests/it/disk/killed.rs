//! The process is killed again and again under load. `SEALPOST_TEST_KILLS` sets how often (10
//! unless it is set); a third of the processes are killed while they start, several in a row.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{delivery, disk_channel, disk_subscription, in_directory};
use crate::support::dispatcher::Dispatcher;
use crate::support::eventually;
use crate::support::sender::{event, plain};
use crate::support::subscriber::{Received, Reply, Subscriber};

/// Senders at once.
const SENDERS: usize = 16;
/// Events that are answered before a kill, in the suite and where it takes longer: what is under way
/// at a kill comes twice, so that only many events show what part that is.
const LOAD: usize = 200;
const LONG_LOAD: usize = 3000;
/// How long the rest may take to be delivered.
const DRAIN: Duration = Duration::from_secs(90);

fn kills() -> usize {
    let text = std::env::var("SEALPOST_TEST_KILLS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(10)
}

/// Ids that were sent, and those that were answered 202.
#[derive(Default)]
struct Ledger {
    next: AtomicUsize,
    accepted: Mutex<HashSet<String>>,
}

impl Ledger {
    /// Number of events that were answered 202.
    fn accepted(&self) -> usize {
        self.accepted.lock().expect("lock").len()
    }

    /// Sends events until nobody answers any more.
    async fn send_until_killed(self: Arc<Self>, url: String) {
        let client = plain();
        loop {
            let id = self.next.fetch_add(1, Ordering::Relaxed).to_string();
            let Ok(answer) = event(&client, &url, &id).send().await else {
                return;
            };
            if answer.status().as_u16() == 202 {
                self.accepted.lock().expect("lock").insert(id);
            }
        }
    }
}

/// How often each event came.
fn seen(subscriber: &Subscriber) -> HashMap<String, usize> {
    let mut seen = HashMap::new();
    for received in subscriber.received() {
        *seen.entry(received.id().to_owned()).or_default() += 1;
    }
    seen
}

/// One event in twenty is refused twice.
fn refuses_some() -> impl Fn(&Received) -> Reply + Send + Sync {
    let attempts: Mutex<HashMap<String, usize>> = Mutex::default();
    move |received: &Received| {
        let number: usize = received.id().parse().expect("a number");
        if !number.is_multiple_of(20) {
            return Reply::status(202);
        }
        let mut attempts = attempts.lock().expect("lock");
        let made = attempts.entry(received.id().to_owned()).or_default();
        *made += 1;
        Reply::status(if *made < 3 { 503 } else { 202 })
    }
}

async fn start_and_kill(yaml: &str, data: &Path) {
    let mut dispatcher = in_directory(yaml, data).launch().await;
    dispatcher.signal(Signal::KILL);
    dispatcher.ended().await;
}

async fn serve_and_kill(yaml: &str, data: &Path, ledger: &Arc<Ledger>, load: usize) {
    let mut dispatcher = in_directory(yaml, data).start().await;
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let url = dispatcher.http_url("/default/c");
        senders.spawn(Arc::clone(ledger).send_until_killed(url));
    }
    let enough = ledger.accepted() + load;
    eventually("enough is sent", || ledger.accepted() >= enough).await;
    dispatcher.signal(Signal::KILL);
    while senders.join_next().await.is_some() {}
    dispatcher.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_little_doubled_however_often_it_is_killed() {
    let data = TempDir::new().expect("a directory");
    let (takes, refuses) = (
        Subscriber::ok().await,
        Subscriber::answering(refuses_some()).await,
    );
    let waits = delivery("retry: 10, backoffPolicy: linear, backoffDelay: PT0.1S");
    let yaml = disk_channel("c")
        + &disk_subscription("c", "a", &takes, "")
        + &disk_subscription("c", "b", &refuses, &waits);
    let (ledger, kills) = (Arc::new(Ledger::default()), kills());
    // The middle third is killed while it starts.
    let early = kills / 3..kills / 3 * 2;
    let load = if kills > 10 { LONG_LOAD } else { LOAD };
    for kill in 0..kills {
        if early.contains(&kill) {
            start_and_kill(&yaml, data.path()).await;
        } else {
            serve_and_kill(&yaml, data.path(), &ledger, load).await;
        }
    }
    let last = in_directory(&yaml, data.path()).start().await;
    let accepted = ledger.accepted.lock().expect("lock").clone();
    let deadline = Instant::now() + DRAIN;
    let lost = |subscriber: &Subscriber| {
        let seen = seen(subscriber);
        accepted.iter().filter(|id| !seen.contains_key(*id)).count()
    };
    while lost(&takes) + lost(&refuses) > 0 {
        assert!(
            Instant::now() < deadline,
            "{} and {} of {} are lost",
            lost(&takes),
            lost(&refuses),
            accepted.len()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    until_drained(&last).await;
    judge(&takes, &refuses, accepted.len(), kills);
}

/// Waits until nothing is left on the disk, what was not answered before a kill included.
async fn until_drained(dispatcher: &Dispatcher) {
    let deadline = Instant::now() + DRAIN;
    let name = "sealpost_subscription_queue_depth";
    loop {
        let left = dispatcher.series_value(name, &["\"a\""]).await
            + dispatcher.series_value(name, &["\"b\""]).await;
        if left == 0.0 {
            break;
        }
        assert!(Instant::now() < deadline, "{left} events are left");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    dispatcher.until_counter("deliveries_unfinished", 0).await;
}

fn judge(takes: &Subscriber, refuses: &Subscriber, accepted: usize, kills: usize) {
    let doubled: usize = seen(takes).values().map(|times| times - 1).sum();
    let extra: usize = seen(refuses)
        .iter()
        .map(|(id, times)| {
            let number: usize = id.parse().expect("a number");
            let wanted = if number.is_multiple_of(20) { 3 } else { 1 };
            times.saturating_sub(wanted)
        })
        .sum();
    eprintln!("{kills} kills, {accepted} accepted: 0 lost, {doubled} and {extra} doubled");
    assert!(accepted > kills * 20, "{accepted} accepted only");
    // What was under way when a process was killed comes twice: with the few events that a busy
    // machine sends between two kills, that is more than one in a hundred.
    let under_way = kills * SENDERS;
    for doubled in [doubled, extra] {
        assert!(
            doubled * 100 <= accepted || doubled <= under_way,
            "{doubled} of {accepted} came twice"
        );
    }
}
