//! The watch of files: which changes are applied, and when.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::{TempDir, tempdir};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::*;
use crate::control::read_manifests;
use crate::model::TransportEncryption;

fn broker(name: &str) -> String {
    format!("apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata:\n  name: {name}\n")
}

/// A directory that is watched, and what was applied of it.
struct Watched {
    directory: TempDir,
    settings: watch::Sender<ControlSettings>,
    applied: mpsc::Receiver<Arc<Resolution>>,
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Watched {
    fn new(directory: TempDir) -> Self {
        let paths = vec![directory.path().to_owned()];
        let (settings, receiver) = watch::channel(ControlSettings::default());
        let (applied_tx, applied) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        let first = read_manifests(&paths);
        let apply = move |resolution: &Arc<Resolution>| {
            applied_tx.try_send(Arc::clone(resolution)).expect("room")
        };
        task.spawn(watch_files(paths, receiver, first, apply, stop.clone()));
        Self {
            directory,
            settings,
            applied,
            stop,
            task,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    async fn next(&mut self) -> Arc<Resolution> {
        let next = tokio::time::timeout(Duration::from_secs(20), self.applied.recv());
        next.await
            .expect("a change within 20 s")
            .expect("a running watch")
    }

    /// The names of the brokers and the number of errors of the next resolution.
    async fn brokers(&mut self) -> (Vec<String>, usize) {
        let resolution = self.next().await;
        let names = resolution
            .table
            .channels()
            .iter()
            .map(|channel| channel.key.name.clone())
            .collect();
        (
            names,
            resolution
                .problems
                .iter()
                .filter(|problem| problem.is_error())
                .count(),
        )
    }

    async fn stop(mut self) {
        self.stop.cancel();
        self.task
            .join_next()
            .await
            .expect("task")
            .expect("no panic");
        assert!(
            self.applied.recv().await.is_none(),
            "something more was applied"
        );
    }
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::rename(new, path).expect("renamed");
}

fn names(names: &[&str], errors: usize) -> (Vec<String>, usize) {
    (
        names.iter().map(|name| (*name).to_owned()).collect(),
        errors,
    )
}

#[tokio::test]
async fn files_that_are_replaced_broken_repaired_and_removed() {
    let directory = tempdir().expect("directory");
    fs::write(directory.path().join("a.yaml"), broker("a")).expect("written");
    let mut watched = Watched::new(directory);
    assert_eq!(watched.brokers().await, names(&["a"], 0));
    replace(
        &watched.path("a.yaml"),
        &(broker("a") + "---\n" + &broker("b")),
    );
    assert_eq!(watched.brokers().await, names(&["a", "b"], 0));
    fs::write(
        watched.path("a.yaml"),
        "apiVersion: eventing.knative.dev/v1\nkind: [",
    )
    .expect("written");
    assert_eq!(watched.brokers().await, names(&["a", "b"], 1));
    fs::write(watched.path("c.yaml"), broker("c")).expect("written");
    assert_eq!(watched.brokers().await, names(&["a", "b", "c"], 1));
    fs::write(watched.path("a.yaml"), broker("d")).expect("written");
    assert_eq!(watched.brokers().await, names(&["c", "d"], 0));
    fs::remove_file(watched.path("c.yaml")).expect("removed");
    assert_eq!(watched.brokers().await, names(&["d"], 0));
    watched.stop().await;
}

/// The way in which Kubernetes replaces the files of a mounted ConfigMap: all of them appear at
/// once.
#[tokio::test]
async fn files_behind_a_link_that_is_swapped_change_together() {
    let directory = tempdir().expect("directory");
    let path = |name: &str| directory.path().join(name);
    for (version, suffix) in [("..v1", "1"), ("..v2", "2")] {
        fs::create_dir(path(version)).expect("directory");
        for name in ["a", "b"] {
            fs::write(
                path(version).join(format!("{name}.yaml")),
                broker(&format!("{name}{suffix}")),
            )
            .expect("written");
        }
    }
    symlink("..v1", path("..data")).expect("link");
    for name in ["a.yaml", "b.yaml"] {
        symlink(Path::new("..data").join(name), path(name)).expect("link");
    }
    let mut watched = Watched::new(directory);
    assert_eq!(watched.brokers().await, names(&["a1", "b1"], 0));
    symlink("..v2", watched.path("..data_tmp")).expect("link");
    fs::rename(watched.path("..data_tmp"), watched.path("..data")).expect("renamed");
    assert_eq!(watched.brokers().await, names(&["a2", "b2"], 0));
    watched.stop().await;
}

/// While a file is written bit by bit, nothing of it is served less; and one that is rewritten as
/// it was changes nothing.
#[tokio::test]
async fn a_file_that_is_half_written_takes_nothing_away() {
    let directory = tempdir().expect("directory");
    fs::write(directory.path().join("a.yaml"), broker("a")).expect("written");
    let mut watched = Watched::new(directory);
    assert_eq!(watched.brokers().await, names(&["a"], 0));
    let whole: String = (0..50)
        .map(|index| format!("---\n{}", broker(&format!("b{index:02}"))))
        .collect();
    fs::write(watched.path("a.yaml"), "").expect("written");
    for half in [
        "---\napiVersion: [",
        "---\napiVersion: eventing.knative.dev/v1\nkind: {",
    ] {
        fs::write(watched.path("a.yaml"), half).expect("written");
        tokio::task::yield_now().await;
    }
    fs::write(watched.path("a.yaml"), &whole).expect("written");
    loop {
        let (found, _) = watched.brokers().await;
        if found.len() == 50 {
            break;
        }
        assert_eq!(found, ["a"]);
    }
    replace(&watched.path("a.yaml"), &whole);
    replace(&watched.path("z.yaml"), &broker("z"));
    assert_eq!(watched.brokers().await.0.len(), 51);
    watched.stop().await;
}

/// CACerts that expire are an error from then on, as they would be at a start, although no file has
/// changed.
#[tokio::test]
async fn trust_that_expires_is_an_error_at_once() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.not_after = time::OffsetDateTime::now_utc() + time::Duration::seconds(5);
    let pem = ca.self_signed(&key).expect("a certificate").pem();
    let pem = pem.replace('\n', "\n      ");
    let directory = tempdir().expect("directory");
    let yaml = format!(
        "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {{name: c}}\n---\n\
         apiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: s}}\nspec:\n  \
         channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}}\n  \
         subscriber:\n    uri: https://localhost:1/\n    CACerts: |\n      {pem}\n"
    );
    fs::write(directory.path().join("a.yaml"), yaml).expect("written");
    let mut watched = Watched::new(directory);
    assert_eq!(watched.brokers().await, names(&["c"], 0));
    assert_eq!(watched.brokers().await, names(&["c"], 1));
    watched.stop().await;
}

#[tokio::test]
async fn settings_that_change_are_applied() {
    let directory = tempdir().expect("directory");
    fs::write(directory.path().join("a.yaml"), broker("a")).expect("written");
    let mut watched = Watched::new(directory);
    assert_eq!(
        watched.next().await.table.transport_encryption(),
        TransportEncryption::Disabled
    );
    watched
        .settings
        .send_modify(|settings| settings.transport_encryption = Some(TransportEncryption::Strict));
    assert_eq!(
        watched.next().await.table.transport_encryption(),
        TransportEncryption::Strict
    );
    // The time alone, and a directory that is not there for a moment, change nothing that is
    // served.
    watched.settings.send_modify(|settings| settings.now += 1);
    let (there, away) = (
        watched.directory.path().to_owned(),
        watched.directory.path().with_extension("away"),
    );
    fs::rename(&there, &away).expect("renamed");
    assert_eq!(watched.brokers().await, names(&["a"], 1));
    fs::rename(&away, &there).expect("renamed");
    assert_eq!(watched.brokers().await, names(&["a"], 0));
    watched.stop().await;
}
