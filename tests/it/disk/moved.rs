//! Files and directories that are removed, moved or replaced while a process has them.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::failing::{try_send, until_taken};
use super::faults::{assert_belongs_to, segments};
use super::{disk_channel, disk_subscription, in_directory, sorted_ids, verify};
use crate::support::dispatcher::Dispatcher;
use crate::support::eventually;
use crate::support::subscriber::Subscriber;

const LOG: &str = "channel+default+c";

/// A process that has delivered an event, and the directories that something is done to.
struct InUse {
    /// Holds the data directory, and what is moved out of it.
    around: TempDir,
    subscriber: Subscriber,
    dispatcher: Dispatcher,
}

impl InUse {
    async fn new() -> Self {
        let around = TempDir::new().expect("a directory");
        let subscriber = Subscriber::ok().await;
        let yaml = disk_channel("c") + &disk_subscription("c", "a", &subscriber, "");
        let data = around.path().join("data");
        let dispatcher = in_directory(&yaml, &data).start().await;
        assert_eq!(try_send(&dispatcher, "before").await.0, 202);
        subscriber.until(1).await;
        Self {
            around,
            subscriber,
            dispatcher,
        }
    }

    fn data(&self) -> PathBuf {
        self.around.path().join("data")
    }

    fn elsewhere(&self) -> PathBuf {
        self.around.path().join("elsewhere")
    }

    /// The next event is refused, which the log tells in these words; after that, the channel is
    /// served again.
    async fn until_served_anew(&self, words: &str) {
        let dispatcher = &self.dispatcher;
        assert_eq!(try_send(dispatcher, "lost").await, (503, true), "{words}");
        let log = self.data().join(LOG);
        let told = ["ERROR", "default/c", log.to_str().expect("text"), words];
        eventually("it is told", || !dispatcher.logged(&told).is_empty()).await;
        let accepted = until_taken(dispatcher, "after").await;
        eventually("what was taken comes", || {
            let received = self.subscriber.received();
            received.iter().any(|event| event.id() == accepted)
        })
        .await;
        let received = self.subscriber.received();
        let ids = sorted_ids(&received);
        assert!(!ids.contains(&"lost"), "{ids:?}");
        verify(&self.data());
        assert_belongs_to(dispatcher, &self.data());
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("made");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// Nobody is told that an event is in a file that nobody will find.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_were_removed_are_made_anew() {
    let used = InUse::new().await;
    for entry in fs::read_dir(used.data().join(LOG)).expect("listed") {
        fs::remove_file(entry.expect("an entry").path()).expect("removed");
    }
    used.until_served_anew("was removed while it was open")
        .await;
}

/// What is made in the place of the data directory belongs to the process as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_was_removed_is_made_anew() {
    let used = InUse::new().await;
    fs::remove_dir_all(used.data()).expect("removed");
    used.until_served_anew("was removed while it was open")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_moved_is_made_anew() {
    let used = InUse::new().await;
    let moved = used.elsewhere();
    fs::create_dir(&moved).expect("made");
    fs::rename(used.data().join(LOG), moved.join(LOG)).expect("moved");
    used.until_served_anew("was moved or replaced").await;
    verify(&moved);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_was_moved_is_made_anew() {
    let used = InUse::new().await;
    fs::rename(used.data(), used.elsewhere()).expect("moved");
    used.until_served_anew("was moved or replaced").await;
    verify(&used.elsewhere());
    let told = ["ERROR", "The data directory was moved or removed"];
    assert_eq!(used.dispatcher.logged(&told).len(), 1);
}

/// A copy in the place of a log is another one, though its files have the same names.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_replaced_by_a_copy_is_opened_anew() {
    let used = InUse::new().await;
    // Nothing is written while it is copied.
    used.dispatcher
        .until_counter("deliveries_unfinished", 0)
        .await;
    let (log, moved) = (used.data().join(LOG), used.elsewhere());
    fs::rename(&log, &moved).expect("moved");
    copy(&moved, &log);
    assert!(!segments(&used.data(), LOG).is_empty());
    used.until_served_anew("was moved or replaced").await;
}
