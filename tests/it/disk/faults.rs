//! What a disk may do, and who else may be at it.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{away, delivery, disk_channel, disk_subscription, in_directory, run_disk, sorted_ids};
use crate::support::dispatcher::{Dispatcher, can_mount, ready};
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::Subscriber;
use crate::support::{ANY_PORTS, binary, eventually};

/// Sends an event of 256 KiB; gives the status, and whether it says when to try again.
async fn send_large(dispatcher: &Dispatcher, id: &str) -> (u16, bool) {
    let url = dispatcher.http_url("/default/c");
    let large = event(&plain(), url, id).body(vec![b'x'; 256 << 10]);
    let answer = large.send().await.expect("an answer");
    let waits = answer.headers().contains_key("retry-after");
    (answer.status().as_u16(), waits)
}

/// Sends large events until one is refused; gives the number of those that were taken.
async fn fill(dispatcher: &Dispatcher) -> usize {
    for number in 0..200 {
        match send_large(dispatcher, &number.to_string()).await {
            (202, _) => {}
            refused => {
                assert_eq!(refused, (429, true), "{}", dispatcher.log());
                return number;
            }
        }
    }
    panic!("200 times 256 KiB found room");
}

/// Waits until the channel takes events again.
async fn until_taken(dispatcher: &Dispatcher) {
    let deadline = std::time::Instant::now() + crate::support::SOON;
    while send_large(dispatcher, "again").await.0 != 202 {
        assert!(std::time::Instant::now() < deadline, "there is no room");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// At the limit, senders get 429 and nothing is enqueued; when there is room, it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_until_there_is_room() {
    let data = TempDir::new().expect("a directory");
    let away = away().await;
    let back = Subscriber::ok().await;
    let patient = delivery("retry: 1000, backoffPolicy: linear, backoffDelay: PT0.1S");
    let yaml = |subscriber: &Subscriber| {
        disk_channel("c") + &disk_subscription("c", "a", subscriber, &patient)
    };
    let dispatcher = in_directory(&yaml(&away), data.path())
        .arg("--disk-max-bytes")
        .arg("6MiB")
        .start()
        .await;
    let taken = fill(&dispatcher).await;
    assert!((8..24).contains(&taken), "{taken} times 256 KiB in 6 MiB");
    assert!(dispatcher.counter("disk_refused_full_total").await > 0);
    assert_eq!(dispatcher.admin_text("/readyz").await.0, 200);
    let told = ["The disk has no room for events", "channel default/c"];
    assert_eq!(dispatcher.logged(&told).len(), 1, "{}", dispatcher.log());
    let status: Value =
        serde_json::from_str(&dispatcher.admin_text("/api/v1/status").await.1).expect("JSON");
    let full = status["process"]["disk"]["full"].as_str();
    assert!(full.is_some_and(|it| it.contains("limit")), "{status}");
    dispatcher.apply(&yaml(&back)).await;
    back.until(taken).await;
    until_taken(&dispatcher).await;
}

/// The same on a file system that is full indeed.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_without_room_refuses_until_there_is_some() {
    if !can_mount() {
        eprintln!("nothing can be mounted here");
        return;
    }
    let away = away().await;
    let back = Subscriber::ok().await;
    let patient = delivery("retry: 1000, backoffPolicy: linear, backoffDelay: PT0.1S");
    let yaml = |subscriber: &Subscriber| {
        disk_channel("c") + &disk_subscription("c", "a", subscriber, &patient)
    };
    let dispatcher = Dispatcher::of(&yaml(&away))
        .data_on("-t tmpfs -o size=6m none")
        .arg("--disk-max-bytes")
        .arg("1GiB")
        .start()
        .await;
    let taken = fill(&dispatcher).await;
    dispatcher.apply(&yaml(&back)).await;
    back.until(taken).await;
    until_taken(&dispatcher).await;
}

/// A directory that cannot be written to: the process lives, and says what is the matter.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_told_and_refuses() {
    if !can_mount() {
        eprintln!("nothing can be mounted here");
        return;
    }
    let subscriber = Subscriber::ok().await;
    let yaml = disk_channel("c") + &disk_subscription("c", "a", &subscriber, "");
    let dispatcher = Dispatcher::of(&yaml)
        .data_on("-t tmpfs -o size=6m,ro none")
        .launch()
        .await;
    eventually("it is told", || {
        !dispatcher.logged(&["its log cannot be opened"]).is_empty()
    })
    .await;
    dispatcher.until_readyz(503, "Read-only file system").await;
    let url = dispatcher.http_url("/default/c");
    let answer = event(&plain(), url, "1").send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let channel = dispatcher.object("channels", "c").await;
    let condition = ready(&channel);
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&Value::from("False"), &Value::from("DiskUnavailable")),
        "{channel}"
    );
}

/// A second process on the same directory ends, and says who has it.
pub(super) fn assert_belongs_to(first: &Dispatcher, data: &Path) {
    let tried = Command::new(binary())
        .args(["run", "--data-dir"])
        .arg(data)
        .arg("--state-dir")
        .arg(first.path("other-state"))
        .arg("-f")
        .arg(first.path("manifests"))
        .args(ANY_PORTS)
        .output()
        .expect("sealpost runs");
    let told = String::from_utf8_lossy(&tried.stderr);
    assert_eq!(tried.status.code(), Some(1), "{told}");
    let owner = format!(" is used by process {}:", first.id());
    let directory = data.to_str().expect("text");
    assert!(told.contains(&owner) && told.contains(directory), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_belongs_to_one_process() {
    let data = TempDir::new().expect("a directory");
    let subscriber = Subscriber::ok().await;
    let yaml = disk_channel("c") + &disk_subscription("c", "a", &subscriber, "");
    let first = in_directory(&yaml, data.path()).start().await;
    assert_belongs_to(&first, data.path());
    let url = first.http_url("/default/c");
    assert_eq!(send(&plain(), url, "1").await, 202);
    subscriber.until(1).await;
}

/// Nobody gets in by removing the file of the lock, nor by putting another one in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_whose_lock_was_removed_belongs_to_one_process() {
    let data = TempDir::new().expect("a directory");
    let subscriber = Subscriber::ok().await;
    let yaml = disk_channel("c") + &disk_subscription("c", "a", &subscriber, "");
    let first = in_directory(&yaml, data.path()).start().await;
    let lock = data.path().join("lock");
    fs::remove_file(&lock).expect("removed");
    assert_belongs_to(&first, data.path());
    fs::write(&lock, "process 1").expect("written");
    assert_belongs_to(&first, data.path());
    let listed = run_disk(&["ls"], data.path());
    let told = String::from_utf8_lossy(&listed.stderr);
    let owner = format!("in use by process {}", first.id());
    assert!(told.contains(&owner), "{told}");
    let url = first.http_url("/default/c");
    assert_eq!(send(&plain(), url, "1").await, 202);
    assert_eq!(subscriber.until(1).await[0].id(), "1");
}

/// Segments of a log, the oldest first.
pub(super) fn segments(data: &Path, log: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join(log)).expect("a log");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut segments: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "segment"))
        .collect();
    segments.sort();
    segments
}

/// Offsets at which a file holds this text.
pub(super) fn places(file: &Path, text: &[u8]) -> Vec<usize> {
    let bytes = fs::read(file).expect("read");
    let windows = bytes.windows(text.len()).enumerate();
    windows
        .filter(|(_, window)| *window == text)
        .map(|(at, _)| at)
        .collect()
}

/// Flips a bit, also beside the process that has the file.
pub(super) fn flip(file: &Path, at: usize) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file);
    let (file, mut byte) = (file.expect("opened"), [0]);
    file.read_exact_at(&mut byte, at as u64).expect("read");
    file.write_all_at(&[byte[0] ^ 1], at as u64)
        .expect("written");
}

/// Sends events to a channel whose subscriber is away, and kills the process; gives the file that
/// holds the events.
async fn leave_events(yaml: &str, data: &Path, ids: &[&str]) -> PathBuf {
    let mut dispatcher = in_directory(yaml, data).start().await;
    for id in ids {
        let url = dispatcher.http_url("/default/c");
        let sent = event(&plain(), url, id).body(format!("data of {id}"));
        let answer = sent.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 202);
    }
    dispatcher.signal(Signal::KILL);
    dispatcher.ended().await;
    let all = segments(data, "channel+default+c");
    all.into_iter().next_back().expect("a segment")
}

/// Manifests of a channel whose subscriber waits long, and of another channel.
fn two_channels(first: &Subscriber, second: &Subscriber) -> String {
    let patient = delivery("retry: 10, backoffPolicy: linear, backoffDelay: PT0.5S");
    disk_channel("c")
        + &disk_subscription("c", "a", first, &patient)
        + &disk_channel("d")
        + &disk_subscription("d", "b", second, "")
}

/// The offset behind the last record of a segment (docs/DISK.md).
fn end_of_records(segment: &[u8]) -> usize {
    let mut offset = 128;
    while segment[offset + 8] != 0 {
        let length = segment[offset + 4..offset + 8].try_into().expect("four");
        offset = (offset + 12 + u32::from_le_bytes(length) as usize).next_multiple_of(8);
    }
    offset
}

/// What was being written when the process ended is left out, and everything before it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_costs_what_was_not_answered() {
    let data = TempDir::new().expect("a directory");
    let (away, other) = (away().await, Subscriber::ok().await);
    let back = Subscriber::ok().await;
    let yaml = two_channels(&away, &other);
    let newest = leave_events(&yaml, data.path(), &["1", "2", "3"]).await;
    // Half of a frame behind all others: its head, and nothing of what it counts.
    let mut bytes = fs::read(&newest).expect("read");
    let torn = end_of_records(&bytes);
    bytes[torn..torn + 40].fill(0xa5);
    fs::write(&newest, bytes).expect("written");
    let dispatcher = in_directory(&two_channels(&back, &other), data.path())
        .start()
        .await;
    assert_eq!(sorted_ids(&back.until(3).await), ["1", "2", "3"]);
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "4").await,
        202
    );
}

/// A flipped bit is not passed over: the channel says where it is and what to do, and the others
/// are served.
#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_and_costs_no_other_channel() {
    let data = TempDir::new().expect("a directory");
    let (away, other) = (away().await, Subscriber::ok().await);
    let yaml = two_channels(&away, &other);
    let newest = leave_events(&yaml, data.path(), &["1", "2", "3"]).await;
    let at = places(&newest, b"data of 1")[0];
    flip(&newest, at);
    let dispatcher = in_directory(&yaml, data.path()).start().await;
    let channel = dispatcher
        .until_object("channels", "c", |channel| {
            let message = ready(channel)["message"].as_str().unwrap_or_default();
            message.contains("at offset")
        })
        .await;
    let condition = ready(&channel);
    let message = condition["message"].as_str().expect("a message");
    assert_eq!(condition["reason"], "DiskUnavailable");
    for part in [newest.to_str().expect("text"), "Restore"] {
        assert!(message.contains(part), "{message}");
    }
    let url = |name: &str| dispatcher.http_url(&format!("/default/{name}"));
    assert_eq!(send(&plain(), url("c"), "4").await, 503);
    assert_eq!(send(&plain(), url("d"), "5").await, 202);
    assert_eq!(other.until(1).await[0].id(), "5");
    assert_eq!(dispatcher.admin_text("/readyz").await.0, 200);
    assert!(
        !dispatcher
            .logged(&["its log cannot be opened", "offset"])
            .is_empty()
    );
}
