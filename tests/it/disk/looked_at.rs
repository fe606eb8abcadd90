//! `sealpost disk ls|verify|dump`: what is on the disk, whole or not, with a process or without.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{away, delivery, disk_channel, disk_subscription, in_directory, run_disk};
use crate::support::dispatcher::Dispatcher;
use crate::support::eventually;
use crate::support::sender::{event, plain, send};

/// What a command printed, and its exit code.
struct Looked {
    code: Option<i32>,
    out: String,
    err: String,
}

fn look(arguments: &[&str], data: &Path) -> Looked {
    let output = run_disk(arguments, data);
    Looked {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// The lines of a dump.
fn dump(arguments: &[&str], data: &Path) -> Vec<Value> {
    let looked = look(&[&["dump"], arguments].concat(), data);
    assert_eq!(looked.code, Some(0), "{}", looked.err);
    let lines = looked.out.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn ids(dumped: &[Value]) -> Vec<&str> {
    let each = dumped.iter().map(|line| line["event"]["id"].as_str());
    each.map(|id| id.expect("an id")).collect()
}

/// Files of a directory, with what is in them.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    files
}

/// A process with three events of the channel `default/c`: one Subscription waits with them, the
/// other has parked them. The channel `default/d` has none.
async fn with_events(data: &Path) -> Dispatcher {
    let away = away().await;
    let patient = delivery("retry: 100, backoffPolicy: linear, backoffDelay: PT60S");
    let yaml = disk_channel("c")
        + &disk_subscription("c", "waits", &away, &patient)
        + &disk_subscription("c", "parks", &away, "")
        + &disk_channel("d");
    let dispatcher = in_directory(&yaml, data).start().await;
    for id in ["1", "2", "3"] {
        let url = dispatcher.http_url("/default/c");
        let sent = event(&plain(), url, id).body(format!("data of {id}"));
        assert_eq!(sent.send().await.expect("an answer").status(), 202);
    }
    eventually("all are parked", || {
        look(&["ls"], data).out.contains("3 parked")
    })
    .await;
    dispatcher
}

/// The newest segment of the channel `default/c`.
fn newest_segment(data: &Path) -> PathBuf {
    let files = contents(data).into_keys();
    let is_segment = |path: &PathBuf| {
        path.extension().is_some_and(|it| it == "segment")
            && path.to_string_lossy().contains("channel+default+c")
    };
    files.filter(is_segment).max().expect("a segment")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_the_disk_is_shown_with_and_without_a_process() {
    let data = TempDir::new().expect("a directory");
    let mut dispatcher = with_events(data.path()).await;
    for is_running in [true, false] {
        let before = contents(data.path());
        let listed = look(&["ls"], data.path());
        assert_eq!(listed.code, Some(0), "{}", listed.err);
        for part in [
            "channel default/c: 3 events",
            "subscription default/waits: 3 waiting since 20",
            "subscription default/parks: 0 waiting, 3 parked",
            "channel default/d: 0 events",
        ] {
            assert!(listed.out.contains(part), "{}", listed.out);
        }
        let owner = format!("process {}", dispatcher.id());
        assert_eq!(listed.err.contains(&owner), is_running, "{}", listed.err);
        let verified = look(&["verify"], data.path());
        assert_eq!(verified.code, Some(0), "{}", verified.out);
        assert!(
            verified.out.contains("2 channels whole"),
            "{}",
            verified.out
        );
        assert_eq!(ids(&dump(&[], data.path())), ["1", "2", "3"]);
        if !is_running {
            assert!(before == contents(data.path()), "something was changed");
            break;
        }
        dispatcher.signal(Signal::KILL);
        dispatcher.ended().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_has_the_events_that_were_asked_for() {
    let data = TempDir::new().expect("a directory");
    let _dispatcher = with_events(data.path()).await;
    let dumped = dump(&["default/c"], data.path());
    let first = &dumped[0];
    assert_eq!(first["channel"], "channel default/c");
    assert_eq!(first["event"]["specversion"], "1.0");
    assert!(first["sequence"].is_u64() && first["received"].is_string());
    let mut states: Vec<(&str, &str)> = Vec::new();
    for standing in first["subscriptions"].as_array().expect("subscriptions") {
        let text = |name: &str| standing[name].as_str().expect("text");
        states.push((text("subscription"), text("state")));
    }
    states.sort_unstable();
    let wanted = [
        ("subscription default/parks", "parked"),
        ("subscription default/waits", "waiting"),
    ];
    assert_eq!(states, wanted);
    let count = |arguments: &[&str]| dump(arguments, data.path()).len();
    assert_eq!(count(&["--state", "parked"]), 3);
    assert_eq!(count(&["--state", "parked", "--queue", "default/waits"]), 0);
    assert_eq!(count(&["--state", "delivered"]), 0);
    assert_eq!(count(&["--from", "PT1H"]), 3);
    assert_eq!(count(&["--until", "PT1H"]), 0);
    assert_eq!(count(&["--from", "2026-01-01T00:00:00Z", "default/d"]), 0);
    let unknown = look(&["dump", "default/e"], data.path());
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.err.contains("no channel default/e"),
        "{}",
        unknown.err
    );
    let misread = look(&["dump", "--from", "yesterday"], data.path());
    assert_eq!(misread.code, Some(2), "{}", misread.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_verified_with_file_offset_and_remedy() {
    let data = TempDir::new().expect("a directory");
    let mut dispatcher = with_events(data.path()).await;
    let url = dispatcher.http_url("/default/d");
    assert_eq!(send(&plain(), url, "4").await, 202);
    dispatcher.signal(Signal::KILL);
    dispatcher.ended().await;
    let segment = newest_segment(data.path());
    let whole = fs::read(&segment).expect("a file");
    let place = whole.windows(9).position(|it| it == b"data of 1");
    let mut bytes = whole.clone();
    bytes[place.expect("an event")] ^= 1;
    fs::write(&segment, bytes).expect("written");
    for arguments in [["verify"], ["ls"]] {
        let looked = look(&arguments, data.path());
        assert_eq!(looked.code, Some(1), "{}", looked.out);
        for part in [segment.to_str().expect("text"), "at offset", "Restore"] {
            assert!(looked.out.contains(part), "{}", looked.out);
        }
        assert!(looked.out.contains("channel default/d: "), "{}", looked.out);
    }
    // The file of the newest segment is gone.
    fs::remove_file(&segment).expect("removed");
    let lost = look(&["verify", "default/c"], data.path());
    assert_eq!(lost.code, Some(1));
    assert!(lost.out.contains("missing"), "{}", lost.out);
    // A file that is far larger than it should be is read in pieces.
    fs::write(&segment, whole).expect("written");
    let file = fs::OpenOptions::new().write(true).open(&segment);
    file.and_then(|it| it.set_len(64 << 20)).expect("extended");
    let huge = look(&["verify", "default/c"], data.path());
    assert_eq!(huge.code, Some(0), "{}", huge.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_none_of_ours_is_refused() {
    let empty = TempDir::new().expect("a directory");
    let listed = look(&["ls"], empty.path());
    assert_eq!(
        (listed.code, listed.out.as_str()),
        (Some(0), "No channels\n")
    );
    let verified = look(&["verify"], empty.path());
    assert_eq!(verified.code, Some(0), "{}", verified.err);

    let foreign = TempDir::new().expect("a directory");
    fs::write(foreign.path().join("letter"), "mine").expect("written");
    let missing = foreign.path().join("nowhere");
    let file = foreign.path().join("letter");
    for (path, why) in [
        (foreign.path(), "no data directory"),
        (&missing, "No such file or directory"),
        (&file, "Not a directory"),
    ] {
        let refused = look(&["verify"], path);
        assert_eq!(refused.code, Some(1), "{}", refused.err);
        let is_named = refused.err.contains(path.to_str().expect("text"));
        assert!(is_named && refused.err.contains(why), "{}", refused.err);
    }

    // A directory in it that is no log.
    let mixed = TempDir::new().expect("a directory");
    fs::write(mixed.path().join("lock"), "").expect("written");
    fs::create_dir(mixed.path().join("photos")).expect("made");
    fs::write(mixed.path().join("photos/1.jpg"), "mine").expect("written");
    let refused = look(&["verify"], mixed.path());
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.out.contains("photos/1.jpg does not belong"),
        "{}",
        refused.out
    );
}
