//! A disk that fails while it is used, and is well again: no restart is needed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;
use tempfile::TempDir;

use super::faults::{flip, places, segments};
use super::{delivery, disk_channel, disk_subscription, in_directory, verify};
use crate::support::dispatcher::{Dispatcher, ready};
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::{Received, Reply, Subscriber};
use crate::support::system_calls::{FailingCalls, can_trace};
use crate::support::{SOON, eventually};

/// Waits long enough for whatever is done to the disk.
const PATIENT: &str = "retry: 1000, backoffPolicy: linear, backoffDelay: PT0.1S";
/// Events that are large enough to be read from the disk, and not from memory.
const LARGE: usize = 20;

/// A subscriber that refuses events until its gate is open.
struct Gated {
    subscriber: Subscriber,
    is_open: Arc<AtomicBool>,
    /// Ids of the events that it has taken.
    taken: Arc<Mutex<Vec<String>>>,
}

impl Gated {
    async fn new() -> Self {
        let (is_open, taken) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (gate, takes): (_, Arc<Mutex<Vec<String>>>) =
            (Arc::clone(&is_open), Arc::clone(&taken));
        let answer = move |event: &Received| {
            if !gate.load(Ordering::Acquire) {
                return Reply::status(503);
            }
            takes.lock().expect("lock").push(event.id().to_owned());
            Reply::status(200)
        };
        Self {
            subscriber: Subscriber::answering(answer).await,
            is_open,
            taken,
        }
    }

    fn open(&self) {
        self.is_open.store(true, Ordering::Release);
    }

    fn taken(&self) -> Vec<String> {
        self.taken.lock().expect("lock").clone()
    }

    async fn until(&self, count: usize) -> Vec<String> {
        eventually("events are taken", || self.taken().len() >= count).await;
        self.taken()
    }
}

/// Status of an answer, and whether it says when to try again.
pub(super) async fn try_send(dispatcher: &Dispatcher, id: &str) -> (u16, bool) {
    let url = dispatcher.http_url("/default/c");
    let answer = event(&plain(), url, id).send().await.expect("an answer");
    let waits = answer.headers().contains_key("retry-after");
    (answer.status().as_u16(), waits)
}

/// Sends events until one is taken; gives its id.
pub(super) async fn until_taken(dispatcher: &Dispatcher, name: &str) -> String {
    let deadline = Instant::now() + SOON;
    for number in 0.. {
        let id = format!("{name} {number}");
        if try_send(dispatcher, &id).await.0 == 202 {
            return id;
        }
        assert!(Instant::now() < deadline, "{name}: {}", dispatcher.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!("it ends with one of them")
}

/// While a call fails, senders are told; when it does not any more, the channel is served as before.
async fn survive(call: &str, error: &str, words: Option<&str>) {
    let data = TempDir::new().expect("a directory");
    let gated = Gated::new().await;
    let yaml =
        disk_channel("c") + &disk_subscription("c", "a", &gated.subscriber, &delivery(PATIENT));
    let dispatcher = in_directory(&yaml, data.path()).start().await;
    let mut accepted = vec![until_taken(&dispatcher, "before").await];
    gated.subscriber.until(1).await;
    let failing = FailingCalls::start(dispatcher.id(), call, error).await;
    for number in 0..5 {
        let (status, waits) = try_send(&dispatcher, &format!("while {number}")).await;
        assert!(
            waits && (status == 503 || words.is_none()),
            "{call}: {status}"
        );
    }
    if let Some(words) = words {
        let (status, why) = dispatcher.admin_text("/readyz").await;
        assert_eq!(status, 503, "{call}: {why}");
        assert!(
            why.contains("the disk fails") && why.contains(words),
            "{why}"
        );
        assert_eq!(dispatcher.series_value("sealpost_disk_up", &[]).await, 0.0);
        let channel = dispatcher.object("channels", "c").await;
        assert_eq!(ready(&channel)["reason"], "DiskUnavailable", "{channel}");
    }
    drop(failing);
    accepted.push(until_taken(&dispatcher, "after").await);
    let is_served = |channel: &Value| ready(channel)["status"] == "True";
    dispatcher.until_object("channels", "c", is_served).await;
    assert_eq!(dispatcher.admin_text("/readyz").await.0, 200, "{call}");
    accepted.push(until_taken(&dispatcher, "later").await);
    gated.open();
    eventually("what was taken comes", || {
        let taken = gated.taken();
        accepted.iter().all(|id| taken.contains(id))
    })
    .await;
    dispatcher.until_counter("deliveries_unfinished", 0).await;
    drop(dispatcher);
    verify(data.path());
}

/// Each kind of failure of a write: nothing that was answered 202 is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_is_used_again_when_it_is_well() {
    if !can_trace() {
        eprintln!("nothing can be traced here");
        return;
    }
    join_all([
        survive("fdatasync", "EIO", Some("Input/output error")),
        survive("pwrite64", "EIO", Some("Input/output error")),
        survive("pwrite64", "EROFS", Some("Read-only file system")),
        survive("pwrite64", "ENOSPC", None),
    ])
    .await;
}

/// Manifests of an ordered channel, and of another one.
fn two_channels(first: &Subscriber, second: &Subscriber) -> String {
    let ordered = disk_subscription("c", "a", first, &delivery(PATIENT)).replace(
        "metadata: {name: a}",
        "metadata: {name: a, annotations: {sealpost.dev/delivery-order: ordered}}",
    );
    disk_channel("c") + &ordered + &disk_channel("d") + &disk_subscription("d", "b", second, "")
}

/// A process with large events that wait behind one that is refused.
struct Waiting {
    data: TempDir,
    gated: Gated,
    other: Subscriber,
    dispatcher: Dispatcher,
}

impl Waiting {
    async fn new() -> Self {
        let data = TempDir::new().expect("a directory");
        let (gated, other) = (Gated::new().await, Subscriber::ok().await);
        let yaml = two_channels(&gated.subscriber, &other);
        let dispatcher = in_directory(&yaml, data.path())
            .arg("--log-level")
            .arg("info,sealpost::channel::disk=debug")
            .start()
            .await;
        let url = dispatcher.http_url("/default/c");
        for number in 0..LARGE {
            let body = format!("data of {number}|{}", "x".repeat(100 << 10));
            let sent = event(&plain(), &url, &number.to_string()).body(body);
            assert_eq!(sent.send().await.expect("an answer").status(), 202);
        }
        Self {
            data,
            gated,
            other,
            dispatcher,
        }
    }

    fn log(&self) -> PathBuf {
        self.data.path().join("channel+default+c")
    }

    /// The segment that holds an event, and where.
    fn place(&self, number: usize) -> (PathBuf, usize) {
        let text = format!("data of {number}|");
        let all = segments(self.data.path(), "channel+default+c");
        let mut found = all.into_iter().filter_map(|path| {
            let at = *places(&path, text.as_bytes()).first()?;
            Some((path, at))
        });
        found.next().expect("an event")
    }

    /// Damages an event that is met later, and waits until that is told.
    async fn meet_damage(&self) -> (PathBuf, usize) {
        let (path, at) = self.place(15);
        flip(&path, at);
        self.gated.open();
        let channel = self
            .dispatcher
            .until_object("channels", "c", |channel| {
                let message = ready(channel)["message"].as_str().unwrap_or_default();
                message.contains("at offset")
            })
            .await;
        let message = ready(&channel)["message"].as_str().expect("a message");
        for part in [path.to_str().expect("text"), "Restore"] {
            assert!(message.contains(part), "{message}");
        }
        let url = |name: &str| self.dispatcher.http_url(&format!("/default/{name}"));
        assert_eq!(send(&plain(), url("c"), "no").await, 503);
        assert_eq!(send(&plain(), url("d"), "yes").await, 202);
        self.other.until(1).await;
        (path, at)
    }

    async fn until_served(&self) {
        let is_served = |channel: &Value| ready(channel)["status"] == "True";
        let dispatcher = &self.dispatcher;
        dispatcher.until_object("channels", "c", is_served).await;
    }

    /// Waits until all events have come, in their order.
    async fn until_all_came(&self) {
        let expected: Vec<String> = (0..LARGE).map(|number| number.to_string()).collect();
        assert_eq!(self.gated.until(LARGE).await, expected);
    }
}

/// What cannot be read now is read later.
#[tokio::test(flavor = "multi_thread")]
async fn reads_that_fail_are_tried_again() {
    if !can_trace() {
        eprintln!("nothing can be traced here");
        return;
    }
    let waiting = Waiting::new().await;
    let failing = FailingCalls::start(waiting.dispatcher.id(), "pread64", "EIO").await;
    waiting.gated.open();
    eventually("it is told", || {
        let told = ["Events cannot be read from the disk", "Input/output error"];
        !waiting.dispatcher.logged(&told).is_empty()
    })
    .await;
    assert!(waiting.gated.taken().len() < LARGE);
    drop(failing);
    waiting.until_all_came().await;
    waiting.until_served().await;
}

/// Damage that is met stops its channel until the files are as they were, and no longer.
#[tokio::test(flavor = "multi_thread")]
async fn damage_that_was_met_is_mended_without_a_restart() {
    let waiting = Waiting::new().await;
    let (path, at) = waiting.meet_damage().await;
    eventually("it is looked at again", || {
        let told = ["The log still cannot be opened", "at offset"];
        !waiting.dispatcher.logged(&told).is_empty()
    })
    .await;
    flip(&path, at);
    waiting.until_served().await;
    waiting.until_all_came().await;
    assert_eq!(try_send(&waiting.dispatcher, "more").await.0, 202);
    waiting.gated.until(LARGE + 1).await;
    assert_eq!(waiting.dispatcher.logged(&["takes nothing until"]).len(), 1);
}

/// The remedy that is named, without a restart: the channel begins anew without its events.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_moved_away_begins_anew() {
    let waiting = Waiting::new().await;
    waiting.meet_damage().await;
    let before = waiting.gated.taken().len();
    let away: &Path = &waiting.data.path().with_extension("away");
    std::fs::rename(waiting.log(), away).expect("renamed");
    waiting.until_served().await;
    assert_eq!(try_send(&waiting.dispatcher, "new").await.0, 202);
    assert_eq!(waiting.gated.until(before + 1).await[before], "new");
    std::fs::remove_dir_all(away).expect("removed");
    verify(waiting.data.path());
}
